"""Synthetic records in the shape of real experiments' runs, and the panels of a figure of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnsweep.config.run import RunConfig
from bnsweep.experiments.selection import Run
from bnsweep.records import DIVERGED, FAILED, FINISHED, HISTOGRAM_EDGES, RunRecord

NAN = math.nan
BINS = len(HISTOGRAM_EDGES) - 1


def synthetic(config: RunConfig) -> Run:
    """Readings of everything a run can measure, at the steps it would be read; light probes leave holes."""
    random, steps = np.random.default_rng(config.seed), config.evaluations
    n, hidden = len(steps), len(config.model.units)
    rise = np.linspace(0.1, 0.9, n)
    history: dict[str, Any] = {"step": steps, "epoch": [step / config.steps_per_epoch for step in steps]}
    for split in ("train", "val", "test", "batch"):
        history |= {f"{split}/accuracy": rise + random.uniform(0, 0.05, n), f"{split}/loss": 2.4 - 2 * rise}
    read = np.array([0.0 if step in config.probed else NAN for step in steps])
    for l in range(1, hidden + 2):
        history[f"layer/{l}/grad_activation"] = 10.0 ** random.uniform(-0.1, 0) * 0.5**l + read
        history[f"layer/{l}/ics"] = random.uniform(0.1, 1, n) + (read if l > 1 else NAN)
        history[f"layer/{l}/ics_cosine"] = random.uniform(-1, 1, n) + (read if l > 1 else NAN)
        history[f"layer/{l}/dropout_ratio"] = 1 - config.model.dropout + read
        for q, level in (("unit_q15", -1), ("unit_q50", 0), ("unit_q85", 1)):
            history[f"layer/{l}/{q}"] = level + random.uniform(0, 0.2, n) + read
    counts = [np.histogram(random.normal(0, 0.4, 500), HISTOGRAM_EDGES)[0].tolist() for _ in range(hidden)]
    plain = {name: [float(value) for value in values] for name, values in history.items()}
    summary = {f"final_{split}_accuracy": plain[f"{split}/accuracy"][-1] for split in ("train", "val", "test")}
    return Run(config, RunRecord(FINISHED, history=plain, histograms={"start": counts}, summary=summary))


def lost(run: Run, step: int = 1) -> Run:
    """The same run, diverged at `step`."""
    after = [at >= step for at in run.record.history["step"]]
    keep = ("step", "epoch")
    history = {
        name: [NAN if gone and name not in keep else v for v, gone in zip(values, after, strict=True)]
        for name, values in run.record.history.items()
    }
    summary = dict.fromkeys(run.record.summary, NAN)
    return Run(run.config, replace(run.record, status=DIVERGED, diverged_step=step, history=history, summary=summary))


def failed(run: Run) -> Run:
    return Run(run.config, RunRecord(FAILED, reason="out of memory"))


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
