"""Two sides of one factor, matched in everything else and compared within seeds.

Shapes: P pairs of settings, L learning-rate settings, N bundles, R resamples, K levels of a further factor. Rows are
those of `grid.runs`, -1 where no run was planned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.report.frame.grid import Grid, level_text, levels

Rows = NDArray[np.int64]
START, EQUAL, BEST = "start", "equal", "best"
ALL, LEARNING, OVERFITTING = "all", "learning", "overfitting"
MIN, MAX = "smallest", "largest"


@dataclass(frozen=True)
class Contrast:
    """What a claim compares; declared in `claims`."""

    quantity: str
    """A key of `quantities.quantities`."""
    sign: int
    """+1 where the claim expects the first side to have more of it, -1 where less."""
    factor: str
    sides: tuple[Any, Any]
    """The level that the claim speaks for, and the one it is held against; `smallest` and `largest` of numbers. Several
    names in a tuple: the first that was swept. None as the second: the first is held against 0."""
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Only runs with these levels."""
    at: str = EQUAL
    """equal: at every learning rate that both sides have; best: each arm at the one that the other seeds choose; start:
    before training, where the learning rate plays no part."""
    across: str | None = None
    """With it the two sides are compared in how much they depend on this factor: by the standard deviation across its
    levels, or, of `gain`, by what each level adds to the smallest one, where that helps the second side."""
    gain: bool = False
    among: str = ALL
    """Which pairs count: all; learning: those of which both learn, as what does not learn is neither slow nor does it
    shift; overfitting: those that fit the training data and overfit them. See `among`."""
    beside: str = ""
    """A quantity to quote over the same pairs; it decides nothing."""
    margin: float = 0.0
    """A mean no further than this from 0 says nothing; in the quantity's own measure."""


@dataclass(frozen=True)
class Sides:
    """The runs that a comparison is about."""

    names: tuple[str, str]
    more: Rows
    """[P, N]; of `best` [P, L, N]; of `across` [P, K, N]."""
    less: Rows
    """The same; empty where there is no second side."""

    def among(self, pairs: NDArray[np.bool_]) -> Sides:
        """Of these pairs alone."""
        return Sides(self.names, self.more[pairs], self.less[pairs])


@dataclass(frozen=True)
class LeftOut:
    """The pairs of which not both learn, and what they ended with."""

    pairs: int
    of: int
    means: tuple[float, float]
    """Of the ranking's metric, over the runs that have a result."""


@dataclass(frozen=True)
class Measured:
    effect: float
    low: float
    high: float
    p: float
    """Of this comparison alone."""
    means: tuple[float, float]
    difference_N: NDArray[np.float64]
    pairs: int
    t_R: NDArray[np.float64] | None = None
    """t under every joint flip, what was observed first; None below ENOUGH seeds."""
    beside: Sequence[tuple[float, float]] = ()
    """Means of what is quoted over the same runs: of `Contrast.beside`, and of whether it was reached."""
    left_out: LeftOut | None = None
    note: str = ""
    """Why the numbers decide nothing."""


class Unmeasured(Exception):
    """The runs are there and leave nothing to compare; says why."""


class Unasked(Exception):
    """The sweep lacks what a comparison needs; says what."""


def candidates(grid: Grid, where: Mapping[str, tuple[Any, ...]], at: str) -> pd.DataFrame:
    """One row an arm and learning rate (at best and at the start: an arm), with its factors; `a` and `l` number it."""
    arms = grid.arms.drop(columns="arm").assign(a=range(len(grid.arms)))
    lrs = grid.lrs.drop(columns="lr").assign(l=range(len(grid.lrs)))
    table = arms.merge(lrs, how="cross")
    planned = np.any(grid.run_ALN >= 0, axis=2)
    table = table[planned[table["a"], table["l"]]]
    if at != EQUAL:
        table = table.drop_duplicates("a").drop(columns=grid.lr_factors)
    met: dict[str, tuple[Any, ...]] = {}
    for factor, allowed in where.items():
        if factor in table:
            table = table[table[factor].isin(allowed)]
        elif grid.fixed.get(factor) not in allowed:
            table = table[:0]
        if table.empty:
            raise Unasked(lacking(grid, factor, allowed, met))
        met[factor] = allowed
    return pd.DataFrame(table)


def lacking(grid: Grid, factor: str, wanted: tuple[Any, ...], where: Mapping[str, tuple[Any, ...]]) -> str:
    """What is not there: levels of a factor, or, where the sweep has them otherwise, their combination with others."""
    text = f"{factor}={' or '.join(map(str, wanted))}"
    there = factor in grid.runs and grid.runs[factor].isin(wanted).any()
    met = [f"{name}={' or '.join(map(str, levels))}" for name, levels in where.items()]
    return f"{text} with {' and '.join(met)}" if there and met else text


