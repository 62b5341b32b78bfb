"""Quick runs that this room's tests share."""

from __future__ import annotations

from dataclasses import replace

import torch

from bnsweep.config.groups import (
    ActivationConfig,
    BnConfig,
    DataConfig,
    LrConfig,
    OptimizerConfig,
    ProbesConfig,
    TrainConfig,
)
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.config.sweep import SweepConfig
from bnsweep.runs.ledger import SweepResult
from bnsweep.runs.sweep import run_sweep

CPU = torch.device("cpu")


def grid(tracking: TrackingConfig | None = None, seeds: int = 2, epochs: int = 2, **sweep: object) -> list[RunConfig]:
    """4 arms by `seeds`; `sweep`: fields of SweepConfig."""
    return [
        RunConfig(
            activation=ActivationConfig(activation),
            lr=LrConfig(0.1),
            bn=BnConfig(placement),
            data=DataConfig(subset=120),
            train=TrainConfig(epochs=epochs, batch_size=30),
            tracking=tracking or TrackingConfig(),
            sweep=SweepConfig(id="a", **sweep),  # type: ignore[arg-type]
            seed=seed,
        )
        for seed in range(seeds)
        for activation in ("sigmoid", "relu")
        for placement in ("none", "before")
    ]


def enormous(config: RunConfig) -> RunConfig:
    """The same run with about as many weights as a run may have, and much beside each: more than a terabyte."""
    return replace(
        config,
        model=ModelConfig((99_000, 99_000)),
        optimizer=OptimizerConfig("adam"),
        probes=ProbesConfig("full"),
        train=replace(config.train, dtype="float64"),
    )


def broken(config: RunConfig) -> RunConfig:
    """The same run with a schedule that training does not know; set past the checks, which would refuse it."""
    lr = replace(config.lr)
    object.__setattr__(lr, "schedule", "unheard of")
    return replace(config, lr=lr)


def in_sweep(configs: list[RunConfig], name: str, **sweep: object) -> list[RunConfig]:
    """The same runs in a sweep of another name."""
    return [replace(c, sweep=replace(c.sweep, id=name, **sweep)) for c in configs]  # type: ignore[arg-type]


def swept(configs: list[RunConfig], workers: int = 1) -> SweepResult:
    result = run_sweep(configs, "test", workers=workers)
    assert result is not None
    return result
