"""The shape of a sweep, read from its runs: swept factors, arms, learning rates, seed bundles.

An arm is a combination of the swept factors other than the learning rate, which is a nuisance factor (Google's tuning
playbook): arms are compared at their best learning rate and at each fixed one. A learning rate that goes with other
factors, so that each arm has but one, is a factor of the arms. A bundle is a replicate: the runs of one `seed` (and
`data.seed`), which share initial normals, split and batch order over all arms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.catalogue.datasets import DATASETS
from bnsweep.catalogue.inits import INITS
from bnsweep.catalogue.metrics import Metric
from bnsweep.catalogue.norms import LEVELS, NORMS, PLACEMENTS, kind_and_place
from bnsweep.catalogue.optimizers import OPTIMIZERS
from bnsweep.catalogue.own import is_own, title_of
from bnsweep.catalogue.schedules import SCHEDULES
from bnsweep.catalogue.tasks import Task
from bnsweep.config.checks import printable
from bnsweep.config.groups import DECAYED, DISTRIBUTIONS
from bnsweep.config.identity import NAME_FIELDS, layers_in
from bnsweep.config.network import DROPOUTS, FAMILIES, SHORTCUTS, SKIPS, convolutions
from bnsweep.config.tree import known_keys
from bnsweep.records import DIVERGED, FINISHED, STOPPED
from bnsweep.report.frame.metrics import reached, scored, task_of, untrained

ORDER: dict[str, tuple[str, ...]] = {
    "activation": tuple(ACTIVATIONS),
    "init": tuple(INITS),
    "init.distribution": DISTRIBUTIONS,
    "lr.schedule": tuple(SCHEDULES),
    "bn": LEVELS,
    "skip": SKIPS,
    "model.family": FAMILIES,
    "optimizer": tuple(OPTIMIZERS),
    "data": tuple(DATASETS),
}
BUNDLE = ("seed", "data.seed")
SHORT = {"lr.value": "lr", "lr.hidden": "hidden lr ×", "init.distribution": "", "bn.momentum": "BN momentum"}
USUAL: dict[str, Any] = {
    "skip": SKIPS[0],
    "norm.zero_init_residual": False,
    "init.scalars": False,
    "model.family": FAMILIES[0],
    "model.shortcut": SHORTCUTS[0],
    "data.crop": 0,
    "data.flip": False,
    "data.standardize": False,
    "model.dropout_kind": DROPOUTS[0],
    "optimizer.decayed": DECAYED[0],
    "train.label_smoothing": 0.0,
}
"""What a run has that says nothing of it."""
BN_PLACEMENT = "BN placement"
SOURCES = ("activation.source", "init.source", "model.source")
"""Digests of the user's code, which go with its names."""
UNNAMED = "as configured"
"""What was not swept and has no name."""


def factor_columns(runs: pd.DataFrame) -> list[str]:
    """The columns that are settings of a run, in the schema's order, without those that name the bundle."""
    parts = [(key, *key.partition(".")[::2]) for key in known_keys()]
    names = dict.fromkeys(group if name == NAME_FIELDS.get(group) else key for key, group, name in parts)
    return [name for name in names if name in runs and name not in BUNDLE]


def levels(runs: pd.DataFrame, factor: str) -> list[Any]:
    """Distinct values: by size when numbers, by the schema's order when names; missing is no level."""
    values = list(pd.unique(runs[factor].dropna()))
    if all(isinstance(v, (int, float, np.number)) for v in values):
        return sorted(values)
    known = {name: i for i, name in enumerate(ORDER.get(factor, ()))}
    return sorted(values, key=lambda v: (known.get(v, len(known)), str(v)))


