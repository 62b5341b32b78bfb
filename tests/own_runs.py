"""Small runs of networks of the user's."""

from __future__ import annotations

from typing import Any

from members import changed

from bnsweep.config.groups import (
    ActivationConfig,
    BnConfig,
    DataConfig,
    InitConfig,
    LrConfig,
    OptimizerConfig,
    ProbesConfig,
    TrainConfig,
)
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import Dataset
from bnsweep.training.known import with_facts

OF_PARTS = ("SkipMlp", "NormAfter")


def run(target: str, **given: Any) -> RunConfig:
    """42 steps in float64 of 294 samples."""
    config = RunConfig(
        ActivationConfig("tanh"),
        InitConfig("he"),
        LrConfig(0.05),
        bn=BnConfig("before" if target in OF_PARTS else "none"),
        data=DataConfig(subset=294),
        model=ModelConfig((16,), family="module", target=target if ":" in target else f"own_modules:{target}"),
        optimizer=OptimizerConfig("momentum"),
        train=TrainConfig(epochs=2, batch_size=14, dtype="float64"),
        probes=ProbesConfig("off"),
    )
    return changed(config, given)


def known(configs: list[RunConfig], digits: Dataset) -> list[RunConfig]:
    return with_facts(configs, {configs[0].data.key: digits})
