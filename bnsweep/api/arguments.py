"""What a call may be given beside the settings that it sweeps over, checked before anything is done."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from bnsweep.config.checks import ConfigError, check, check_choice
from bnsweep.config.sweep import INVALID

NAMED = ("activation", "init", "bn", "norm", "lr", "seed", "data", "target", "epochs", "track")
"""Arguments of `sweep` that its signature names."""

SHORT = {"epochs": "train.epochs", "target": "data.target", "task": "data.task", "standardize": "data.standardize"}
"""Arguments that stand for one setting."""

STORED = ("tracking_uri", "experiment", "rerun")
"""Arguments that are about a store."""


class More(TypedDict, total=False):
    """What `sweep` takes beside."""

    task: str
    """classification or regression."""
    standardize: bool
    """Whether inputs are standardised by the training samples; for tables by default."""
    model: Any
    optimizer: Any
    train: Any
    probes: Any
    """Names of choices, or {"hidden": [64, 64]}: settings of the group."""
    overrides: Mapping[str, Any]
    """Any settings by their keys in a command, as {"train.batch_size": [32, 64]}; of a setting that is a list, a list
    of lists is swept over."""
    exclude: Sequence[Mapping[str, Any]]
    """Combinations to leave out, each by settings and values."""
    zipped: Sequence[Sequence[str]]
    """Settings whose values go together, the first with the first."""
    invalid: str
    """"skip" leaves out combinations that a rule refuses."""
    metric: str | None
    """What ranks; by default the final validation score."""
    tracking_uri: str | None
    experiment: str | None
    """MLflow's, where they are not those of a command in this folder."""
    keep_models: bool
    """Whether each trained network is kept; without `track` they are, in memory."""
    rerun: bool
    """Train again what is in the store."""
    workers: int | None
    """Stacks trained at a time at most."""
    max_seeds: int
    """Of a sweep with seed="auto"; 30 by default."""


def check_arguments(track: object, more: Mapping[str, Any]) -> None:
    """Raises ConfigError for an argument that there is not, or that is not what it must be."""
    known = [*NAMED, *More.__annotations__]
    for name in more:
        near = ", ".join(difflib.get_close_matches(name, known, n=3) or known)
        if name not in known:
            raise ConfigError(f"{name}: must be an argument of sweep() (did you mean {near}?)")
    for name, value in {"track": track, **more}.items():
        if name in ("track", "keep_models", "rerun"):
            check(isinstance(value, bool), name, repr(value), "True or False")
    overrides = more.get("overrides", {})
    for name, says in (("workers", "a number of processes, 1 or more"), ("max_seeds", "a number of seeds, 1 or more")):
        number = more.get(name, 1)
        check(isinstance(number, int) and number is not True and number >= 1, name, repr(number), says)
    ok = isinstance(overrides, Mapping) and all(isinstance(key, str) for key in overrides)
    check(ok, "overrides", overrides, "settings with their values, as in {'train.batch_size': [32, 64]}")
    check_choice("invalid", more.get("invalid", "refuse"), INVALID)
    for name in STORED if not track else ():
        check(name not in more, name, more.get(name), "left out with track=False, which keeps nothing")


def check_metric_of(metric: str | None, task: Any = None) -> None:
    """Raises ConfigError for what cannot rank runs, of the task where that is known."""
    from bnsweep.report.frame.metrics import check_metric, metric_named

    if task is not None:
        metric_named(metric, task)
    elif metric is not None:
        check_metric(metric)


def excluded_of(more: Mapping[str, Any]) -> list[Any]:
    """Entries of `exclude`, one by itself among them, with settings under the names that a command gives them."""
    given = more.get("exclude", ())
    entries = [given] if isinstance(given, Mapping | str) else list(given)
    names = {**SHORT, "lr": "lr.value"}
    return [{names.get(k, k): v for k, v in e.items()} if isinstance(e, Mapping) else e for e in entries]


def zipped_of(more: Mapping[str, Any], texts: Sequence[str]) -> list[Any]:
    """Groups of `zipped`, one by itself among them, in the same way. `texts`: what is swept over."""
    given = more.get("zipped", ())
    groups = [given] if isinstance(given, str) else list(given)
    if groups and all(isinstance(name, str) for name in groups) and not isinstance(given, str):
        groups = [groups]
    names = {**SHORT, **({"lr": "lr.value"} if any(text.startswith("lr.value=") for text in texts) else {})}
    return [[names.get(name, name) for name in g] if isinstance(g, list | tuple) else [str(g)] for g in groups]
