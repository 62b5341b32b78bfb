"""Tables that a page carries inside itself, for a reader who has nothing but the page and no network."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from typing import NamedTuple

MOST = 4_000_000
"""Bytes that a table may have compressed to lie inside the page: runs.csv of about 25,000 runs."""
HOLDS = {
    "ranking.csv": "one row an arm, at its best learning rate and at each fixed one",
    "claims.csv": "one row a comparison of each claim",
    "factors.csv": "one row a factor or a pair of factors",
    "runs.csv": "one row a run",
    "stopped.csv": "one row an arm and learning rate that was stopped early",
    "columns.csv": "what every column of these tables means, and its unit",
    "table.tex": "the ranking for a paper, in LaTeX (booktabs)",
    "table.md": "the same in Markdown",
}


class Download(NamedTuple):
    name: str
    holds: str
    size: str
    """Of the file as it is saved."""
    address: str
    """A data: address of the file as gzip; empty where it is too large to lie inside the page."""


def downloads(tables: Mapping[str, str]) -> list[Download]:
    """Those tables, by file name, of which HOLDS says what they hold."""
    return [packed(name, holds, tables[name].encode()) for name, holds in HOLDS.items() if name in tables]


def packed(name: str, holds: str, content: bytes) -> Download:
    small = gzip.compress(content, compresslevel=6, mtime=0)
    address = f"data:application/gzip;base64,{base64.b64encode(small).decode()}" if len(small) <= MOST else ""
    return Download(name, holds, f"{max(1, round(len(content) / 1000)):,} kB", address)