def resolve(
    grid: Grid, factor: str, wanted: Any, table: pd.DataFrame, where: Mapping[str, tuple[Any, ...]] | None = None
) -> Any:
    """The level that a side names. `where`: what the table was held to."""
    fixed = [grid.fixed[factor]] if factor in grid.fixed else []
    swept = levels(grid.runs, factor) if factor in table else []
    there = [level for level in swept if (table[factor] == level).any()] or fixed
    if wanted in (MIN, MAX):
        if len(there) < 2:
            raise Unasked(two_values(grid, factor))
        return there[0 if wanted == MIN else -1]
    for level in wanted if isinstance(wanted, tuple) else (wanted,):
        if level in there:
            return level
    raise Unasked(lacking(grid, factor, (wanted[0] if isinstance(wanted, tuple) else wanted,), where or {}))


def two_values(grid: Grid, factor: str) -> str:
    return f"two values of {factor}" + " with all else equal" * (factor in grid.swept)


def sides(grid: Grid, contrast: Contrast) -> Sides:
    """Raises Unasked."""
    factor, at = contrast.factor, contrast.at
    table = candidates(grid, contrast.where, at)
    if contrast.sides[1] is None:
        return one_side(grid, contrast, table)
    chosen = [resolve(grid, factor, wanted, table, contrast.where) for wanted in contrast.sides]
    more, less = (table[table[factor] == level] for level in chosen)
    own = [f for f in factors_of(table) if f.startswith(f"{factor}.")]
    nested = [f for f in own if more[f].isna().any() or less[f].isna().any()]
    others = [f for f in factors_of(table) if f not in (factor, *nested)]
    how: dict[str, Any] = {"on": others} if others else {"how": "cross"}
    pairs = more.merge(less, **how, suffixes=("", "_less"))
    names = (name_of(factor, chosen[0]), name_of(factor, chosen[1]))
    if pairs.empty:
        raise Unasked(f"{' and '.join(names)} with all else equal")
    if contrast.across is not None:
        return Sides(names, *rows_across(grid, contrast, pairs, others, nested))
    return Sides(names, *(rows_of(grid, pairs, end, at) for end in ("", "_less")))


def one_side(grid: Grid, contrast: Contrast, table: pd.DataFrame) -> Sides:
    """Held against 0: the factor may have been swept or fixed."""
    factor, wanted = contrast.factor, contrast.sides[0]
    if factor in table:
        table = table[table[factor] == wanted]
    elif grid.fixed.get(factor) != wanted:
        table = table[:0]
    if table.empty:
        raise Unasked(f"{factor}={wanted}")
    rows = rows_of(grid, table, "", contrast.at)
    return Sides((name_of(factor, wanted), ""), rows, rows[:0])


def factors_of(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table if name not in ("a", "l")]


def name_of(factor: str, level: Any) -> str:
    return level_text(factor, level) or str(level)


def rows_of(grid: Grid, pairs: pd.DataFrame, end: str, at: str) -> Rows:
    arms = pairs[f"a{end}"].to_numpy()
    if at == BEST:
        return np.asarray(grid.run_ALN[arms])
    if at == START:  # any rate will do, of which a run has something to show
        run_PLN = grid.run_ALN[arms]
        known_PLN = (run_PLN >= 0) & (grid.finished | grid.diverged)[run_PLN]
        return np.take_along_axis(run_PLN, known_PLN.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.asarray(grid.run_ALN[arms, pairs[f"l{end}"].to_numpy()])


def rows_across(
    grid: Grid, contrast: Contrast, pairs: pd.DataFrame, others: list[str], nested: list[str]
) -> tuple[Rows, Rows]:
    """[P, K, N]: pairs that differ in `across` alone (`init` stands for init and everything below it) side by side, and
    in nothing that only one side has (`nested`: bn.eps)."""
    across = [f for f in others if f == contrast.across or f.startswith(f"{contrast.across}.")]
    if contrast.gain and across:
        pairs = pairs.sort_values(across[0])
    rest = [f for f in others if f not in across] + [f"{f}{end}" for f in nested for end in ("", "_less")]
    if not across:
        raise Unasked(two_values(grid, contrast.across or ""))
    cell = pairs.groupby(rest, dropna=False).ngroup() if rest else pd.Series(0, index=pairs.index)
    sizes = cell.value_counts()
    full = [number for number in sizes.index if sizes[number] == sizes.max()]
    if sizes.max() < 2:
        raise Unasked(two_values(grid, contrast.across or ""))
    parts = dict(list(pairs.groupby(cell)))
    order = [parts[number] for number in sorted(full)]
    return tuple(np.stack([rows_of(grid, part, end, EQUAL) for part in order]) for end in ("", "_less"))  # type: ignore[return-value]
