"""A simulated sweep with a known truth, in the shape that tracking hands to the report."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bnsweep.records import HISTOGRAM_EDGES
from bnsweep.report import write_report
from bnsweep.report.pages.write import Report
from bnsweep.store.sweep_data import SweepInfo

EPOCHS = 20
FIXED: dict[str, Any] = {
    "data": "digits",
    "data.validation": 287,
    "model.hidden": "32-32",
    "model.dropout": 0.0,
    "optimizer": "sgd",
    "train.epochs": EPOCHS,
    "train.batch_size": 64,
    "lr.schedule": "constant",
}
DEFAULT = {
    "activation": ["sigmoid", "relu"],
    "init": ["normal", "xavier", "he"],
    "lr.value": [0.01, 0.1, 1.0],
    "bn": ["none", "before", "after"],
}
BUDGET = EPOCHS * math.ceil((1437 - 287) / 64)

Truth = Callable[[Mapping[str, Any]], float]


@dataclass
class Simulated:
    info: SweepInfo
    runs: pd.DataFrame
    hidden: int = 2

    def history(self, metrics: Sequence[str], run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        runs = self.runs if run_ids is None else self.runs[self.runs["run_id"].isin(list(run_ids))]
        runs = runs[runs["status"].isin(["finished", "diverged", "stopped"])]
        epoch = np.arange(EPOCHS + 1)
        steps = runs["stopped_step"].fillna(BUDGET) if "stopped_step" in runs else BUDGET
        keep_RE = epoch <= np.where(runs["status"] == "diverged", 3, steps / 18)[:, None]
        score = next(name for name in runs if name in ("final_val_accuracy", "final_val_r2"))
        final = np.nan_to_num(runs[score].to_numpy(float), nan=0.1)
        parts = []
        for metric in metrics:
            layer = int(metric.split("/")[1]) if metric.startswith("layer/") else 0
            if layer > self.hidden + 1:
                continue
            curve_RE = 0.1 + np.outer(final - 0.1, 1 - np.exp(-epoch / 3))
            value_RE = np.full(keep_RE.shape, 10.0 ** -(self.hidden + 1 - layer)) if layer else curve_RE
            run, at = np.nonzero(keep_RE)
            columns = {"run_id": runs["run_id"].to_numpy()[run], "step": at * 18, "epoch": at, "metric": metric}
            parts.append(pd.DataFrame(columns | {"value": value_RE[keep_RE]}))
        names = ["run_id", "step", "epoch", "metric", "value"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)

    def histograms(self, run_ids: Sequence[str]) -> dict[str, dict[str, list[list[int]]]]:
        bins = np.arange(len(HISTOGRAM_EDGES) - 1)
        layers = [
            (1000 * np.exp(-0.5 * ((bins - 25 - 5 * (i % 2)) / (6 - i % 2)) ** 2)).astype(int).tolist()
            for i in range(self.hidden)
        ]
        return {run: {"start": layers, "end": layers} for run in run_ids}


def simulate(
    truth: Truth = lambda run: 0.8,
    factors: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 10,
    noise: float = 0.005,
    bundle_noise: float = 0.02,
    diverges: Callable[[Mapping[str, Any]], bool] = lambda run: False,
    rng: int = 0,
) -> Simulated:
    """A full factorial; a run's final validation accuracy is truth + its bundle's luck (shared by arms) + its own."""
    factors = DEFAULT if factors is None else factors
    random = np.random.default_rng(rng)
    luck = bundle_noise * random.standard_normal(seeds)
    rows = []
    for values in itertools.product(*factors.values(), range(seeds)):
        run = FIXED | dict(zip([*factors, "seed"], values, strict=True))
        run["data.seed"] = run["seed"]
        if run.get("init") == "normal" and "init.std" not in run:
            run["init.std"] = 0.01
        value = truth(run) + luck[run["seed"]] + noise * random.standard_normal()
        facts = {"classes": 10.0, "total_steps": float(BUDGET)}
        rows.append(run | facts | outcome(min(value, 1.0), diverges(run)))
    runs = pd.DataFrame(rows)
    runs.insert(0, "run_id", [f"r{i}" for i in range(len(runs))])
    return Simulated(SweepInfo("s1", "python -m bnsweep -m bn=none,before,after"), runs)


def outcome(value: float, diverged: bool) -> dict[str, Any]:
    nan = math.nan
    if diverged:
        metrics = dict.fromkeys(["final_val_accuracy", "final_test_accuracy", "gap_accuracy", "auc"], nan)
        steps = {"steps_to_tau": float(BUDGET), "tau_reached": 0.0}
        return {"status": "diverged", "reason": "loss not finite at step 54"} | metrics | steps
    reached = value >= 0.85
    metrics = {"final_val_accuracy": value, "final_test_accuracy": value - 0.01, "auc": value - 0.1}
    metrics["gap_accuracy"] = 0.03
    steps = {"steps_to_tau": 200.0 if reached else float(BUDGET), "tau_reached": float(reached)}
    return {"status": "finished", "reason": ""} | metrics | steps


def lecture_truth(run: Mapping[str, Any]) -> float:
    """BN before is best, ReLU beats sigmoid, and sigmoid without BN does not learn at a small learning rate."""
    score = 0.9 + {"none": 0, "after": 0.02, "before": 0.04}[run["bn"]] + 0.02 * (run["activation"] == "relu")
    if run["bn"] == "none" and run["activation"] == "sigmoid" and run["lr.value"] < 0.1:
        return 0.3
    return score - 0.03 * abs(math.log10(run["lr.value"]) + 1)


FLAT = "stopped at step {step} of 360: no better validation accuracy since step 18"
BEHIND = "stopped at rung 1 (step {step} of 360): arm 7 of 12 by mean validation accuracy"
OF_WHOLE_RUNS = ["steps_to_tau", "tau_reached", "auc", "gap_accuracy"]


def stop(
    made: Simulated, chosen: pd.Series[bool], score: float | None = None, step: int = 90, why: str = BEHIND
) -> Any:
    """The same sweep, in which a strategy stopped the chosen runs at a step, where they had a score, or the one that
    they would have ended with."""
    runs = made.runs.copy()
    if "stopped_step" not in runs:
        runs["stopped_step"] = math.nan
    runs.loc[chosen, ["status", "reason"]] = ["stopped", why.format(step=step)]
    runs.loc[chosen, "stopped_step"] = float(step)
    runs.loc[chosen, OF_WHOLE_RUNS] = math.nan
    if score is not None:
        runs.loc[chosen, ["final_val_accuracy", "final_test_accuracy"]] = score
    return Simulated(made.info, runs, made.hidden)


@pytest.fixture(name="stop", scope="session")
def stop_fixture() -> Callable[..., Simulated]:
    return stop


def as_regression(made: Simulated) -> Simulated:
    """The same sweep, whose scores are R²."""
    runs = made.runs.rename(columns=lambda name: name.replace("accuracy", "r2"))
    return Simulated(made.info, runs.assign(**{"data.task": "regression", "train.tau": 0.5, "classes": 0.0}))


@pytest.fixture(name="regression", scope="session")
def regression_fixture() -> Callable[[Simulated], Simulated]:
    return as_regression


@pytest.fixture(name="simulate", scope="session")
def simulate_fixture() -> Callable[..., Simulated]:
    return simulate


@pytest.fixture(scope="session")
def lecture() -> Simulated:
    """540 runs; plain ReLU nets with a narrow init diverge at the largest learning rate."""
    return simulate(
        lecture_truth,
        diverges=lambda run: run["bn"] == "none" and run["activation"] == "relu" and run["lr.value"] == 1.0,
    )


@pytest.fixture(scope="session")
def lecture_report(lecture: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of it, in a folder that is only to be read."""
    return write_report(lecture, tmp_path_factory.mktemp("lecture"))
