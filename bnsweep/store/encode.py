"""What a run becomes in MLflow: name, tags, metrics, dataset, files; and what its tags and params mean."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bnsweep.catalogue.norms import as_typed
from bnsweep.catalogue.own import is_own, title_of
from bnsweep.config.fields import Checked
from bnsweep.config.identity import factor_types, identity, numbers
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.config.secrets import without_secrets
from bnsweep.records import DIVERGED, FAILED, FINISHED, STOPPED, DatasetInfo, RunRecord
from bnsweep.store.backend import RUNNING, UNDER_WAY, KeptRun, NewRun
from bnsweep.store.environment import environment

MISSING = "missing"
MODEL = "model"
"""The folder of an MLflow Model among a run's artifacts."""
TRAINING = ("mlflow.data.context", "training")
"""The tag with which MLflow says what a dataset was used for."""


def run_name(row: Mapping[str, Any]) -> str:
    """What MLflow's pages call a run, of its settings: its arm, learning rate and seed."""
    return f"{arm_name(row)} seed={row['seed']}"


def arm_name(row: Mapping[str, Any]) -> str:
    """Of a run's settings, those that every network has, or that a network of the user's takes."""
    names = [str(row[key]) for key in ("model.target", "activation", "init") if key in row]
    arm = [*(title_of(name) if is_own(name) else name for name in names), f"lr={row['lr.value']:g}"]
    return " ".join([*arm, *([as_typed(row["bn"])] if "bn" in row else [])])


def source_tags() -> dict[str, str]:
    """Where a run comes from; the two `mlflow.source` tags fill columns of MLflow's own table."""
    here = environment()
    tags = {"mlflow.source.name": "bnsweep", "bnsweep.git_commit": here.commit, "bnsweep.git_dirty": str(here.dirty)}
    tags["bnsweep.hardware"] = here.hardware
    if here.commit:
        tags["mlflow.source.git.commit"] = here.commit
    return tags | {f"bnsweep.version.{name}": text for name, text in here.versions.items()}


def run_tags(name: str, record: RunRecord, sweep_id: str) -> dict[str, str]:
    """Every run has all of these, whatever became of it. `name`: its identity."""
    return {
        "bnsweep.kind": "run",
        "bnsweep.sweep_id": sweep_id,
        "bnsweep.view": sweep_id,
        "bnsweep.identity": name,
        "bnsweep.status": record.status,
        "bnsweep.reason": record.reason,
        "bnsweep.device": record.device,
        "bnsweep.stack_size": str(record.stack_size),
        **({"bnsweep.host": record.host} if record.host else {}),
        **source_tags(),
    }


def new_run(
    config: RunConfig,
    record: RunRecord,
    sweep_id: str,
    model: Path | None = None,
    ended: int | None = None,
    started: int | None = None,
) -> NewRun:
    """A run that ended then, in milliseconds, or just now. `model`: its network, beside which an MLflow Model of it may
    lie. `started`: as MLflow has it already; else the run's share of its stack's time before its end."""
    end = milliseconds() if ended is None else ended
    networks = [model, *(path for path in [model.parent / MODEL] if path.is_dir())] if model else []
    flat = numbers(config)
    start = end - round(1000 * record.seconds) if math.isfinite(record.seconds) else end
    tags = run_tags(identity(config, flat), record, sweep_id) | ({"bnsweep.model": model.name} if model else {})
    if networks[1:]:
        tags["mlflow.log-model.history"] = json.dumps([log_model_entry(end)])
    return NewRun(
        run_name(flat),
        "FAILED" if record.status == FAILED else "FINISHED",
        start if started is None else started,
        end,
        tags,
        params_of(flat),
        list(metrics_of(record)),
        record.dataset,
        {"config.yaml": GROUP_TEXTS.of(config), "record.json": record_text(record)},
        networks,
    )


def run_under_way(config: RunConfig, sweep_id: str, stack: int, started: int) -> NewRun:
    """A run of a stack of so many, of which nothing is known yet but what it is to be."""
    flat = numbers(config)
    tags = run_tags(identity(config, flat), RunRecord(UNDER_WAY, stack_size=stack), sweep_id)
    return NewRun(run_name(flat), RUNNING, started, None, tags, params_of(flat))


def params_of(flat: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(typed(key, value)) for key, value in flat.items()}


