"""What claims are about, as one number a run: read from the summary, or from the course of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import ACCURACY, METRICS, R2, metrics
from bnsweep.catalogue.tasks import Task
from bnsweep.report.claims.verdicts import Unit
from bnsweep.report.frame.formats import capital
from bnsweep.report.frame.grid import Grid
from bnsweep.report.frame.metrics import column
from bnsweep.report.frame.source import Source

Values = NDArray[np.float64]

SCORES = {ACCURACY: Unit("points", 100, 1, "%"), R2: Unit("R²", 1, 3, "")}
"""Of a task's score, and below of the difference of two."""
GAPS = {ACCURACY: Unit("points", 100, 1), R2: Unit("R²", 1, 3)}
STEPS = Unit("steps", 1, 0)
FACTOR = Unit("times a layer", level="a layer", factor=True)
RISES = Unit("points", 100, 1, "%")
SHARE = Unit("points", 100, 0, "%")
RATIO = Unit("", 1, 3)
RATE = Unit("", factor=True, number=True)

RISE = 2.0
"""A validation loss this many times its start, at any evaluation, counts as blown up."""


@dataclass(frozen=True)
class Quantity:
    title: str
    unit: Unit
    read: Callable[[RunValues, NDArray[np.int64]], Values] | None
    """Values of the runs at these rows of `grid.runs`; NaN where there is none."""
    needs: str = "results"
    """What a run must have recorded, for the sentence that says it is not there."""
    meaning: str = ""
    """What it is, in a sentence for a reader who has never heard of it; none where the title says it."""
    of_pairs: Callable[[RunValues, NDArray[np.int64], NDArray[np.int64]], tuple[Values, Values]] | None = None
    """Instead of `read`, where a run's number depends on the run that it is paired with."""


