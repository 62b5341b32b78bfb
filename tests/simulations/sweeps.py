"""A sweep drawn from a world, in the shape that the report reads: its runs and the course of each.

Everything that a claim may read is there, and hangs together as it does in training: a run's time-mean accuracy goes
with its final accuracy, steps to τ go with the time-mean, and curves lead to both.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from bnsweep.store.sweep_data import SweepInfo
from tests.simulations.worlds import CHANCE, GRIDS, MEAN, NOISES, RATES, Array, World, correlated

EPOCHS, LAYERS, STEPS_AN_EPOCH = 20, 3, 18
BUDGET = float(EPOCHS * STEPS_AN_EPOCH)
FIXED: dict[str, Any] = {
    "activation": "relu",
    "init": "he",
    "data": "digits",
    "data.validation": 287,
    "model.hidden": "-".join(["32"] * LAYERS),
    "train.epochs": EPOCHS,
    "train.batch_size": 64,
    "train.tau": 0.8,
}
DIVERGES_AT = 3
"""Epoch of a diverged run's last evaluation."""
BLOWS_UP = 0.1
"""Share of runs whose validation loss more than doubles on the way, at any learning rate."""
MOVES = ("decades", "spread", "drift", "ics")
"""What the probes read, as logarithms."""


@dataclass
class Sweep:
    runs: pd.DataFrame
    courses: dict[str, Array]
    """[evaluations, runs] of each metric; of what the probes read at the start and at the end alone, [2, runs]."""
    info: SweepInfo = field(default_factory=lambda: SweepInfo("s"))

    def history(self, metrics: Sequence[str], run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        ids = self.runs["run_id"].to_numpy() if run_ids is None else np.asarray(run_ids, dtype=object)
        rows = pd.Index(self.runs["run_id"]).get_indexer(pd.Index(ids))
        diverged = (self.runs["status"] == "diverged").to_numpy()[rows]
        parts = []
        for metric in [name for name in metrics if name in self.courses]:
            course = self.courses[metric]
            epoch = np.arange(EPOCHS + 1) if len(course) > 2 else np.array([0, EPOCHS])
            at, run = np.nonzero((epoch[:, None] <= DIVERGES_AT) | ~diverged)
            columns = {"run_id": ids[run], "step": epoch[at] * STEPS_AN_EPOCH, "epoch": epoch[at].astype(float)}
            parts.append(pd.DataFrame(columns | {"metric": metric, "value": course[:, rows][at, run]}))
        empty = pd.DataFrame({"run_id": [], "step": [], "epoch": [], "metric": [], "value": np.zeros(0)})
        return pd.concat(parts, ignore_index=True) if parts else empty

    def histograms(self, run_ids: Sequence[str]) -> dict[str, Any]:
        return {}


@lru_cache(maxsize=4)
def planned(grid: str, seeds: int) -> pd.DataFrame:
    """The runs before training."""
    factors = GRIDS[grid] | {"seed": tuple(range(seeds))}
    rows = [dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())]
    runs = pd.DataFrame([FIXED | row for row in rows])
    runs.insert(0, "run_id", [f"r{i}" for i in range(len(runs))])
    facts: dict[str, Any] = {"status": "finished", "reason": "", "classes": 10.0, "total_steps": BUDGET}
    return runs.assign(**facts, **{"data.seed": runs["seed"]})


@lru_cache(maxsize=4)
def networks(grid: str, seeds: int) -> tuple[Any, Any]:
    """Place of each run's network at the start, which does not depend on the learning rate, and the networks' seeds."""
    runs = planned(grid, seeds)
    groups = runs.groupby([factor for factor in (*GRIDS[grid], "seed") if factor != "lr.value"])
    return groups.ngroup().to_numpy(), groups["seed"].first().to_numpy()


def sweep(world: World, random: np.random.Generator) -> Sweep:
    runs = planned(world.grid, world.seeds)
    noise, seed = NOISES[world.noise], runs["seed"].to_numpy()
    spread = noise.spread(runs)

    def about(mean: Array | float, sd: float) -> Array:
        return mean + sd * spread * correlated(noise.draw, random, seed)

    shift = RATES[world.rates](runs) + world.effect.final(runs)
    score = about(MEAN + shift, world.sd)
    # Of the time-mean's variance two thirds are the final accuracy's.
    auc = MEAN - 0.1 + 0.8 * (score - MEAN) + 0.2 * shift + world.effect.auc(runs) + about(0, 0.6 * world.sd)
    steps = steps_to_tau(auc, about(0, 0.3), random)
    gap = about(0.03, 0.005)
    columns: dict[str, Any] = {
        "final_val_accuracy": score,
        "final_test_accuracy": score - 0.01,
        "final_train_accuracy": score - 0.01 + gap,
        "gap_accuracy": gap,
        "auc": auc,
        "steps_to_tau": steps,
        "tau_reached": np.where(steps < BUDGET, 1.0, 0.0),
    }
    courses = scores(columns, about(0.1, 0.02), random) | probes(world, random)
    columns |= {f"drift_{l}": about(0.1, 0.01) for l in range(1, LAYERS + 1)}
    columns |= {"status": runs["status"].to_numpy()}
    failed = random.random(len(runs)) < noise.failing
    if noise.failing:
        fail(columns, courses, failed, failed & (random.random(len(runs)) < 0.5))
    return Sweep(runs.assign(**columns), courses)