def log_model_entry(end: int) -> dict[str, Any]:
    """By this MLflow's pages know a folder of artifacts for a model: they say how to load it, and register it. `end`:
    when it was made, in milliseconds."""
    made = datetime.fromtimestamp(end / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return {"artifact_path": MODEL, "utc_time_created": made, "flavors": {"pytorch": {}, "python_function": {}}}


def milliseconds() -> int:
    """Now, since 1970: MLflow's unit of time."""
    return time.time_ns() // 1_000_000


def metrics_of(record: RunRecord) -> Iterator[tuple[str, float, int]]:
    """Name, value, step. Values that are not finite are left out: MLflow's database turns them into 0 and 1.8e308.
    A missing value then is missing in every view; `record.json` has null for it."""
    steps = [int(step) for step in record.history.get("step", ())]
    for name, values in record.history.items():
        if name not in ("step", "epoch"):
            for step, value in zip(steps, values, strict=True):
                if math.isfinite(value):
                    yield name, float(value), step
    single = {**record.summary, "seconds": record.seconds}
    for name, at in (("diverged_step", record.diverged_step), ("stopped_step", record.stopped_step)):
        if at is not None:
            single[name] = at
    for name, value in single.items():
        if math.isfinite(value):
            yield name, float(value), 0


def dataset_fields(info: DatasetInfo) -> tuple[str, str, str]:
    """What MLflow keeps of a dataset beside name and digest: source type, source, profile."""
    profile = {"samples": info.samples, "features": info.features, "classes": info.classes}
    return "local", json.dumps({"uri": info.source}), json.dumps(profile)


def dataset_of(name: str, digest: str, source: str, profile: str | None) -> dict[str, Any]:
    """A dataset as a report names it: what `dataset_fields` gave, taken apart again."""
    return {"name": name, "digest": digest, "source": json.loads(source)["uri"], **json.loads(profile or "{}")}


def record_text(record: RunRecord) -> str:
    """JSON without NaN or Infinity, which other readers of JSON refuse."""
    plain = vars(record) | {
        "history": {name: finite_or_none(values) for name, values in record.history.items()},
        "summary": {name: finite(v) for name, v in record.summary.items()},
        "seconds": finite(record.seconds),
        "dataset": asdict(record.dataset) if record.dataset else None,
    }
    return json.dumps(plain, allow_nan=False)


def finite_or_none(values: list[float]) -> list[float] | list[float | None]:
    return values if all(map(math.isfinite, values)) else [finite(value) for value in values]


def finite(value: float) -> float | None:
    """The value, or None, which JSON writes as null."""
    return value if math.isfinite(value) else None


class GroupTexts:
    """A run's settings as YAML, group by group: runs of a sweep share most groups, and each is written once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[object, str]] = {}
        """Its name and id -> the group, kept so that no other gets this id, and its text."""

    def of(self, config: RunConfig) -> str:
        """A password that the store's URI got from the environment is not among them."""
        return "".join([self._text(f.name, getattr(config, f.name)) for f in fields(config)])

    def _text(self, name: str, group: object) -> str:
        if not isinstance(group, Checked):
            return yaml_text({name: group})
        place = (name, id(group))
        if place not in self._known:
            if len(self._known) >= MOST_GROUPS:
                self._known.clear()
            self._known[place] = group, yaml_text({name: tree_of(group)})
        return self._known[place][1]


MOST_GROUPS = 1000
"""Whose texts are kept at a time."""
GROUP_TEXTS = GroupTexts()


def tree_of(group: Checked) -> dict[str, Any]:
    """A group of settings as it is kept."""
    tree = asdict(group)
    if isinstance(group, TrackingConfig) and group.uri is not None:
        tree["uri"] = without_secrets(group.uri)
    return tree


def yaml_text(tree: dict[str, Any]) -> str:
    """YAML in the order of the tree, by libyaml where it is there, which is much faster."""
    import yaml  # type: ignore[import-untyped]

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(tree, Dumper=dumper, sort_keys=False))


def fill(folder: Path, texts: dict[str, str], files: Collection[Path]) -> None:
    """Writes texts by their file names, and copies of files and folders, into a folder that is made where it is
    wanted."""
    named = texts.items()
    if named or files:
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in named:
        (folder / name).write_text(text, encoding="utf-8")
    for file in files:
        copy_into(folder, file)


def copy_into(folder: Path, file: Path) -> None:
    """Of a file, or of a folder of files, by its own name."""
    if file.is_dir():
        shutil.copytree(file, folder / file.name, dirs_exist_ok=True)  # of an earlier try
    else:
        shutil.copyfile(file, folder / file.name)


def replace_folder(target: Path, files: Collection[Path]) -> None:
    """Makes `target` a folder of copies of `files` and of nothing else. An error on the way leaves it as it was."""
    # Two levels up is the run's folder: MLflow lists only what lies in `artifacts` below it.
    with tempfile.TemporaryDirectory(prefix=".attach-", dir=target.parent.parent) as beside:
        new, old = Path(beside, "new"), Path(beside, "old")
        new.mkdir()
        fill(new, {}, files)
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise


def status_of(run: KeptRun) -> str:
    """The record's status where the run was written to its end, else missing."""
    status = run.tags["bnsweep.status"]
    complete = {"FINISHED": (FINISHED, DIVERGED, STOPPED), "FAILED": (FAILED,)}
    return status if status in complete.get(run.status, ()) else MISSING


def typed(key: str, value: object) -> Any:
    """The value in the factor's type, whether it comes from a config or from a param's text."""
    kind = factor_types().get(key, str)
    return str(value) == "True" if kind is bool else kind(value)
