"""The same content for a program: JSON and tidy CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from bnsweep.config.checks import printable
from bnsweep.report.claims.verdicts import Evidence, Verdict
from bnsweep.report.frame.formats import letters
from bnsweep.report.frame.grid import Grid, factor_columns
from bnsweep.report.pages.columns import dictionary
from bnsweep.report.pages.content import ReportContent
from bnsweep.report.pages.tables import row_dicts

LINES = "\n\t\u00a0"
"""What is no letter and stays on a page: the spaces of the page's own."""
COUNTS = ("rank", "n_seeds", "gap_n")
FORMULA = ("=", "+", "-", "@")
"""How a cell begins that a spreadsheet takes for a formula."""


def shown(text: str) -> str:
    """A page with everything in its texts to be seen, and nothing to be obeyed."""
    return printable(text, LINES)


def json_text(tree: Any) -> str:
    """As a JSON file; what cannot be seen is written as JSON's escapes."""
    text = json.dumps(jsonable(tree), indent=1, ensure_ascii=False) + "\n"
    for char in set(text):
        if not (char.isprintable() or char == "\n"):
            text = text.replace(char, json.dumps(char)[1:-1])
    return text


def csv_text(table: pd.DataFrame) -> str:
    """As a CSV file, of which every row is one line; a text that a spreadsheet would take for a formula gets an
    apostrophe in front."""
    texts = table.select_dtypes(exclude=["number", "bool"])
    return table.assign(**{str(name): column.map(cell) for name, column in texts.items()}).to_csv(index=False)


def cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def jsonable(value: Any) -> Any:
    """JSON has no NaN and knows no numpy: missing numbers become null."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def summary_json(content: ReportContent) -> str:
    """summary.json: everything the report says, by name."""
    grid, analysis = content.grid, content.analysis
    summary = {
        "answer": content.answer,
        "mattered": content.mattered,
        "metric": content.metric.name,
        "info": asdict(content.info),
        "ledger": content.ledger,
        "complete": content.notices[0].kind == "ok",
        "notices": [{"kind": n.kind, "text": n.text} for n in content.notices],
        "swept": grid.swept,
        "fixed": grid.fixed,
        "seeds": grid.bundles,
        "verdicts": [verdict_dict(v) for v in content.verdicts],
        "ranking": row_dicts(ranking_table(content)),
        "stability": asdict(content.stability),
        "factors": {
            "effects": row_dicts(analysis.table),
            "n": analysis.n,
            "cells": analysis.cells,
            "note": analysis.note,
        },
        "sensitivity": row_dicts(content.sensitivity),
        "tolerance_widths": row_dicts(content.widths),
        "main_effects": row_dicts(content.effects),
        **({"stopped": row_dicts(stopped_rows(content))} if len(content.stopped) else {}),
    }
    return json_text(summary)


def verdict_dict(verdict: Verdict) -> dict[str, Any]:
    evidence = [evidence_dict(e) | {"difference_by_seed": in_unit(e, e.difference_N)} for e in verdict.evidence]
    head = {"key": verdict.key, "claim": verdict.claim, "verdict": verdict.verdict, "sentence": verdict.sentence}
    look = {} if verdict.looked_at is None else {"decided_at_seeds": verdict.looked_at.seeds}
    rest = {"p_adjusted": verdict.p_adjusted, **look, "figures": verdict.figures}
    return {**head, **rest, "evidence": evidence}


def in_unit(one: Evidence, values: tuple[float, ...]) -> list[float]:
    return [one.unit.value(v) for v in values]


def evidence_dict(one: Evidence) -> dict[str, Any]:
    """Means, effect and interval in `unit`."""
    expected, against = in_unit(one, one.means)
    effect, low, high = in_unit(one, (one.effect, one.low, one.high))
    sides = {"expected_ahead": one.sides[0], "held_against": one.sides[1]}
    means = {"mean_expected": expected, "mean_against": against}
    differs = {"effect": effect, "low": low, "high": high, "p": one.p}
    seeds = {"n_seeds": one.n, "ahead": one.ahead, "equal": one.equal, "wins": one.wins}
    rest = {"says": one.says, **seeds, "pairs": one.pairs, "beside": one.aside, "remark": one.remark, "note": one.note}
    return {"comparison": one.name, **sides, "unit": one.unit.name, **means, **differs, **rest}


def claims_table(verdicts: list[Verdict]) -> pd.DataFrame:
    """One row a comparison; a claim that was not asked has one row without numbers."""
    found = []
    for v in verdicts:
        head = {"key": v.key, "claim": v.claim, "verdict": v.verdict, "claim_p_adjusted": v.p_adjusted}
        found += [head | evidence_dict(e) for e in v.evidence] or [head]
    return pd.DataFrame(found)


def csv_files(content: ReportContent) -> dict[str, str]:
    """The tables as CSV by file name, and the dictionary of their columns."""
    tables = {
        "ranking.csv": ranking_table(content),
        "claims.csv": claims_table(content.verdicts),
        "factors.csv": content.analysis.table,
        "runs.csv": runs_table(content),
        **({"stopped.csv": stopped_rows(content)} if len(content.stopped) else {}),
    }
    columns = dictionary({file: map(str, table) for file, table in tables.items()}, content.grid, content.metric)
    return {file: csv_text(table) for file, table in {**tables, "columns.csv": columns}.items()}


def ranking_table(content: ReportContent) -> pd.DataFrame:
    """The ranking in numbers: groups are the page's letters; what counts is an integer."""
    table = content.ranking.copy()
    counts = [name for name in COUNTS if name in table]
    table[counts] = table[counts].astype(float).astype("Int64")
    table["group"] = [letters(int(group)) if group > 0 else None for group in table["group"]]
    return with_rates(table, content.grid)


def stopped_rows(content: ReportContent) -> pd.DataFrame:
    """What was stopped early, in numbers."""
    steps = content.stopped[["first_step", "last_step"]].astype(float).astype("Int64")
    return with_rates(content.stopped.assign(**steps), content.grid)


def with_rates(table: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """With learning rates as numbers, a column each where several settings make one."""
    table = table.copy()
    place = {name: l for l, name in enumerate(grid.lrs["lr"])}
    rows = [place.get(name) for name in table["lr"]]
    at = table.columns.get_loc("lr")
    assert isinstance(at, int)
    for i, factor in enumerate(grid.lr_factors, start=1):
        values = grid.lrs[factor].tolist()
        table.insert(at + i, factor, [None if row is None else values[row] for row in rows])
    swept = [name for name in ("lr.value",) if name in table]
    table["lr"] = table[swept[0]] if swept else [grid.fixed.get("lr.value")] * len(table)
    table["lr"] = pd.to_numeric(table["lr"])
    return table.drop(columns=[name for name in swept if name in grid.lr_factors])


def runs_table(content: ReportContent) -> pd.DataFrame:
    """One row a run: what became of it, what was swept, its seed, and every number it ended with."""
    grid = content.grid
    factors = {*factor_columns(grid.runs), "identity", "seed", "data.seed"}
    first = ["run_id", "status", "reason", *grid.swept, "seed", "data.seed"]
    scores = [name for name in grid.runs if name not in factors and name not in first]
    return grid.runs[[name for name in [*first, *scores] if name in grid.runs]]