def evenly_spaced(count: int, most: int) -> list[int]:
    """All of `count` places, or `most` of them at even distances, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def swept_factors(runs: pd.DataFrame) -> list[str]:
    """Factors with at least two levels.

    One value beside missing ones counts as two levels (data.subset=null,500), unless another swept factor says where
    it is missing: init.std exists for init=normal only, and is not swept by sweeping init.
    """
    columns = [name for name in factor_columns(runs) if name not in SOURCES]
    swept = [name for name in columns if len(levels(runs, name)) >= 2]
    for name in columns:
        sometimes = name not in swept and len(levels(runs, name)) == 1 and runs[name].isna().any()
        if sometimes and not any(runs.groupby(f, dropna=False)[name].nunique(dropna=False).max() == 1 for f in swept):
            swept.append(name)
    return [name for name in columns if name in swept]


def most_hidden_layers(runs: pd.DataFrame) -> int:
    """Of the deepest network swept."""
    networks = runs[[name for name in NETWORK if name in runs]].drop_duplicates().to_dict("records")
    return max((hidden_layers({str(name): value for name, value in n.items()}) for n in networks), default=0)


NETWORK = ("model.family", "model.layers", "model.hidden", "model.channels", "model.blocks")


def hidden_layers(network: Mapping[str, Any]) -> int:
    """Of a run, by its settings; of a network of the user's the calls of activations that a trial found."""
    if network.get("model.family") == "module":
        return int(network.get("model.layers") or 0)
    if isinstance(sizes := network.get("model.hidden"), str):
        return layers_in(sizes)
    if not isinstance(sizes := network.get("model.channels"), str):
        return 0
    return convolutions(network["model.family"], layers_in(sizes), int(network["model.blocks"]))


def value_text(value: Any) -> str:
    """A setting as it is typed; different numbers have different texts."""
    if isinstance(value, float):
        if math.isnan(value):
            return "none"
        short = f"{value:g}"
        return short if float(short) == value else repr(float(value)).removesuffix(".0")
    return printable(str(value))


def level_text(factor: str, value: Any) -> str:
    """A level as it is written in an arm's name; empty where the factor does not apply."""
    if factor != "data.subset" and pd.isna(value):
        return ""
    if factor == "bn":
        return placement_text(str(value))
    if factor == "skip":
        return f"skip {value}"
    if factor == "model.target":
        return title_of(str(value))
    if (factor in NAME_FIELDS and factor != "probes") or factor == "lr.schedule":
        return value_text(title_of(value) if is_own(str(value)) else value)
    group, _, name = factor.partition(".")
    short = SHORT.get(factor, (name or group).replace("_", " "))
    return f"{short} {value_text(value)}".strip()


def placement_text(level: str) -> str:
    """A level of `bn`: no BN, BN before, GroupNorm after, WeightNorm."""
    kind, place = kind_and_place(level)
    title = NORMS[kind].title if kind in NORMS else "no BN" if kind == "none" else printable(kind)
    return title if place == "none" else f"{title} {printable(place)}"


