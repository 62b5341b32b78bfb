"""From a stack's readings to each run's record: history, steps-to-tau, area under the curve, best and final numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from bnsweep.config.run import RunConfig
from bnsweep.records import DIVERGED, FINISHED, STOPPED, RunRecord

OF_WHOLE_RUNS = {"steps_to_tau", "tau_reached", "total_steps", "auc"}
"""Numbers that say nothing of a run that was stopped."""


@dataclass
class Evaluation:
    """One reading of all members of a stack, on the host."""

    epoch: float
    step: int
    values: dict[str, list[float]]
    """Metric name -> K numbers; NaN for a member that has diverged."""
    diverged: list[int]
    """Step at which each member diverged, -1 for none."""
    counts: list[list[list[int]]]
    """Hidden layer -> member -> histogram counts; empty where not asked for."""

    def of(self, members: Sequence[int]) -> Evaluation:
        """The reading of some members, in this order."""
        return Evaluation(
            self.epoch,
            self.step,
            {name: [values[k] for k in members] for name, values in self.values.items()},
            [self.diverged[k] for k in members],
            [[layer[k] for k in members] for layer in self.counts],
        )


def side_by_side(parts: Sequence[Evaluation]) -> Evaluation:
    """Readings of one moment as that of all their members."""
    names = dict.fromkeys(name for part in parts for name in part.values)
    return Evaluation(
        parts[0].epoch,
        parts[0].step,
        {n: [v for p in parts for v in p.values.get(n, [math.nan] * len(p.diverged))] for n in names},
        [step for part in parts for step in part.diverged],
        [[*itertools.chain.from_iterable(layers)] for layers in zip(*(part.counts for part in parts), strict=True)],
    )


def record_of(config: RunConfig, evaluations: Sequence[Evaluation], k: int, stopped: str = "") -> RunRecord:
    """The record of member k, all but what only the trainer knows (time, device, data). `stopped`: why it was, after
    the last of the evaluations."""
    names = dict.fromkeys(name for e in evaluations for name, values in e.values.items() if not math.isnan(values[k]))
    history = {name: [e.values[name][k] if name in e.values else math.nan for e in evaluations] for name in names}
    history |= {"step": [float(e.step) for e in evaluations], "epoch": [e.epoch for e in evaluations]}
    at = evaluations[-1].diverged[k]
    record = RunRecord(FINISHED, history=history)
    if at >= 0:
        record.status, record.diverged_step = DIVERGED, at
        record.reason = f"loss not finite at step {at}"
    elif stopped:
        record.status, record.stopped_step, record.reason = STOPPED, evaluations[-1].step, stopped
    for label, e in (("start", evaluations[0]), ("end", evaluations[-1])):
        if e.counts and not (0 <= e.diverged[k] <= e.step):
            record.histograms[label] = [layer[k] for layer in e.counts]
    record.summary = summarise(history, config)
    if record.status == STOPPED:
        whole = [name for name in record.summary if name in OF_WHOLE_RUNS or name.startswith("drift_")]
        record.summary = {name: value for name, value in record.summary.items() if name not in whole}
    return record


def summarise(history: dict[str, list[float]], config: RunConfig) -> dict[str, float]:
    """Single numbers of a run; NaN where divergence leaves none.

    best_*: the evaluation of highest validation score (the earliest of equals), never chosen on test.
    """
    task, nothing = config.task, [math.nan] * len(history["step"])
    curve = history.get(f"val/{task.score}", nothing)
    seen = [i for i, a in enumerate(curve) if not math.isnan(a)]
    best = max(seen, key=lambda i: (curve[i], -i)) if seen else None
    out: dict[str, float] = {}
    for split, kind in itertools.product(("train", "val", "test"), ("loss", task.score)):
        values = history.get(f"{split}/{kind}", nothing)
        out[f"final_{split}_{kind}"] = values[-1]
        out[f"best_{split}_{kind}"] = values[best] if best is not None else math.nan
    out["best_step"] = history["step"][best] if best is not None else math.nan
    train, test = (task.counted(out[f"final_{split}_{task.score}"]) for split in ("train", "test"))
    out[f"gap_{task.score}"] = train - test
    out["gap_loss"] = out["final_test_loss"] - out["final_train_loss"]
    reached = steps_to(curve, history["step"], config.tau)
    out["steps_to_tau"] = float(config.total_steps) if reached is None else reached
    out["tau_reached"] = float(reached is not None)
    out["total_steps"] = float(config.total_steps)
    out["auc"] = time_mean([task.counted(value) for value in curve], history["step"])
    for name in [name for name in history if name.endswith("/spread")]:
        _, layer, _ = name.split("/")
        out[f"drift_{layer}"] = drift(history.get(f"layer/{layer}/shift", nothing), history[name])
    return out


def drift(shifts: Sequence[float], spreads: Sequence[float]) -> float:
    """Mean shift between readings of a layer's percentiles over their mean spread: how far, in widths of itself, the
    distribution of a unit's activation input moves from one reading to the next (Ioffe & Szegedy 2015, section 4.1,
    as a number). NaN where nothing moved in time or the run diverged."""
    moved, widths = ([v for v in values if not math.isnan(v)] for values in (shifts, spreads))
    if not moved or math.isnan(spreads[-1]) or sum(widths) == 0:
        return math.nan
    return (sum(moved) / len(moved)) / (sum(widths) / len(widths))


def steps_to(curve: Sequence[float], steps: Sequence[float], tau: float) -> float | None:
    """First of two consecutive evaluations at or above tau; None when there is none (censored at the budget)."""
    for i in range(len(curve) - 1):
        if curve[i] >= tau and curve[i + 1] >= tau:
            return steps[i]
    return None


def time_mean(curve: Sequence[float], steps: Sequence[float]) -> float:
    """Mean of a curve over training time, by trapezoids; NaN when a reading is missing or no time has passed."""
    if steps[-1] == steps[0]:
        return math.nan
    pairs = zip(curve[:-1], curve[1:], steps[:-1], steps[1:], strict=True)
    area = sum((a + b) / 2 * (t - s) for a, b, s, t in pairs)
    return area / (steps[-1] - steps[0])
