"""Two sides of one factor, matched in everything else and compared within seeds.

Shapes: P pairs of settings, L learning-rate settings, N bundles, R resamples, K levels of a further factor. Rows are
those of `grid.runs`, -1 where no run was planned.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.catalogue.norms import as_typed
from bnsweep.report.frame.grid import NETWORK, Grid, hidden_layers, level_text, levels

Rows = NDArray[np.int64]
START, EQUAL, BEST = "start", "equal", "best"
ALL, LEARNING, OVERFITTING = "all", "learning", "overfitting"
MIN, MAX = "smallest", "largest"
SPREAD, GAIN, LARGEST = "spread", "gain", "largest"
LAYERS = "layers"
"""The number of hidden layers as a factor, whatever setting says it."""
SIZES = ("model.hidden", "model.channels", "model.blocks")
"""Those settings."""


@dataclass(frozen=True)
class Such:
    """Levels by what is true of them, where names will not do."""

    text: str
    holds: Callable[[Any], bool]

    def __contains__(self, level: object) -> bool:
        return self.holds(level)


Levels = tuple[Any, ...] | Such


@dataclass(frozen=True)
class Contrast:
    """What a claim compares; declared in `claims`."""

    quantity: str
    """A key of `quantities.quantities`."""
    sign: int
    """+1 where the claim expects the first side to have more of it, -1 where less, 0 where as much, to within the
    margin."""
    factor: str
    sides: tuple[Any, Any]
    """The level that the claim speaks for, and the one it is held against; `smallest` and `largest` of numbers. Several
    names in a tuple: the first that was swept. None as the second: the first is held against 0."""
    where: Mapping[str, Levels] = field(default_factory=dict)
    """Only runs with these levels: a tuple of them, or Such."""
    at: str = EQUAL
    """equal: at every learning rate that both sides have; best: each arm at the one that the other seeds choose; start:
    before training, where the learning rate plays no part."""
    across: str | None = None
    """With it the two sides are compared by what they have at the levels of this factor, see `by`."""
    by: str = SPREAD
    """Of `across`. spread: the standard deviation across its levels; gain: what each level adds to the smallest one,
    where that helps the second side; largest: the largest level at which the quantity is 1."""
    moderators: tuple[tuple[str, tuple[Any, Any]], ...] = ()
    """Factors on which the difference of the sides may depend: what is compared is the difference at the first level of
    each less that at the second."""
    among: str = ALL
    """Which pairs count: all; learning: those of which both learn, as what does not learn is neither slow nor does it
    shift; overfitting: those that fit the training data and overfit them. See `among`."""
    beside: str = ""
    """A quantity to quote over the same pairs; it decides nothing."""
    margin: float = 0.0
    """A mean no further than this from 0 says nothing, or, with sign 0, is what the claim expects; in the quantity's
    own measure."""


@dataclass(frozen=True)
class Sides:
    """The runs that a comparison is about."""

    names: tuple[str, str]
    more: Rows
    """[P, N]; of `best` [P, L, N]; of `across` [P, K, N]. With moderators P is all their combinations, one after the
    other, times the pairs of each, and the two sides of a pair have changed places where its difference is to be taken
    off."""
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
    mean_P: Sequence[float] = ()
    """The effect in each pair."""
    left_out: LeftOut | None = None
    note: str = ""
    """Why the numbers decide nothing."""
    cut: bool = False
    """Whether that is because early stopping took runs of it."""


class Unmeasured(Exception):
    """The runs are there and leave nothing to compare; says why."""


class Unasked(Exception):
    """The sweep lacks what a comparison needs; says what."""


def candidates(grid: Grid, contrast: Contrast) -> pd.DataFrame:
    """One row an arm and learning rate (at best and at the start: an arm), with its factors; `a` and `l` number it."""
    table = grid.cells if contrast.at == EQUAL else grid.arm_cells
    if LAYERS in (*contrast.where, *dict(contrast.moderators)):
        table = table.assign(**{LAYERS: layers_of(grid, table)})
    met: dict[str, Levels] = {}
    for factor, allowed in contrast.where.items():
        if factor in table:
            table = table[[level in allowed for level in table[factor]]]
        elif grid.fixed.get(factor) not in allowed:
            table = table[:0]
        if table.empty:
            raise Unasked(lacking(grid, factor, allowed, met))
        met[factor] = allowed
    return pd.DataFrame(table)


def layers_of(grid: Grid, table: pd.DataFrame) -> list[int]:
    """Hidden layers of the network in each row."""
    fixed = {name: levels(grid.runs, name)[0] for name in NETWORK if name in grid.runs and levels(grid.runs, name)}
    swept = table[[name for name in NETWORK if name in table]].to_dict("records")
    return [hidden_layers(fixed | {str(name): value for name, value in row.items()}) for row in swept]


def wanted_text(factor: str, wanted: Levels) -> str:
    """Levels as they are typed."""
    if factor == "bn" and not isinstance(wanted, Such):
        return " or ".join(map(as_typed, wanted))
    text = wanted.text if isinstance(wanted, Such) else " or ".join(map(str, wanted))
    return f"networks of {text} hidden layers" if factor == LAYERS else f"{factor}={text}"


PARTS = ("activation", "init", "bn", "skip")
"""What networks of the user's may have no part for."""


def lacking(grid: Grid, factor: str, wanted: Levels, where: Mapping[str, Levels]) -> str:
    """What is not there: levels of a factor, or, where the sweep has them otherwise, their combination with others."""
    own = bool(levels(grid.runs, "model.target")) if "model.target" in grid.runs else False
    if own and factor in PARTS and not (factor in grid.runs and levels(grid.runs, factor)):
        return f"{factor} as a setting, as its networks have no part for it"
    text = wanted_text(factor, wanted)
    there = factor in grid.runs and any(level in wanted for level in levels(grid.runs, factor))
    met = [wanted_text(name, allowed) for name, allowed in where.items()]
    return f"{text} with {' and '.join(met)}" if there and met else text