@dataclass(frozen=True)
class Grid:
    """A sweep as an array. A arms, L learning-rate settings, N bundles; names carry the shape."""

    runs: pd.DataFrame
    """One row a planned run, index 0..; `run_ALN` and `planned_ALN` point into it."""
    swept: list[str]
    arm_factors: list[str]
    lr_factors: list[str]
    arms: pd.DataFrame
    """One row an arm: its factors' values and `arm`, its name."""
    lrs: pd.DataFrame
    """One row a learning-rate setting: its factors' values and `lr`, its name."""
    bundles: list[str]
    run_ALN: NDArray[np.int64]
    """Row of the run, -1 where none was planned, and in all seeds of an arm and learning rate of which one was stopped
    early: the others would be those that a strategy chose by their scores."""
    planned_ALN: NDArray[np.int64]
    """Row of the run, stopped or not; -1 where none was planned."""
    duplicates: int = 0
    """Rows left out because the same cell was already there."""
    crossed: bool = False
    """Whether several data seeds share a seed or the other way round, so that bundles are not independent."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """Settings that all runs (to which they apply) share."""
    searched: Sequence[str] = ()
    """Settings whose values a sampler chose: the arms are its trials, and no product of factors."""

    @property
    def search_text(self) -> str:
        """Why nothing is said of factors; empty where the sweep is a grid."""
        names = ", ".join(self.searched)
        return f"Optuna chose {names}, trial by trial: the trials are no grid of factors" if names else ""

    @cached_property
    def bn_title(self) -> str:
        """What the factor `bn` is called: where BN stands, or which normalisation stands where."""
        others = "bn" in self.runs and not set(levels(self.runs, "bn")) <= {*PLACEMENTS}
        return "normalisation" if others else BN_PLACEMENT

    @cached_property
    def task(self) -> Task:
        """Of all runs."""
        return task_of(self.runs)

    @cached_property
    def finished(self) -> NDArray[np.bool_]:
        """Of each run."""
        return (self.runs["status"] == FINISHED).to_numpy(bool)

    @cached_property
    def diverged(self) -> NDArray[np.bool_]:
        """Of each run."""
        return (self.runs["status"] == DIVERGED).to_numpy(bool)

    @cached_property
    def stopped(self) -> NDArray[np.bool_]:
        """Of each run."""
        return (self.runs["status"] == STOPPED).to_numpy(bool)

    @cached_property
    def stopped_AL(self) -> NDArray[np.bool_]:
        """Whether an arm was stopped early at a learning rate, in any seed."""
        return np.asarray(((self.planned_ALN >= 0) & self.stopped[self.planned_ALN]).any(axis=2))

    @property
    def whole(self) -> Grid:
        """With what was stopped, for what can be read off a run however early it ends."""
        return replace(self, run_ALN=self.planned_ALN) if self.stopped_AL.any() else self

    @cached_property
    def reached(self) -> NDArray[np.float64]:
        """Of each run: 1 where its steps to τ end at τ, 0 where they are its budget, NaN where that is not known."""
        return np.asarray(reached(self.runs), dtype=np.float64)

    @cached_property
    def hidden_layers(self) -> int:
        """Of the deepest network swept."""
        return most_hidden_layers(self.runs)

    @cached_property
    def untrained(self) -> bool:
        """Whether no run has a single step to train."""
        return untrained(self.runs)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row an arm and learning rate that was planned, with its factors; `a` and `l` number it."""
        arms = self.arms.drop(columns="arm").assign(a=range(len(self.arms)))
        lrs = self.lrs.drop(columns="lr").assign(l=range(len(self.lrs)))
        table = arms.merge(lrs, how="cross")
        planned = np.any(self.run_ALN >= 0, axis=2)
        return pd.DataFrame(table[planned[table["a"], table["l"]]])

    @cached_property
    def arm_cells(self) -> pd.DataFrame:
        """The first of each arm's, without what is said of its learning rate."""
        return self.cells.drop_duplicates("a").drop(columns=self.lr_factors)

    def scores(self, metric: Metric, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Scores of the runs at `rows`, NaN at -1."""
        if metric.name not in self._scores:
            self._scores[metric.name] = np.asarray(scored(self.runs, metric), dtype=np.float64)
        return np.where(rows >= 0, self._scores[metric.name][rows], math.nan)

    @cached_property
    def _scores(self) -> dict[str, NDArray[np.float64]]:
        return {}


def settled_by_arms(arm_of: NDArray[np.int64], runs: pd.DataFrame, lr_factors: list[str]) -> list[str]:
    """Factors of the learning rate of which each arm has one value: zipped with others, they are not to be chosen."""
    return [f for f in lr_factors if runs[f].groupby(arm_of).nunique(dropna=False).max() == 1]


def arm_and_lr(swept: list[str]) -> tuple[list[str], list[str]]:
    """The factors that make arms, and those of the learning rate; a sweep of the learning rate alone ranks rates."""
    lr_factors = [f for f in swept if f.startswith("lr.")]
    arm_factors = [f for f in swept if f not in lr_factors]
    return (arm_factors, lr_factors) if arm_factors else (lr_factors, [])


def placed(
    runs: pd.DataFrame, codes: tuple[NDArray[np.int64], ...], shape: tuple[int, ...], usable: Any = slice(None)
) -> NDArray[np.int64]:
    """Row of the run in each cell, -1 where none was planned; of several the first one, of those with a result first,
    then of stopped ones.

    `codes`: each run's place along each axis. `usable`: the rows that have a place.
    """
    rows = np.arange(len(runs))[usable]
    lacks = runs["status"].map({FINISHED: 0, DIVERGED: 0, STOPPED: 1}).fillna(2).to_numpy(int)
    last_wins = rows[np.lexsort((rows, lacks[rows]))[::-1]]
    found = np.full(shape, -1, dtype=np.int64)
    found[tuple(code[last_wins] for code in codes)] = last_wins
    return found


def read_grid(runs: pd.DataFrame, searched: Sequence[str] = ()) -> Grid:
    """The grid of a sweep's runs, planned ones without a result included. `searched`: see `Grid`."""
    runs = runs.reset_index(drop=True)
    runs = runs.fillna({name: usual for name, usual in USUAL.items() if name in runs})
    swept = swept_factors(runs)
    arm_factors, lr_factors = (swept, []) if searched else arm_and_lr(swept)
    arm_of, arms = combinations(runs, arm_factors, "arm")
    if settled := settled_by_arms(arm_of, runs, lr_factors):
        arm_factors, lr_factors = ([f for f in swept if (f in lr_factors and f not in settled) == lr] for lr in (0, 1))
        arm_of, arms = combinations(runs, arm_factors, "arm")
    lr_of, lrs = combinations(runs, lr_factors, "lr")
    bundle_of, bundles, crossed = bundle_codes(runs)
    planned_ALN = placed(runs, (arm_of, lr_of, bundle_of), (len(arms), len(lrs), len(bundles)))
    fixed = {f: levels(runs, f)[0] for f in factor_columns(runs) if f not in swept and len(levels(runs, f)) == 1}
    doubles = len(runs) - int((planned_ALN >= 0).sum())
    axes = (runs, swept, arm_factors, lr_factors, arms, lrs, bundles, planned_ALN, planned_ALN)
    grid = Grid(*axes, doubles, crossed, fixed, [printable(name) for name in searched])
    return replace(grid, run_ALN=np.where(grid.stopped_AL[:, :, None], -1, planned_ALN))


def combinations(runs: pd.DataFrame, factors: list[str], title: str) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Number of each run's combination, and the combinations in grid order under their names."""
    if not factors:
        telling = ("activation", "init", "bn") if title == "arm" else ("lr.value",)
        alike = [f for f in telling if f in runs and runs[f].nunique(dropna=False) == 1]  # lr.value may name the arms
        name = " · ".join(level_text(f, runs[f].iloc[0]) for f in alike)
        return np.zeros(len(runs), dtype=np.int64), pd.DataFrame({title: [name or UNNAMED]})
    columns = [pd.Categorical(runs[f], categories=levels(runs, f)).codes.astype(np.int64) for f in factors]
    codes = np.column_stack(columns)
    codes = np.where(codes < 0, len(runs), codes)  # where a factor does not apply comes last
    _, first, of_run = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    table = runs.loc[first, factors].reset_index(drop=True)
    names = [" · ".join(filter(None, (level_text(f, row[f]) for f in factors))) or "–" for _, row in table.iterrows()]
    table.insert(0, title, names)
    return of_run.reshape(-1).astype(np.int64), table


def bundle_codes(runs: pd.DataFrame) -> tuple[NDArray[np.int64], list[str], bool]:
    """Number of each run's bundle, the bundles' names, and whether seed and data.seed are crossed."""
    own = runs["seed"] if "seed" in runs else pd.Series(0, index=runs.index)
    data = runs["data.seed"].fillna(own) if "data.seed" in runs else own
    pairs = pd.DataFrame({"seed": own, "data": data})
    unique = pairs.drop_duplicates().sort_values(["seed", "data"])
    crossed = len(unique) > max(unique["seed"].nunique(), unique["data"].nunique())
    split = unique["seed"].nunique() < len(unique) or unique["data"].nunique() not in (1, len(unique))
    names = [f"{s:.0f}/{d:.0f}" if split else f"{s:.0f}" for s, d in unique.itertuples(index=False)]
    keys = pd.MultiIndex.from_frame(unique)
    return keys.get_indexer(pd.MultiIndex.from_frame(pairs)).astype(np.int64), names, crossed
