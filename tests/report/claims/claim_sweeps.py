"""Simulated sweeps with everything that the claims read, and a known truth of each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bnsweep.store.sweep_data import SweepInfo

GRID: dict[str, Sequence[Any]] = {
    "activation": ["sigmoid", "relu"],
    "init": ["normal", "xavier", "he"],
    "lr.value": [0.01, 0.1, 1.0],
    "bn": ["none", "before", "after"],
}
SKIPS: dict[str, Sequence[Any]] = {
    "lr.value": [0.1, 1.0],
    "bn": ["none", "before"],
    "skip": ["off", "on"],
    "model.hidden": ["32x4", "32x20"],
}
NORMS: dict[str, Sequence[Any]] = {
    "lr.value": [0.1, 1.0],
    "bn": ["before", "group before", "layer before"],
    "train.batch_size": [2, 64],
}
TAU = 0.75
FIXED = {"data": "digits", "data.validation": 287, "model.hidden": "32-32", "train.epochs": 20, "train.batch_size": 64}
FIXED["train.tau"] = TAU
BUDGET = 360.0
STARTS = ("growth", "layer/1/std", "layer/2/std", "layer/1/dead", "layer/2/dead")

Effect = Callable[[Mapping[str, Any]], float]


def nothing(run: Mapping[str, Any]) -> float:
    return 0.0


@dataclass
class Truth:
    """What is added to each run's number; nothing by default, and then no arm differs from any other."""

    accuracy: Effect = nothing
    gap: Effect = nothing
    decades: Effect = nothing
    """Of the gradient's growth, squared norm."""
    spread: Effect = nothing
    """Decades from the first layer's std to the second's."""
    drift: Effect = nothing
    rise: Effect = nothing
    """Logarithm of how far validation loss ends above its minimum, in fifths of it."""
    loss_rises: Effect = nothing
    """Probability of blowing up."""
    noise: Effect = lambda run: 0.02


@dataclass
class Sweep:
    runs: pd.DataFrame
    start: dict[str, np.ndarray]
    end: dict[str, np.ndarray]
    middle: dict[str, np.ndarray] = field(default_factory=dict)
    info: SweepInfo = field(default_factory=lambda: SweepInfo("s"))

    def history(self, metrics: Sequence[str], run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        ids = self.runs["run_id"].to_numpy() if run_ids is None else np.asarray(run_ids)
        rows = pd.Index(self.runs["run_id"]).get_indexer(ids)
        parts = [
            pd.DataFrame(
                {"run_id": ids, "step": step, "epoch": step / 18.0, "metric": metric, "value": values[metric][rows]}
            )
            for metric in metrics
            for step, values in ((0, self.start), (180, self.middle), (360, self.end))
            if metric in values
        ]
        empty = pd.DataFrame({"run_id": [], "step": [], "epoch": [], "metric": [], "value": np.zeros(0)})
        return pd.concat(parts) if parts else empty

    def histograms(self, run_ids: Sequence[str]) -> dict[str, Any]:
        return {}


def product(grid: Mapping[str, Sequence[Any]] = GRID, seeds: int = 10) -> pd.DataFrame:
    rows = [dict(zip([*grid, "seed"], v, strict=True)) for v in itertools.product(*grid.values(), range(seeds))]
    runs = pd.DataFrame([FIXED | row for row in rows])
    runs.insert(0, "run_id", [f"r{i}" for i in range(len(runs))])
    facts = {"classes": 10.0, "total_steps": BUDGET}
    return runs.assign(status="finished", reason="", **facts, **{"data.seed": runs["seed"]})


def sweep(runs: pd.DataFrame, truth: Truth, random: np.random.Generator, lumpy: bool = True) -> Sweep:
    """Seeds share their luck. `lumpy`: one run in ten does not learn at all, so that scores have two humps."""
    n, records = len(runs), runs.to_dict("records")

    def add(effect: Effect, scale: float | np.ndarray) -> np.ndarray:
        luck = random.standard_normal(1000)[runs["seed"]]
        return np.array([effect(run) for run in records]) + scale * (luck + random.standard_normal(n))

    score = np.minimum(0.85 + add(truth.accuracy, np.array([truth.noise(run) for run in records])), 1.0)
    if lumpy:
        score = np.where(random.random(n) < 0.1, 0.1, score)
    reached = score >= TAU
    train = np.clip(0.95 + 0.01 * random.standard_normal(n), 0.9, 1.0)
    steps = np.where(reached, np.round(BUDGET * (1.2 - score)), BUDGET)
    summary = {"final_val_accuracy": score, "final_test_accuracy": score - 0.01, "auc": score - 0.1}
    summary |= {"final_train_accuracy": train}
    summary |= {
        "steps_to_tau": steps,
        "tau_reached": reached.astype(float),
        "gap_accuracy": 0.03 + add(truth.gap, 0.005),
    }
    chance = np.full(n, 0.1)
    summary |= {f"drift_{l}": 0.1 * np.exp(add(truth.drift, 0.1)) for l in (1, 2)}
    std = 0.3 * np.exp(0.1 * random.standard_normal(n))
    start = {"growth": 10.0 ** add(truth.decades, 0.2), "layer/1/std": std}
    start |= {
        "layer/2/std": std * 10.0 ** add(truth.spread, 0.1),
        "layer/1/dead": np.zeros(n),
        "layer/2/dead": np.zeros(n),
    }
    start |= {"val/loss": np.full(n, 2.3)} | {
        f"layer/{l}/ics_ratio": 0.3 * np.exp(add(truth.drift, 0.1)) for l in (2, 3)
    }
    risen = random.random(n) < np.array([truth.loss_rises(run) for run in records])
    end = start | {"val/loss": np.where(risen, 9.0, 0.3 + 0.06 * np.exp(add(truth.rise, 0.1)))}
    start |= {"train/accuracy": chance, "val/accuracy": chance}
    end |= {"train/accuracy": train, "val/accuracy": train - summary["gap_accuracy"]}
    # What a network is at the start does not depend on its learning rate.
    factors = [f for f in runs if f not in ("run_id", "lr.value") and runs[f].nunique(dropna=False) > 1]
    lr_free = runs.groupby(factors, dropna=False).ngroup().to_numpy()
    first = pd.Series(np.arange(n)).groupby(lr_free).transform("first").to_numpy()
    start |= {name: start[name][first] for name in STARTS}
    return Sweep(runs.assign(**summary), start, end, {"val/loss": np.full(n, 0.3)})
