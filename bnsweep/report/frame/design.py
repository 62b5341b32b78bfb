"""A sweep as a complete product of factors and seeds, which is what an analysis of variance needs.

K levels of a factor, C cells (combinations of one level of each factor), N seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import Metric
from bnsweep.report.frame.grid import Grid, level_text, levels

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

SPARSE = 0.05
"""Share of the product's runs below which a sweep is a list of settings and no product of factors. So it is where less
than half of the results lie in a complete product."""

CHOSEN = "What is left was chosen by its scores along the way: what holds in it need not hold in the whole sweep."
"""Of a sweep of which runs were stopped early. That choice makes no effects of its own: tests/report/stats/test_stopped
holds it."""


@dataclass(frozen=True)
class Factor:
    """One factor, or several that cannot vary apart: init.std exists for init=normal only."""

    name: str
    columns: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]
    """Of each level: the value of each column, missing where it does not apply."""

    @property
    def texts(self) -> list[str]:
        texts = [[level_text(f, v) for f, v in zip(self.columns, level, strict=True)] for level in self.values]
        return [" · ".join(filter(None, parts)) or "–" for parts in texts]

    @property
    def numbers(self) -> Array | None:
        """The levels as numbers, where they are."""
        if len(self.columns) > 1 or any(isinstance(v, (str, bool)) or pd.isna(v) for (v,) in self.values):
            return None
        return np.array([float(v) for (v,) in self.values])


@dataclass(frozen=True)
class Design:
    factors: tuple[Factor, ...]
    """BN first, whose interactions are asked for, then in the grid's order; none where the sweep holds no product of at
    least two levels and two seeds."""
    score: Array
    """[K_1, .., K_d, N], without a hole."""
    bundles: tuple[int, ...]
    note: str = ""
    """What was left out, or why nothing is left."""
    reached: Array | None = None
    """Whether each run got to τ, in the shape of `score`, NaN where that is not known; None: of none."""
    partial: bool = False
    """Whether levels were left out, so that what is found holds for the others alone."""

    @property
    def n(self) -> int:
        return len(self.bundles)

    @property
    def cells(self) -> int:
        return math.prod(len(f.values) for f in self.factors) if self.factors else 0

    def axis(self, name: str) -> int:
        return [f.name for f in self.factors].index(name)

    def means(self, axes: Iterable[int]) -> Array:
        """Mean score by the levels of the factors at `axes`, [K_i, .., N]."""
        return np.asarray(self.score.mean(axis=self._others(axes)), dtype=np.float64)

    def shares(self, axes: Iterable[int]) -> Array:
        """The share of runs that got to τ by the levels of the factors at `axes`, [K_i, .., N]."""
        reached = np.full(self.score.shape, math.nan) if self.reached is None else self.reached
        return np.asarray(reached.mean(axis=self._others(axes)), dtype=np.float64)

    def _others(self, axes: Iterable[int]) -> tuple[int, ...]:
        kept = set(axes)
        return tuple(i for i in range(len(self.factors)) if i not in kept)


def read_design(grid: Grid, metric: Metric) -> Design:
    """The largest complete product that leaving out whole levels and seeds leads to; see `complete`."""
    if grid.searched:
        return Design((), np.empty((0,)), (), f"{grid.search_text}, whose effects could be told apart.")
    table = swept_values(grid)
    planned_SN = (grid.planned_ALN >= 0).reshape(len(table), -1)
    stopped_S = grid.stopped_AL.ravel()
    factors, code_SF = coded(table, table.loc[np.flatnonzero(planned_SN.any(axis=1))], grid)
    if not factors:
        return Design((), np.empty((0,)), (), "No factor was swept.")
    score_SN = grid.scores(metric, grid.run_ALN).reshape(len(table), -1)
    sizes = [*(len(f.values) for f in factors), score_SN.shape[1]]
    setting, bundle = np.nonzero(~np.isnan(score_SN))
    results, product = len(setting), math.prod(sizes)
    kept = complete(np.column_stack([code_SF[setting], bundle]), sizes) if results >= SPARSE * product else [[]]
    if not results or math.prod(map(len, kept)) < results / 2:
        there = "ran to the end" if stopped_S.any() else "have a result"
        text = f"{results:,} of {product:,} combinations of the swept values and seeds {there}: they are"
        return Design((), np.empty((0,)), (), f"{text} no product of factors, whose effects could be told apart.")
    place = (*code_SF[setting].T, bundle)
    full, got = np.full(sizes, math.nan), np.full(sizes, math.nan)
    full[place] = score_SN[setting, bundle]
    got[place] = grid.reached[grid.run_ALN.reshape(len(table), -1)[setting, bundle]]
    lost = bool((planned_SN & np.isnan(score_SN))[~stopped_S].any())
    why = reason(lost, int(planned_SN.sum()) < product, bool(stopped_S.any()))
    found = complete_design(factors, full, got, kept, why)
    return replace(found, note=f"{found.note} {CHOSEN}") if stopped_S.any() and found.factors else found


def reason(lost: bool, unplanned: bool, stopped: bool = False) -> str:
    """Why a part of the product is left out."""
    if stopped:
        return "runs there were stopped early" + (f", or {reason(lost, unplanned)}" if lost or unplanned else "")
    if not unplanned:
        return "results are missing there"
    return "not all combinations there were planned" + " or have a result" * lost


def swept_values(grid: Grid) -> pd.DataFrame:
    """The swept values of every pair of arm and learning rate, in the order of `run_ALN`."""
    arm, lr = (i.ravel() for i in np.indices(grid.run_ALN.shape[:2]))
    arms = grid.arms[grid.arm_factors].iloc[arm].reset_index(drop=True)
    lrs = grid.lrs[grid.lr_factors].iloc[lr].reset_index(drop=True)
    return pd.concat([arms, lrs], axis=1)[grid.swept]


def coded(table: pd.DataFrame, planned: pd.DataFrame, grid: Grid) -> tuple[list[Factor], Codes]:
    """The factors, merged where the planned settings never vary them apart, and each one's level at every setting of
    the table, [S, F]."""
    factors, codes = [], []
    for name, columns in merged(planned):
        parts = [pd.Categorical(table[f], categories=levels(grid.runs, f)).codes.astype(np.int64) for f in columns]
        code_SF = np.column_stack(parts)
        code_SF = np.where(code_SF < 0, len(grid.runs), code_SF)  # where a factor does not apply comes last
        _, first, code = np.unique(code_SF, axis=0, return_index=True, return_inverse=True)
        values = tuple(tuple(table[f].iloc[i] for f in columns) for i in first)
        factors.append(Factor(name, tuple(columns), values))
        codes.append(code.reshape(-1))
    return factors, np.column_stack(codes) if codes else np.empty((len(table), 0), dtype=np.int64)


def merged(planned: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Name and columns of each factor. A factor joins the one that says where it is missing, under the other's name;
    one that another decides becomes one with it, `a + b`: no sweep of theirs can tell them apart."""
    group = {str(f): [str(f)] for f in planned.columns}
    name = {f: f for f in group}
    for f, g in itertools.permutations(list(group), 2):
        missing = planned[f].isna()
        if f in group and g in group and missing.any() and decides(planned[g], missing):
            group[g] += group.pop(f)
    number = {f: planned.groupby(columns, dropna=False).ngroup() for f, columns in group.items()}
    for f, g in itertools.permutations(list(group), 2):
        if f not in group or g not in group or not decides(number[f], number[g]):
            continue
        # A factor of which no two settings share a level decides all others: that is a list of settings.
        if number[f].duplicated().any() or decides(number[g], number[f]):
            name[f] = f"{name[f]} + {name[g]}"
            group[f] += group.pop(g)
    first = sorted(group, key=lambda f: f != "bn")
    return [(name[f], group[f]) for f in first]


