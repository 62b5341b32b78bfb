"""The config's tree: its groups and keys, from a tree of plain values to a RunConfig, and what Hydra is told of it."""

from __future__ import annotations

import difflib
from dataclasses import fields
from functools import cache
from typing import Any

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import (
    ActivationConfig,
    BnConfig,
    DataConfig,
    ExperimentConfig,
    InitConfig,
    LrConfig,
    ModelConfig,
    OptimizerConfig,
    ProbesConfig,
    RunConfig,
    SweepConfig,
    TrackingConfig,
    TrainConfig,
)

GROUPS: dict[str, type] = {
    "activation": ActivationConfig,
    "init": InitConfig,
    "lr": LrConfig,
    "bn": BnConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "optimizer": OptimizerConfig,
    "train": TrainConfig,
    "tracking": TrackingConfig,
    "sweep": SweepConfig,
    "probes": ProbesConfig,
    "experiment": ExperimentConfig,
}


@cache
def known_keys() -> tuple[str, ...]:
    """Every dotted key of the schema, for error texts."""
    inner = [f"{group}.{f.name}" for group, node in GROUPS.items() for f in fields(node)]
    return (*inner, *(f.name for f in fields(RunConfig) if f.name not in GROUPS))


def from_tree(tree: dict[str, Any]) -> RunConfig:
    """A RunConfig of a composed config as plain dicts; unknown keys are an error that lists what is near."""
    for key, value in tree.items():
        unknown = [f"{key}.{k}" for k in value if f"{key}.{k}" not in known_keys()] if key in GROUPS else []
        if key not in GROUPS and key != "seed":
            unknown = [key]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known_keys(), n=3) or [*GROUPS, "seed"]
            raise ConfigError(f"{unknown[0]}: no such setting (did you mean {', '.join(near)}?)")
    parts = {key: GROUPS[key](**value) if key in GROUPS else value for key, value in tree.items()}
    return RunConfig(**parts)


def register_schema() -> None:
    """Tell Hydra the types of a run; a group of its own keeps the base node out of every list of choices."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(group="schema", name="run", node=RunConfig, package="_global_")