def resolve(
    grid: Grid, factor: str, wanted: Any, table: pd.DataFrame, where: Mapping[str, Levels] | None = None
) -> Any:
    """The level that a side names. `where`: what the table was held to."""
    fixed = [grid.fixed[factor]] if factor in grid.fixed else []
    there = (levels(table, factor) if factor in table else []) or fixed
    if wanted in (MIN, MAX):
        if len(there) < 2:
            raise Unasked(two_values(grid, factor))
        return there[0 if wanted == MIN else -1]
    for level in wanted if isinstance(wanted, tuple) else (wanted,):
        if level in there:
            return level
    raise Unasked(lacking(grid, factor, (wanted[0] if isinstance(wanted, tuple) else wanted,), where or {}))


def two_values(grid: Grid, factor: str) -> str:
    if factor == LAYERS:
        return "networks of two depths with all else equal"
    return f"two values of {factor}" + " with all else equal" * (factor in grid.swept)


def sides(grid: Grid, contrast: Contrast) -> Sides:
    """Raises Unasked."""
    factor, at = contrast.factor, contrast.at
    table = candidates(grid, contrast)
    if contrast.sides[1] is None:
        return one_side(grid, contrast, table)
    chosen = [resolve(grid, factor, wanted, table, contrast.where) for wanted in contrast.sides]
    more, less = (table[table[factor] == level] for level in chosen)
    own = [f for f in factors_of(table) if f.startswith(OF_ONE_SIDE.get(factor, (f"{factor}.",)))]
    nested = [f for f in own if more[f].isna().any() or less[f].isna().any()]
    others = [f for f in factors_of(table) if f not in (factor, *nested)]
    how: dict[str, Any] = {"on": others} if others else {"how": "cross"}
    pairs = more.merge(less, **how, suffixes=("", "_less"))
    names = (name_of(factor, chosen[0]), name_of(factor, chosen[1]))
    if pairs.empty:
        raise Unasked(f"{' and '.join(names)} with all else equal")
    if contrast.moderators:
        return moderated(grid, contrast, (table, pairs), others)
    if contrast.across is not None:
        return Sides(names, *rows_across(grid, contrast, pairs, others, nested))
    return Sides(names, *(rows_of(grid, pairs, end, at) for end in ("", "_less")))


OF_ONE_SIDE = {"bn": ("bn.", "norm.")}
"""Factor -> how settings begin that may be of one of its levels alone, where not by its own name."""


def moderated(grid: Grid, contrast: Contrast, of: tuple[pd.DataFrame, pd.DataFrame], others: list[str]) -> Sides:
    """Pairs that differ in the moderators alone. `of`: the candidates, and the pairs made of them."""
    (table, pairs), factors = of, dict(contrast.moderators)
    chosen = {f: [resolve(grid, f, level, table, contrast.where) for level in two] for f, two in factors.items()}
    gone = (*factors, *(SIZES if LAYERS in factors else ()))
    rest = [f for f in others if f not in gone]
    runs = [name for name in ("a", "l", "a_less", "l_less") if name in pairs]
    parts = []
    for i, combination in enumerate(itertools.product((0, 1), repeat=len(factors))):
        here = pairs
        for factor, which in zip(factors, combination, strict=True):
            here = here[here[factor] == chosen[factor][which]]
        parts.append(here[rest + runs].rename(columns={name: f"{name}_{i}" for name in runs}))
    how: dict[str, Any] = {"on": rest} if rest else {"how": "cross"}
    cells = reduce(lambda one, two: one.merge(two, **how), parts)
    names = [name_of(f, level) for f in chosen for level in chosen[f]]
    if cells.empty:
        raise Unasked(f"{', '.join(names)} with all else equal")
    found: tuple[list[Rows], list[Rows]] = ([], [])
    for i, combination in enumerate(itertools.product((0, 1), repeat=len(factors))):
        here = pd.DataFrame({name: cells[f"{name}_{i}"] for name in runs})
        taken_off = sum(combination) % 2
        for end, side in (("", found[taken_off]), ("_less", found[1 - taken_off])):
            side.append(rows_of(grid, here, end, contrast.at))
    return Sides((names[0], names[1]), np.concatenate(found[0]), np.concatenate(found[1]))


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
    if factor == LAYERS:
        return f"{level} hidden layers"
    return level_text(factor, level) or str(level)


def rows_of(grid: Grid, pairs: pd.DataFrame, end: str, at: str) -> Rows:
    arms = pairs[f"a{end}"].to_numpy()
    if at == BEST:
        return np.asarray(grid.run_ALN[arms])
    if at == START:  # any rate will do, of which a run has something to show, and a stopped one has
        run_PLN = grid.run_ALN[arms]
        known_PLN = (run_PLN >= 0) & (grid.finished | grid.diverged | grid.stopped)[run_PLN]
        return np.take_along_axis(run_PLN, known_PLN.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.asarray(grid.run_ALN[arms, pairs[f"l{end}"].to_numpy()])


def rows_across(
    grid: Grid, contrast: Contrast, pairs: pd.DataFrame, others: list[str], nested: list[str]
) -> tuple[Rows, Rows]:
    """[P, K, N]: pairs that differ in `across` alone (`init` stands for init and everything below it) side by side, and
    in nothing that only one side has (`nested`: bn.eps)."""
    across = [f for f in others if f == contrast.across or f.startswith(f"{contrast.across}.")]
    if contrast.by == GAIN and across:
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