def shown_apart(arms: pd.DataFrame, arm_factors: list[str]) -> tuple[list[str], dict[str, str]]:
    """The factors that a figure can give rows, columns and colours of their own, and the others, each with the one that
    decides it."""
    free, goes_with = list(arm_factors), {}
    for f, g in itertools.permutations(arm_factors, 2):
        whole = not arms[f].isna().any() and arms[f].duplicated().any()
        if f in free and g in free and whole and decides(arms[f], arms[g]):
            free.remove(g)
            goes_with[g] = f
    return free, goes_with


def decides(by: pd.Series[Any], what: pd.Series[Any]) -> bool:
    """Whether each level of one column comes with one value of the other."""
    return bool(what.groupby(by, dropna=False).nunique(dropna=False).max() == 1)


def complete(present_MF: Codes, sizes: list[int]) -> list[list[int]]:
    """Levels of each axis (the last: seeds) that form a product without a hole.

    As long as there are holes, the level or seed with the largest share of missing cells is left out; of equals the one
    with the fewest results, of these one of the factor with the most levels, and BN's (the first axis) last. So a level
    that always failed goes first and costs no seed; one lost run costs its seed.
    """
    last = len(sizes) - 1
    kept = [list(range(size)) for size in sizes]
    while len(present_MF) < math.prod(map(len, kept)):
        worst = None
        for axis, here in enumerate(kept):
            counts = np.bincount(present_MF[:, axis], minlength=sizes[axis])[here]
            size = math.prod(len(k) for i, k in enumerate(kept) if i != axis)
            at = int(np.argmin(counts))
            order = (axis == last, -len(here), axis == 0, axis)
            found = (-(1 - counts[at] / size), counts[at], *order, here[at])
            worst = min(worst, found) if worst else found
        assert worst is not None
        *_, axis, level = worst
        kept[axis].remove(level)
        present_MF = present_MF[present_MF[:, axis] != level]
    return kept


def complete_design(factors: list[Factor], full: Array, got: Array, kept: list[list[int]], why: str) -> Design:
    """The complete part as a design. Factors with one level left are no factors of it, and the note says so."""
    score, bundles = full[np.ix_(*kept)], tuple(kept[-1])
    left_out = []
    for factor, here in zip(factors, kept[:-1], strict=True):
        gone = [text for i, text in enumerate(factor.texts) if i not in set(here)]
        only = f"all of {factor.name} but {factor.texts[here[0]]}" if len(here) == 1 else ""
        left_out += [only] if only else [f"{len(gone)} levels of {factor.name}"] if len(gone) > 5 else gone
    partial, seeds = bool(left_out), full.shape[-1] - len(bundles)
    left_out += [f"{seeds} seed{'s' * (seeds > 1)}"] if seeds else []
    note = f"Left out, because {why}: {', '.join(left_out)}." if left_out else ""
    many = [i for i, here in enumerate(kept[:-1]) if len(here) > 1]
    if not many or len(bundles) < 2:
        few = "one seed shows no chance to compare with" if len(bundles) == 1 else "no two levels share two seeds"
        return Design((), np.empty((0,)), (), f"{note} Nothing is compared: {few}.".strip())
    kept_factors = tuple(replace(factors[i], values=tuple(factors[i].values[k] for k in kept[i])) for i in many)
    shape = [len(kept[i]) for i in many] + [len(bundles)]
    return Design(kept_factors, score.reshape(shape), bundles, note, got[np.ix_(*kept)].reshape(shape), partial)
