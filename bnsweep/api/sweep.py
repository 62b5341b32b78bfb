"""`bnsweep.sweep` and `bnsweep.load`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack, cast

from bnsweep.api.arguments import More, check_arguments, check_metric_of, excluded_of, zipped_of
from bnsweep.api.compose import settings_of, wanted
from bnsweep.api.given import Given, given_data
from bnsweep.api.process import load_matplotlib, process_kept
from bnsweep.api.result import Result
from bnsweep.cli.planning import looking_for, planning
from bnsweep.config.checks import ConfigError, check
from bnsweep.config.identity import identity

if TYPE_CHECKING:
    from bnsweep.config.run import RunConfig, TrackingConfig
    from bnsweep.data.dataset import DataKey, Dataset
    from bnsweep.runs.seed_batches import Looking


class Interrupted(KeyboardInterrupt):
    """A sweep that was interrupted: `result` is of the runs that were over by then; None where none was."""

    def __init__(self, says: str, result: Result | None) -> None:
        super().__init__(says)
        self.result = result


SETTINGS = ("model", "optimizer", "train", "probes")


def sweep(
    *,
    activation: Any = None,
    init: Any = None,
    bn: Any = None,
    norm: Any = None,
    lr: Any = None,
    seed: Any = None,
    data: Any = None,
    target: str | None = None,
    epochs: Any = None,
    track: bool = True,
    **more: Unpack[More],
) -> Result:
    """Train every combination of what is given, and say which of it mattered.

        result = bnsweep.sweep(bn=["none", "before"], lr=[0.01, 0.1, 1], seed=range(10), epochs=10)

    A list, range or array is swept over, anything else is fixed, None is the command's default; numbers of `lr` are
    learning rates, and `seed="auto"` adds seeds until the claims of the report are decided. `data`: the name of a
    dataset, a file (.npz, .csv, .tsv, .parquet), a folder of images, arrays or tensors (x, y) or (x_train, y_train,
    x_test, y_test), a DataFrame with `target`, or a torch Dataset. `More` says what else there is. With `track` the
    runs are those of the command `result.command`: in MLflow, and not trained again. Without it, nothing is written.
    Raises ConfigError, a ValueError, before anything is trained; Interrupted, which holds what was over.
    """
    beside = cast(More, {name: value for name, value in more.items() if value is not None})
    check_arguments(track, beside)
    given = given_data(data)
    own = {"activation": activation, "init": init, "bn": bn, "norm": norm, "lr": lr, "seed": seed, **given.settings}
    own |= {name: beside.get(name) for name in SETTINGS} | {"data.target": target, "train.epochs": epochs}
    own |= {f"data.{name}": beside.get(name) for name in ("task", "standardize")}
    with process_kept():
        return swept(own, given, track, beside)


def swept(own: Mapping[str, Any], given: Given, track: bool, more: More) -> Result:
    """The sweep over these settings. Raises ConfigError and Interrupted."""
    overrides, metric = more.get("overrides", {}), more.get("metric")
    twice = [key for key in overrides if own.get(key) is not None]
    check(not twice, "overrides", list(overrides), f"without {', '.join(twice)}, which has an argument of its own here")
    check_metric_of(metric)
    texts = settings_of({key: value for key, value in own.items() if value is not None} | dict(overrides))
    left_out = excluded_of(more), zipped_of(more, texts), more.get("invalid", "refuse")
    found = wanted(texts, *left_out, more.get("max_seeds"))
    check_metric_of(metric, found.runs[0].task)
    for note in found.notes:
        print(note, flush=True)
    configs, datasets = with_data(found.runs, given)
    load_matplotlib()  # before the plan does, in its own way
    looking = looking_for(configs[0].sweep.max_seeds) if found.auto else None
    return (tracked if track else untracked)(configs, datasets, given.command(found.texts), more, looking)


def with_data(runs: Sequence[RunConfig], given: Given) -> tuple[list[RunConfig], dict[DataKey, Dataset]]:
    """The runs, which know the facts of their data, and the data that had to be read for that. Raises ConfigError."""
    from bnsweep.training.known import with_facts

    datasets: dict[DataKey, Dataset] = {}
    if given.in_memory:
        for config in {config.data.key: config for config in runs}.values():
            datasets[config.data.key] = given.dataset(config.data)
    return with_facts(runs, datasets), datasets


def tracked(
    configs: Sequence[RunConfig],
    datasets: dict[DataKey, Dataset],
    command: str,
    more: More,
    looking: Looking | None = None,
) -> Result:
    from bnsweep.runs.sweep import run_sweep

    tracking, metric = tracking_of(more.get("tracking_uri"), more.get("experiment")), more.get("metric")
    own: dict[str, Any] = {"save_models": more.get("keep_models", False), "rerun": more.get("rerun", False)}
    configs = [replace(c, tracking=tracking, sweep=replace(c.sweep, report=None, **own)) for c in configs]
    try:
        said = partial(planning, tracking=tracking, auto=looking is not None) if len(configs) > 1 else None
        how: dict[str, Any] = {"workers": more.get("workers"), "looking": looking, "planning": said}
        run_sweep(configs, command, datasets=datasets, **how)
    except KeyboardInterrupt:
        result = None
        with suppress(ConfigError):
            result = loaded(tracking, configs[0].sweep.id, metric, command, configs)
        raise Interrupted("interrupted; the same call goes on from here", result) from None
    return loaded(tracking, configs[0].sweep.id, metric, command, configs)


def tracking_of(uri: str | None, experiment: str | None) -> TrackingConfig:
    """The store that a command would use, unless another is named."""
    from bnsweep.config.run import TrackingConfig
    from bnsweep.store.address import default_experiment

    return TrackingConfig(uri, default_experiment() if experiment is None else experiment)


def loaded(
    tracking: TrackingConfig, sweep: str, metric: str | None, command: str = "", configs: Sequence[RunConfig] = ()
) -> Result:
    from bnsweep.store.store import Store

    frame = Store.open(tracking, create=False).load(sweep)
    return Result(frame, command or frame.info.command, metric, {identity(config): config for config in configs})


def untracked(
    configs: Sequence[RunConfig],
    datasets: dict[DataKey, Dataset],
    command: str,
    more: More,
    looking: Looking | None = None,
) -> Result:
    from bnsweep.api.training import InMemory
    from bnsweep.data.dataset import load

    for config in configs:
        if config.data.key not in datasets:
            datasets[config.data.key] = load(config.data)
    for note in (note for dataset in datasets.values() for note in dataset.notes):
        print(f"data: {note}", flush=True)
    for line in planning(configs, None, looking is not None) if len(configs) > 1 else ():
        print(line, flush=True)
    training = InMemory(configs, command, looking)

    def result() -> Result:
        by_identity = {identity(config): config for config in training.planned}
        return Result(training.frame(), command, more.get("metric"), by_identity, training.networks)

    try:
        training.train(datasets, more.get("workers"), more.get("keep_models", True))
    except KeyboardInterrupt:
        over = len(training.records)
        says = f"interrupted; {over} of {len(training.planned)} runs are over"
        says += ": `result` of this error holds them" if over else ""
        raise Interrupted(says, result() if over else None) from None
    return result()


def load(
    sweep: str = "latest",
    *,
    metric: str | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
) -> Result:
    """A sweep that was tracked, by its id or `latest`, from the store in this folder or another. Raises ConfigError,
    which is a ValueError, where there is none."""
    check_metric_of(metric)
    with process_kept():
        return loaded(tracking_of(tracking_uri, experiment), sweep, metric)
