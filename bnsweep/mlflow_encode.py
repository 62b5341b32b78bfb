"""What a run becomes in MLflow: name, tags, metrics, dataset, files; and what its tags, params and metrics mean."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Collection, Iterator
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep.config import RunConfig
from bnsweep.environment import environment
from bnsweep.identity import NAME_FIELDS, identity
from bnsweep.records import DIVERGED, FAILED, FINISHED, DatasetInfo, RunRecord
from bnsweep.schema import GROUPS

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Run

MISSING = "missing"
SERIES = ("epoch", "lr")
"""Metrics along the training whose names have no slash; every other name without one is a single number."""


def run_name(config: RunConfig) -> str:
    arm = f"{config.activation.name} {config.init.name} lr={config.lr.value:g} bn={config.bn.placement}"
    return f"{arm} seed={config.seed}"


def source_tags() -> dict[str, str]:
    """Where a run comes from; the two `mlflow.source` tags fill columns of MLflow's own table."""
    here = environment()
    tags = {"mlflow.source.name": "bnsweep", "bnsweep.git_commit": here.commit, "bnsweep.git_dirty": str(here.dirty)}
    tags["bnsweep.hardware"] = here.hardware
    if here.commit:
        tags["mlflow.source.git.commit"] = here.commit
    return tags | {f"bnsweep.version.{name}": text for name, text in here.versions.items()}


def run_tags(config: RunConfig, record: RunRecord, sweep_id: str) -> dict[str, str]:
    return {
        "bnsweep.kind": "run",
        "bnsweep.sweep_id": sweep_id,
        "bnsweep.view": sweep_id,
        "bnsweep.identity": identity(config),
        "bnsweep.status": record.status,
        "bnsweep.reason": record.reason,
        "bnsweep.device": record.device,
        "bnsweep.stack_size": str(record.stack_size),
        **source_tags(),
    }


def metrics_of(record: RunRecord, stamp: int) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for name, values in record.history.items():
        if name not in ("step", "epoch"):
            for step, value in zip(record.history["step"], values, strict=True):
                if math.isfinite(value):
                    yield Metric(name, value, stamp, int(step))
    single = {**record.summary, "seconds": record.seconds}
    if record.diverged_step is not None:
        single["diverged_step"] = record.diverged_step
    for name, value in single.items():
        if math.isfinite(value):
            yield Metric(name, value, stamp, 0)


def dataset_input(info: DatasetInfo) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    profile = {"samples": info.samples, "features": info.features, "classes": info.classes}
    source = json.dumps({"uri": info.source})
    dataset = Dataset(info.name, info.digest, "local", source, profile=json.dumps(profile))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def record_text(record: RunRecord) -> str:
    """JSON without NaN or Infinity, which other readers of JSON refuse."""
    plain = vars(record) | {
        "history": {name: [finite(v) for v in values] for name, values in record.history.items()},
        "summary": {name: finite(v) for name, v in record.summary.items()},
        "seconds": finite(record.seconds),
        "dataset": asdict(record.dataset) if record.dataset else None,
    }
    return json.dumps(plain, allow_nan=False)


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def yaml_text(tree: dict[str, Any]) -> str:
    import yaml  # type: ignore[import-untyped]

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(tree, Dumper=dumper, sort_keys=False))


def fill(folder: Path, texts: dict[str, str], files: Collection[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for file in files:
        shutil.copyfile(file, folder / file.name)


def status_of(run: Run) -> str:
    """The record's status once the run was written to its end, else missing."""
    status = str(run.data.tags.get("bnsweep.status", MISSING))
    complete = {"FINISHED": (FINISHED, DIVERGED), "FAILED": (FAILED,)}
    return status if status in complete.get(run.info.status, ()) else MISSING


def summary_of(run: Run) -> dict[str, float]:
    return {key: value for key, value in run.data.metrics.items() if "/" not in key and key not in SERIES}


@cache
def factor_types() -> dict[str, type]:
    """Factor -> type, as config.py declares it."""
    plain: dict[str, type] = {"int": int, "float": float, "bool": bool}
    types: dict[str, type] = {"seed": int}
    for group, node in GROUPS.items():
        for f in fields(node):
            key = group if NAME_FIELDS.get(group) == f.name else f"{group}.{f.name}"
            types[key] = plain.get(str(f.type).removesuffix(" | None"), str)
    return types


def typed(key: str, value: object) -> Any:
    """The value in the factor's type, whether it comes from a config or from a param's text."""
    kind = factor_types().get(key, str)
    return str(value) == "True" if kind is bool else kind(value)
