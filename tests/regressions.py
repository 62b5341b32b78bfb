"""A small regression, and runs on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from members import mix

from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import Dataset, Samples, dataset_of

DATA = DataConfig("callable", call="own:load", task="regression", validation=100)


def smooth_numbers(samples: int = 600, features: int = 8, noise: float = 0.1) -> Dataset:
    """A target far from 0 that a network can learn but for its noise: the sine of one number times another."""
    random = np.random.default_rng(0)
    x_ND = random.normal(size=(samples, features)).astype(np.float32)
    y_N = np.sin(x_ND[:, 0]) * x_ND[:, 1] + x_ND[:, 2] + noise * random.normal(size=samples)
    test = samples // 5
    facts = DatasetFacts(samples - test, test, features, classes=0, official_test=False)
    return dataset_of(Samples(x_ND, (50 * y_N + 300).astype(np.float32), "made up", facts=facts), DATA)


def on(dataset: Dataset, configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The same runs on this data."""
    assert dataset.facts is not None
    return [replace(c, data=DATA).with_facts(dataset.facts) for c in configs]


def regressions(dataset: Dataset, optimizer: str = "sgd", dtype: str = "float64") -> list[RunConfig]:
    """Twelve different members of one stack."""
    return on(dataset, mix(optimizer, dtype))