class RunValues:
    """A sweep's runs, by row of `grid.runs`; histories are read for the runs that are asked for."""

    def __init__(self, frame: Source, grid: Grid) -> None:
        self.frame, self.grid = frame, grid
        self.run_ids = grid.runs["run_id"].to_numpy(str)
        self.layers = max(1, grid.hidden_layers)
        """Of which readings are asked for; a network without any has none to give."""
        self.known: dict[str, tuple[Values, NDArray[np.bool_]]] = {}
        """Of each quantity the values read so far, and of which runs; the last one stands for runs never planned."""

    def values(self, quantity: str, rows: NDArray[np.int64]) -> Values:
        """In the shape of `rows`; NaN at -1."""
        n = len(self.run_ids) + 1
        out, known = self.known.setdefault(quantity, (np.full(n, np.nan), np.arange(n) == n - 1))
        wanted = np.unique(rows)
        wanted = wanted[~known[wanted]]
        if len(wanted):
            read = quantities(self.grid.task)[quantity].read
            assert read is not None, f"{quantity} is of pairs"
            out[wanted], known[wanted] = read(self, wanted), True
        return out[rows]

    def summary(self, name: str, rows: NDArray[np.int64]) -> Values:
        return np.asarray(column(self.grid.runs, name).to_numpy(float)[rows])

    def reached(self, rows: NDArray[np.int64]) -> Values:
        """Whether each run got to τ, 1 or 0, in the shape of `rows`; NaN at -1 and where it is not known."""
        return np.append(self.grid.reached, np.nan)[rows]

    def at_tau(self, split: str, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each run ended with a score of τ or more on a split, in the shape of `rows`."""
        runs, score = self.grid.runs, self.grid.task.score
        tau = column(runs, "train.tau").fillna(self.grid.task.tau).to_numpy()
        ended = self.grid.finished & (column(runs, f"final_{split}_{score}").to_numpy() >= tau)
        return np.append(ended, False)[rows]

    def course(self, name: str, rows: NDArray[np.int64]) -> Values:
        """[runs, evaluations]: all values of a metric in their order; NaN after a run's last."""
        ids = self.run_ids[rows]
        long = self.frame.history([name], [run_id for run_id in ids if run_id]).sort_values("step", kind="stable")
        long["place"] = long.groupby("run_id", sort=False).cumcount()
        wide = long.pivot(index="run_id", columns="place", values="value")
        return np.asarray(wide.reindex(index=ids).to_numpy(float))

    def history(self, names: list[str], rows: NDArray[np.int64], reading: str) -> Values:
        """[runs, names]: the last, min, max or mean finite value of each metric, or the first, which is that of step 0;
        NaN where there is none."""
        ids = self.run_ids[rows]
        long = self.frame.history(names, [run_id for run_id in ids if run_id])
        long = long[np.isfinite(long["value"])].sort_values("step", kind="stable")
        if reading == "first":
            long = long[long["step"] == 0]  # before training; what has no number there has none later
        grouped = long.groupby(["run_id", "metric"], sort=False)["value"]
        wide: pd.DataFrame = getattr(grouped, reading)().unstack("metric")
        return np.asarray(wide.reindex(index=ids, columns=names).to_numpy(float))

    def layer_names(self, metric: str, first: int = 1, last: int | None = None) -> list[str]:
        return [f"layer/{l}/{metric}" for l in range(first, (last or self.layers) + 1)]


def ranked(name: str) -> Callable[[RunValues, NDArray[np.int64]], Values]:
    """A metric that can rank, scored as the ranking does: divergence at chance, or with the whole budget."""
    return lambda of, rows: of.grid.scores(metrics(of.grid.task)[name], rows)


def loss_rise(of: RunValues, rows: NDArray[np.int64]) -> Values:
    """By how much of its minimum the validation loss has risen at the end; of runs that did not diverge."""
    least, last = (of.history(["val/loss"], rows, reading)[:, 0] for reading in ("min", "last"))
    usable = of.grid.finished[rows] & (least > 0)
    return np.asarray(np.divide(last, least, out=np.full(len(rows), np.nan), where=usable) - 1)


def gaps_at_equal_fit(of: RunValues, more: NDArray[np.int64], less: NDArray[np.int64]) -> tuple[Values, Values]:
    """Training less validation score of both runs of a pair, each where it first gets to the highest training score
    that both reach, interpolated between evaluations; in the shape of the rows."""
    score, floor = of.grid.task.score, of.grid.task.chance(np.nan) if of.grid.task.capped else -np.inf
    rows = np.unique(np.concatenate([more.ravel(), less.ravel()]))
    rows = rows[rows >= 0]
    train_RE, val_RE = (np.maximum(of.course(f"{split}/{score}", rows), floor) for split in ("train", "val"))
    train_RE[~of.grid.finished[rows]] = np.nan
    place = np.append(np.full(len(of.run_ids), len(rows)), len(rows))
    place[rows] = np.arange(len(rows))
    train_RE, val_RE = (np.vstack([x, np.full((1, x.shape[1]), np.nan)]) for x in (train_RE, val_RE))
    best_R = np.where(np.isnan(train_RE), -np.inf, train_RE).max(axis=1, initial=-np.inf)
    level = np.minimum(best_R[place[more]], best_R[place[less]])
    first, second = (gap_at(level, train_RE[place[side]], val_RE[place[side]]) for side in (more, less))
    return first, second


def gap_at(level: Values, train: Values, val: Values) -> Values:
    """Training less validation score where the training score first gets to a level. The last axis of both is that of
    evaluations."""
    if not train.shape[-1]:
        return np.full(level.shape, np.nan)
    there = np.nan_to_num(train, nan=-np.inf) >= level[..., None]
    at = there.argmax(axis=-1)[..., None]
    end, before = (np.stack([np.take_along_axis(x, i, axis=-1)[..., 0] for x in (train, val)]) for i in (at, at - 1))
    before = np.where(at[..., 0] > 0, before, end)
    step = end[0] - before[0]
    share = np.divide(level - before[0], step, out=np.ones(level.shape), where=step > 0)
    found = level - (before[1] + share * (end[1] - before[1]))
    return np.where(there.any(axis=-1) & np.isfinite(level), found, np.nan)


def backward_decades(of: RunValues, rows: NDArray[np.int64]) -> Values:
    """log10 of the factor by which the gradient norm changes from a hidden layer to the one below, at the start: half
    the logarithm of `growth`, which is of squared norms."""
    start = of.history(["growth"], rows, "first")[:, 0]
    return np.asarray(np.log10(start, out=np.full(len(rows), np.nan), where=start > 0) / 2)


def gradient_kept(of: RunValues, rows: NDArray[np.int64]) -> Values:
    """Minus its size: a gradient that explodes is as far from being kept as one that vanishes."""
    return np.asarray(-np.abs(backward_decades(of, rows)))


def spread_kept(of: RunValues, rows: NDArray[np.int64]) -> Values:
    """-|log10(std_L / std_1)| / (L - 1) of the hidden layers' outputs at the start: decades that their spread moves
    from a layer to the next, up or down."""
    std = of.history(of.layer_names("std"), rows, "first")
    depth = np.isfinite(std).sum(axis=1)
    last = std[np.arange(len(rows)), np.maximum(depth - 1, 0)]
    usable = (depth > 1) & (std[:, 0] > 0) & (last > 0)
    ratio = np.divide(last, std[:, 0], out=np.full(len(rows), np.nan), where=usable)
    return np.asarray(-np.abs(np.log10(ratio)) / np.maximum(depth - 1, 1))


def blown_up(of: RunValues, rows: NDArray[np.int64]) -> Values:
    """1 where a run diverged, or its validation loss once stood above RISE times its start, or a whole layer of ReLUs
    that lived at the start was dead at the end; else 0."""
    loss = [of.history(["val/loss"], rows, reading)[:, 0] for reading in ("first", "max")]
    dead = [of.history(of.layer_names("dead"), rows, reading) for reading in ("first", "last")]
    died = ((dead[1] >= 1) & (dead[0] < 1)).any(axis=1)
    lost = of.grid.diverged[rows] | (loss[1] > RISE * loss[0]) | died
    known = of.grid.diverged[rows] | (of.grid.finished[rows] & np.isfinite(loss[0]))
    return np.where(known, lost.astype(float), np.nan)


def trains(of: RunValues, rows: NDArray[np.int64]) -> Values:
    """1 for a run that ended at τ or above, else 0; NaN where it has no result."""
    known = of.grid.diverged[rows] | of.grid.finished[rows]
    return np.where(known, of.at_tau("val", rows).astype(float), np.nan)


def survives(of: RunValues, rows: NDArray[np.int64]) -> Values:
    return 1 - blown_up(of, rows)


def layer_mean(values: Values) -> Values:
    """Mean over the layers that a network has."""
    there = np.isfinite(values)
    total = np.where(there, values, 0).sum(axis=1)
    return np.asarray(np.divide(total, there.sum(axis=1), out=np.full(len(values), np.nan), where=there.any(axis=1)))


def drift(of: RunValues, rows: NDArray[np.int64]) -> Values:
    """Ioffe & Szegedy's view: how far the 15/50/85 percentiles of activation inputs move between evaluations, over
    their spread; mean over hidden layers."""
    return layer_mean(np.column_stack([of.summary(f"drift_{l}", rows) for l in range(1, of.layers + 1)]))


def covariate_shift(of: RunValues, rows: NDArray[np.int64]) -> Values:
    """Santurkar's view: how much a layer's gradient changes when the layers below it take their step, over its size;
    mean over layers and evaluations."""
    return layer_mean(of.history(of.layer_names("ics_ratio", 2, of.layers + 1), rows, "mean"))


LIGHT, FULL = "probes=light or full", "probes=full"
LAYERS = f"{LIGHT}, or a second hidden layer"

AUC = "The mean of validation {score} over training: high where a network learns early."
FLOOR = " Below 0 counts as 0."
"""Of what is made of scores that have no lower bound."""
GAP = (
    "{score} on the training data less that on the validation data, both runs of a pair read where they have fitted the"
    " training data equally well: how much a network fits what does not carry over."
)
RISEN = "By how much of its least value the validation loss has risen by the end of training."
BACKWARD = (
    "What happens to the size of the gradient on its way back: × 0.10 shrinks it to 0.10 of its size in each layer."
)
KEPT = (
    "How much of the gradient's size is kept from a layer to the one below: × 1.0 keeps it, and one that grows fivefold"
    " counts as one that shrinks to × 0.20."
)
SPREAD_KEPT = (
    "How much of the activations' standard deviation is kept from a layer to the next: × 1.0 keeps it, and one that"
    " grows fivefold counts as one that shrinks to × 0.20."
)
BLOWN_UP = "A run blew up where it diverged, its validation loss doubled, or a whole layer of ReLUs died."
REACH = (
    "The largest of the swept learning rates of which it holds, geometric mean over seeds. It may hold beyond the"
    " largest of all; where it holds of none, that counts as one step below the smallest."
)
DRIFT = (
    "How far the inputs of a hidden unit's activation move from one evaluation to the next, as a share of their spread:"
    " the covariate shift that Ioffe and Szegedy meant."
)
ICS = (
    "How much a layer's gradient changes when the layers below it take their step, as a share of its size: the"
    " covariate shift as Santurkar et al. measured it."
)


OF_ANY_TASK = {
    "backward": Quantity("gradient from each layer to the one below", FACTOR, backward_decades, LAYERS, BACKWARD),
    "kept": Quantity("gradient kept from each layer to the one below", FACTOR, gradient_kept, LAYERS, KEPT),
    "spread_kept": Quantity("spread kept from each layer to the next", FACTOR, spread_kept, LAYERS, SPREAD_KEPT),
    "blown_up": Quantity("runs that blow up", SHARE, blown_up, LIGHT, BLOWN_UP),
    "trains": Quantity("largest lr that ends at τ or above", RATE, trains, meaning=REACH),
    "survives": Quantity("largest lr without blow-up", RATE, survives, LIGHT, f"{REACH} {BLOWN_UP}"),
    "drift": Quantity(METRICS["drift_{l}"].title, RATIO, drift, FULL, DRIFT),
    "ics": Quantity(METRICS["layer/{l}/ics_ratio"].title, RATIO, covariate_shift, FULL, ICS),
    "rise": Quantity("rise of validation loss over its minimum", RISES, loss_rise, meaning=RISEN),
}


@cache
def quantities(task: Task) -> dict[str, Quantity]:
    """What claims on the runs of a task are about."""
    known, score, title = metrics(task), task.score, task.title
    final, test, steps = f"final_val_{score}", f"final_test_{score}", "steps_to_tau"
    floor = FLOOR if task.capped else ""
    auc, difference = AUC.format(score=title) + floor, GAP.format(score=capital(title)) + floor
    return {
        "final": Quantity(known[final].title, SCORES[score], ranked(final)),
        "test": Quantity(f"test {title}", SCORES[score], ranked(test)),
        "auc": Quantity(known["auc"].title, SCORES[score], ranked("auc"), meaning=auc),
        "steps": Quantity(known[steps].title, STEPS, ranked(steps)),
        "gap": Quantity(
            f"train − validation {title} at equal training {title}",
            GAPS[score],
            None,
            meaning=difference,
            of_pairs=gaps_at_equal_fit,
        ),
        **OF_ANY_TASK,
    }
