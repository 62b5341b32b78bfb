"""What changed between two sweeps: their settings, seeds and data, and the code and machines that ran them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from bnsweep.report.frame.formats import few
from bnsweep.report.frame.grid import bundle_codes, factor_columns, levels, value_text
from bnsweep.report.pages.provenance import dataset_text
from bnsweep.store.sweep_data import SweepInfo

ABSENT = "–"
"""Not recorded, or nothing that a run of the sweep has."""


class Change(NamedTuple):
    name: str
    a: str
    b: str

    @property
    def text(self) -> str:
        return f"{self.name} {self.a} → {self.b}"


def changed_factors(a: pd.DataFrame, b: pd.DataFrame) -> tuple[list[Change], list[str]]:
    """Settings that have not the same levels in both sweeps, those fixed in both first; and the names of the others."""
    found, same = [], []
    for factor in dict.fromkeys([*factor_columns(a), *factor_columns(b)]):
        change = Change(factor, *(setting_text(runs, factor) for runs in (a, b)))
        if change.a == change.b:
            same.append(factor)
        else:
            found.append(change)
    seeds = Change("seeds", *(seeds_text(runs) for runs in (a, b)))
    if seeds.a != seeds.b:
        found.append(seeds)
    else:
        same.append("seeds")
    return sorted(found, key=lambda x: ABSENT in x or "," in x.a + x.b), same


def setting_text(runs: pd.DataFrame, factor: str) -> str:
    if factor not in runs:
        return ABSENT
    texts = [value_text(v) for v in levels(runs, factor)]
    texts += ["none"] if factor == "data.subset" and runs[factor].isna().any() else []
    return few(texts) or ABSENT


def seeds_text(runs: pd.DataFrame) -> str:
    names = bundle_codes(runs)[1]
    return f"{len(names)} ({few(names)})"


def circumstances(a: SweepInfo, b: SweepInfo) -> list[Change]:
    """Where both sweeps come from, whether it differs or not; what neither knows is left out."""
    rows = zip(texts(a), texts(b), strict=True)
    found = [Change(name, one or ABSENT, two or ABSENT) for (name, one), (_, two) in rows if one or two]
    for package in dict.fromkeys([*a.versions, *b.versions]):
        one, two = (info.versions.get(package) or ABSENT for info in (a, b))
        found.append(Change(package, one, two))
    return found


def texts(info: SweepInfo) -> Iterator[tuple[str, str]]:
    yield "command", info.command
    yield "started", info.created
    yield "experiment", info.experiment
    yield "commit", info.commit
    yield "uncommitted changes", "yes" if info.dirty else "no"
    yield "data set", "; ".join(sorted(map(dataset_text, info.data)))
    yield "planned on", info.hardware
    yield "trained on", ", ".join(info.devices)


INNOCENT = ("command", "started", "experiment")
"""What differs between any two sweeps, and changes no number by itself."""


def told(changes: list[Change]) -> list[Change]:
    """The circumstances that differ and can move a number."""
    return [c for c in changes if c.a != c.b and c.name not in INNOCENT]
