"""What was run, and how to run it again."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from bnsweep.catalogue.metrics import Metric
from bnsweep.report.frame.formats import few
from bnsweep.report.frame.grid import Grid, levels, value_text
from bnsweep.report.frame.metrics import DEFAULT_METRIC


def dataset_text(data: Any) -> str:
    if not isinstance(data, Mapping):
        return str(data)
    return ", ".join([str(data.get("name", "")), *(f"{k} {v}" for k, v in data.items() if k != "name")])


def listed(info: Mapping[str, Any], key: str) -> list[Any]:
    value = info.get(key) or []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def provenance(info: Mapping[str, Any], grid: Grid) -> list[tuple[str, str]]:
    """What was run, as label and text; what is not known is left out."""
    changed = " with uncommitted changes" if info.get("dirty") else ""
    commit = f"{info['commit']}{changed}" if info.get("commit") else ""
    data = "; ".join(dataset_text(d) for d in listed(info, "data"))
    versions = ", ".join(f"{k} {v}" for k, v in (info.get("versions") or {}).items() if v)
    seconds = {k: v for k, v in (info.get("seconds") or {}).items() if isinstance(v, (int, float)) and math.isfinite(v)}
    seeds = f"{len(grid.bundles)}: {few(grid.bundles)}"
    swept = "; ".join(f"{f}: {few([value_text(v) for v in levels(grid.runs, f)])}" for f in grid.swept)
    rows = [
        ("Sweep", info.get("sweep", info.get("sweep_id"))),
        ("Started", info.get("created")),
        ("Commit", commit),
        ("Data", data),
        ("Hardware", info.get("hardware")),
        ("Trained on", ", ".join(map(str, listed(info, "devices")))),
        ("Versions", versions),
        ("Swept", swept),
        ("Held fixed", ", ".join(f"{k}={value_text(v)}" for k, v in grid.fixed.items())),
        ("Seeds", seeds),
        ("MLflow", " · ".join(str(info[k]) for k in ("uri", "tracking_uri", "experiment") if info.get(k))),
        ("Time", ", ".join(f"{k} {v:.1f} s" for k, v in seconds.items())),
    ]
    return [(label, str(text)) for label, text in rows if text]


def commands(info: Mapping[str, Any], metric: Metric) -> list[tuple[str, str]]:
    """What to type to get the same again, as purpose and command; what is not known is left out."""
    uri, sweep = str(info.get("uri", "")), info.get("sweep", info.get("sweep_id"))
    settings = [f"sweep={sweep}"] if sweep else []
    settings += [f"metric={metric.name}"] if metric.name != DEFAULT_METRIC else []
    settings += [f"tracking.uri={uri}"] if uri.startswith("http") else []
    experiment = info.get("experiment", "bnsweep")
    settings += [f"tracking.experiment={experiment}"] if experiment != "bnsweep" else []
    rows = [
        ("The same code", f"git checkout {info['commit']}" if info.get("commit") else ""),
        ("The same runs", str(info.get("command") or "")),
        ("This report again", shlex.join(["python", "-m", "bnsweep.report", *settings])),
    ]
    return [(purpose, command) for purpose, command in rows if command]
