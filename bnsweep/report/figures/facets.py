"""Which factor becomes rows, columns and colours of the small multiples, for any swept grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from bnsweep.catalogue.norms import PLACEMENTS
from bnsweep.report.frame.design import shown_apart
from bnsweep.report.frame.grid import Grid, level_text, levels
from bnsweep.report.stats.ranking import View

COLOUR_FIRST = ("skip", "bn", "activation", "init")
"""With and without skip connections belongs into one picture."""
COLUMN_FIRST = ("bn", "init", "activation")
ROW_FIRST = ("activation", "init")
MOST = {"colour": 8, "column": 4, "row": 4}


@dataclass(frozen=True)
class Facets:
    """The levels shown along each role; `arms` are those left when every further factor is held."""

    colour: str | None
    column: str | None
    row: str | None
    shown: dict[str, list[Any]]
    arms: pd.DataFrame
    held: dict[str, Any]
    cut: list[str]
    """Factors of which levels were left out to keep the figure readable."""
    goes_with: dict[str, str]
    """Factors without a role, each with the one that decides it."""

    @cached_property
    def panels(self) -> list[tuple[int, int, str, list[tuple[int, str, int]]]]:
        """Row, column, title, and (colour number, level's name, arm) of each line in it."""
        found = []
        rows, columns = self.levels_of(self.row), self.levels_of(self.column)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                here = self.arms
                title = []
                for factor, level in ((self.row, row), (self.column, column)):
                    if factor is not None:
                        here = here[same(here[factor], level)]
                        title.append(level_text(factor, level) or f"no {factor}")
                found.append((i, j, " · ".join(title), self.lines(here)))
        return found

    def lines(self, here: pd.DataFrame) -> list[tuple[int, str, int]]:
        if self.colour is None:
            return [(0, "", int(a)) for a in here.index]
        found = []
        for k, level in enumerate(self.levels_of(self.colour)):
            arms = here.index[same(here[self.colour], level)]
            found += [(k, level_text(self.colour, level) or f"no {self.colour}", int(a)) for a in arms]
        return found

    def levels_of(self, factor: str | None) -> list[Any]:
        return [None] if factor is None else self.shown[factor]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.levels_of(self.row)), len(self.levels_of(self.column))

    def held_text(self, drawn: str) -> str:
        text = ", ".join(level_text(f, v) or f"no {f}" for f, v in self.held.items())
        text = f" Held at the best arm's setting: {text}." if text else ""
        text += with_text(self.goes_with)
        beside = " beside those of BN" if "bn" in self.cut else ""
        return text + (f" Only the best-ranked levels are {drawn}{beside}." if self.cut else "")


def with_text(goes_with: dict[str, str]) -> str:
    """Which factors a figure does not show apart."""
    return "".join(f" {one} goes with {other}." for one, other in goes_with.items())


def same(values: pd.Series[Any], level: Any) -> pd.Series[bool]:
    """Where a column has a level; a missing level is the same as another missing one."""
    return values.isna() if pd.isna(level) else values == level


def facets(grid: Grid, view: View, best_first: list[int]) -> Facets:
    """`best_first`: arms by rank. They decide what further factors are held at, and which of many levels stay."""
    free, goes_with = shown_apart(grid.arms, grid.arm_factors)
    picked: dict[str, str | None] = {}
    for role, wishes in (("colour", COLOUR_FIRST), ("column", COLUMN_FIRST), ("row", ROW_FIRST)):
        options = [f for f in (*wishes, *free) if f in free]
        picked[role] = next(iter(options), None)
        free = [f for f in free if f != picked[role]]
    arms = grid.arms.loc[best_first]
    held = {f: arms[f].iloc[0] for f in free} if len(arms) else {}
    for name, value in held.items():
        arms = arms[same(arms[name], value)]
    shown: dict[str, list[Any]] = {}
    cut = []
    for role, factor in picked.items():
        if factor is not None:
            ranked = list(pd.unique(arms[factor]))
            if factor == "bn":  # what other normalisations are held against
                ranked.sort(key=lambda level: level not in PLACEMENTS)
            kept = ranked[: MOST[role]]
            cut += [factor] if len(ranked) > len(kept) else []
            there = [v for v in kept if not pd.isna(v)]  # what is missing equals nothing, and may refuse to be asked
            order = [v for v in levels(grid.runs, factor) if v in there]
            shown[factor] = order + [v for v in kept if pd.isna(v)]
            arms = arms[arms[factor].isin(kept)]
    return Facets(picked["colour"], picked["column"], picked["row"], shown, arms, held, cut, goes_with)
