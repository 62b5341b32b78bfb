"""Runs that between them have every activation, init, schedule and placement, and how records of them are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from bnsweep.config.groups import (
    ActivationConfig,
    BnConfig,
    DataConfig,
    InitConfig,
    LrConfig,
    OptimizerConfig,
    TrainConfig,
)
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig

CPU = torch.device("cpu")
MIX = [
    ("sigmoid", "normal", "constant", "none"),
    ("sigmoid", "xavier", "cosine", "before"),
    ("sigmoid", "he", "warmup", "after"),
    ("relu", "he", "constant", "none"),
    ("relu", "xavier", "constant", "before"),
    ("relu", "lecun", "cosine", "after"),
    ("tanh", "orthogonal", "constant", "before"),
    ("leaky_relu", "he", "warmup", "none"),
    ("elu", "lecun", "constant", "after"),
    ("gelu", "xavier", "constant", "before"),
    ("silu", "he", "cosine", "none"),
    ("identity", "xavier", "constant", "after"),
]

# BN after a piecewise linear activation removes the bias of a unit that is always on: the bias has a zero gradient,
# and Adam turns its rounding noise into full steps, in torch's own loop as in ours. No two orders of summation can
# agree there, so that Adam is compared on smooth activations in these two places.
ADAM_MIX = [(("silu", "gelu")[i == 8], *arm[1:]) if i in (5, 8) else arm for i, arm in enumerate(MIX)]


def mix(
    optimizer: str = "sgd", dtype: str = "float64", hidden: tuple[int, ...] = (32, 16), subset: int = 300
) -> list[RunConfig]:
    arms = ADAM_MIX if optimizer == "adam" else MIX
    configs = [make(arm, i, optimizer, dtype) for i, arm in enumerate(arms)]
    return [changed(config, {"model.hidden": hidden, "data.subset": subset}) for config in configs]


def make(arm: tuple[str, str, str, str], i: int = 0, optimizer: str = "sgd", dtype: str = "float64") -> RunConfig:
    """A small run on digits; `i` varies everything that members of one stack may differ in. 60 steps."""
    activation, init, schedule, placement = arm
    lr = 0.003 if optimizer == "adam" else 0.05
    return RunConfig(
        activation=ActivationConfig(activation),
        init=InitConfig(init, std=0.3 if init == "normal" else None, distribution="uniform" if i == 4 else "normal"),
        lr=LrConfig(lr * (1 + i / 4), schedule),
        bn=BnConfig(placement, momentum=0.1 + 0.02 * i, eps=(1e-5, 1e-3)[i % 2], affine=i != 6),
        data=DataConfig(subset=300),
        model=ModelConfig((32, 16), dropout=(0.0, 0.2, 0.5)[i % 3]),
        optimizer=OptimizerConfig(optimizer, weight_decay=(0.0, 0.01)[i % 2]),
        train=TrainConfig(epochs=4, batch_size=20, dtype=dtype),
        seed=i % 3,
    )


def changed(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """The same run but for these values, by the dotted keys of their settings."""
    for key, value in values.items():
        group, _, name = key.partition(".")
        config = replace(config, **{group: replace(getattr(config, group), **{name: value}) if name else value})
    return config


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-300)).item()


def assert_same_numbers(found: Sequence[float], wanted: Sequence[float], rel: float, name: str = "") -> None:
    """Equal within a relative tolerance; a number that is missing is missing on both sides, and not all of them are."""
    assert not all(map(math.isnan, wanted)), f"{name} has no number to compare"
    assert found == pytest.approx(wanted, rel=rel, nan_ok=True), name
