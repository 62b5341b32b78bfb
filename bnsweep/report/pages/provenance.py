"""What was run, and how to run it again."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from bnsweep.catalogue.datasets import DATASETS
from bnsweep.catalogue.metrics import Metric
from bnsweep.report.frame.formats import few
from bnsweep.report.frame.grid import Grid, levels, value_text
from bnsweep.report.frame.metrics import default_metric
from bnsweep.store.sweep_data import SweepInfo


def dataset_text(data: Mapping[str, Any]) -> str:
    """A dataset's name and what is known of it."""
    known = {k: v for k, v in data.items() if k != "name" and (k, v) != ("classes", 0)}  # a regression has none
    return ", ".join([str(data["name"]), *(f"{k} {v}" for k, v in known.items())])


ABOUT = {
    "model.family": "{}",
    "model.target": "{}",
    "model.hidden": "hidden layers {}",
    "model.channels": "channels {}",
    "optimizer": "{}",
    "train.epochs": "{} epochs",
}
"""What a reader asks first of a sweep, where all runs share it."""


def about(info: SweepInfo, grid: Grid) -> str:
    """What was trained on what, in a line: mnist · hidden layers 32-32 · sgd · 10 epochs."""
    shared = [text.format(value_text(grid.fixed[f])) for f, text in ABOUT.items() if f in grid.fixed]
    data = few(list(dict.fromkeys(map(data_name, info.data))), 3) or value_text(grid.fixed.get("data", ""))
    return " · ".join([data, *shared] if data else shared)


def data_name(data: Mapping[str, Any]) -> str:
    """With its file or folder where it is one's own."""
    name, source = str(data["name"]), PurePath(str(data.get("source", ""))).name
    own = name in DATASETS and DATASETS[name].facts is None
    return f"{name} {source}" if own and source else name


def provenance(info: SweepInfo, grid: Grid) -> list[tuple[str, str]]:
    """What was run, as label and text; what is not known is left out."""
    changed = " with uncommitted changes" if info.dirty else ""
    versions = ", ".join(f"{k} {v}" for k, v in info.versions.items() if v)
    seeds = f"{len(grid.bundles)}: {few(grid.bundles)}"
    swept = "; ".join(f"{f}: {few([value_text(v) for v in levels(grid.runs, f)])}" for f in grid.swept)
    rows = [
        ("Sweep", info.sweep),
        ("Started", info.created),
        ("Commit", f"{info.commit}{changed}" if info.commit else ""),
        ("Data", "; ".join(map(dataset_text, info.data))),
        ("Hardware", info.hardware),
        ("Trained on", trained_on(info)),
        ("Versions", versions),
        ("Searched by Optuna" if grid.searched else "Swept", swept),
        ("Held fixed", ", ".join(f"{k}={value_text(v)}" for k, v in grid.fixed.items())),
        ("Seeds", seeds),
        ("MLflow", " · ".join(filter(None, (info.uri, info.experiment)))),
        ("Time", ", ".join(f"{k} {v:.1f} s" for k, v in info.seconds.items() if math.isfinite(v))),
    ]
    return [(label, text) for label, text in rows if text]


def trained_on(info: SweepInfo) -> str:
    """Devices and machines; several kinds of device are said, as runs that are compared may lie on two of them."""
    text = ", ".join(info.devices)
    if len(info.devices) > 1:
        says = "runs that are compared may be of different ones, which round differently"
        text = f"{len(info.devices)} kinds of device ({says}): {text}"
    return f"{text} (machines: {few([*info.hosts])})" if info.hosts else text


def commands(info: SweepInfo, metric: Metric, links: bool) -> list[tuple[str, str]]:
    """What to type to get the same again, as purpose and command; what is not known is left out."""
    arguments = [f"sweep={info.sweep}"] if info.sweep else []
    arguments += [f"metric={metric.name}"] if metric is not default_metric(metric.task) else []
    arguments += [] if links else ["links=false"]
    arguments += [f"tracking.uri={info.uri}"] if info.uri.startswith("http") else []
    arguments += [f"tracking.experiment={info.experiment}"] if info.experiment not in ("", "bnsweep") else []
    report = ["python", "-m", "bnsweep.report"]
    rows = [
        ("The same code", f"git checkout {info.commit}" if info.commit else ""),
        ("The same runs", info.command),
        ("This report again", shlex.join([*report, *arguments])),
        ("Its figures as files, a column of a paper wide", shlex.join([*report, *arguments, "figures=pdf,svg,png"])),
    ]
    return [(purpose, command) for purpose, command in rows if command]