def steps_to_tau(auc: Array, own: Array, random: np.random.Generator) -> Array:
    """A quarter of an epoch a point of time-mean accuracy, at the evaluation before or after it, at random so that the
    mean stays: rounding up would move it by more where runs scatter more."""
    epochs = np.floor(7.5 - 25 * (auc - MEAN + 0.1) + own + random.random(len(auc)))
    return STEPS_AN_EPOCH * np.clip(epochs, 1.0, EPOCHS)


def scores(columns: dict[str, Any], rise: Array, random: np.random.Generator) -> dict[str, Array]:
    """[evaluations, runs] of accuracies and losses. Accuracies near their end exponentially, at the pace that gives the
    time-mean; the test loss has its minimum at two thirds of training and has risen by `rise` at the end."""
    epoch = np.arange(EPOCHS + 1)[:, None]
    val, auc = columns["final_val_accuracy"], columns["auc"]
    pace = np.clip(EPOCHS * (1 - (auc - CHANCE) / (val - CHANCE)), 0.3, 10)
    done = 1 - np.exp(-epoch / pace)
    courses = {
        f"{split}/accuracy": CHANCE + (columns[f"final_{split}_accuracy"] - CHANCE) * done
        for split in ("train", "val", "test")
    }
    fallen = 2.3 - 1.9 * done
    late = np.clip((epoch / EPOCHS - 2 / 3) * 3, 0, 1)
    risen = fallen + late * rise
    blown = random.random(len(val)) < BLOWS_UP
    courses |= {"train/loss": 2.3 - 2.2 * done, "test/loss": risen}
    return courses | {"val/loss": np.where(blown & (epoch == 2), 9, risen)}


def probes(world: World, random: np.random.Generator) -> dict[str, Array]:
    """What a network's start is like, the same at every learning rate: gradients that keep their size, activations that
    lose three tenths of a decade a layer. No two sides differ in how much they scatter, as some of it is read without
    its sign."""
    place, seed = networks(world.grid, world.seeds)
    draw = NOISES[world.noise].draw
    moves = {name: correlated(draw, random, seed)[place] for name in MOVES}
    decades = 0.1 * moves["decades"]
    start = {"growth": 10 ** (2 * decades), "flow": (LAYERS - 1) * decades}
    for l in range(1, LAYERS + 1):
        start[f"layer/{l}/std"] = 0.5 * 10 ** ((l - 1) * (0.05 * moves["spread"] - 0.3))
        start[f"layer/{l}/grad_activation"] = 10 ** ((LAYERS - l) * decades)
        start[f"layer/{l}/dead"] = np.zeros(len(place))
        start[f"layer/{l}/mean"] = np.full(len(place), 0.5)
    for l in range(2, LAYERS + 2):
        start[f"layer/{l}/ics_ratio"] = 0.3 * np.exp(0.1 * moves["ics"])
        start[f"layer/{l}/ics"] = 0.3 * np.exp(0.1 * moves["ics"])
    return {name: np.stack([value, value]) for name, value in start.items()}


def fail(columns: dict[str, Any], courses: dict[str, Array], failed: Any, diverged: Any) -> None:
    """`failed` runs end at chance with nothing learnt, `diverged` ones without a number."""
    for name, value in columns.items():
        if name.startswith(("final_", "auc")):
            columns[name] = np.where(diverged, np.nan, np.where(failed, CHANCE, value))
    columns["gap_accuracy"] = np.where(diverged, np.nan, np.where(failed, 0, columns["gap_accuracy"]))
    columns["steps_to_tau"] = np.where(failed, BUDGET, columns["steps_to_tau"])
    columns["tau_reached"] = np.where(failed, 0.0, columns["tau_reached"])
    columns["status"] = np.where(diverged, "diverged", columns["status"])
    for name, level in (("accuracy", CHANCE), ("loss", 2.3)):
        for split in ("train", "val", "test"):
            courses[f"{split}/{name}"] = np.where(failed, level, courses[f"{split}/{name}"])
