"""A dataset as tensors: read by the function that its row of the catalogue names, or by one of the user's.

Axes: N samples, D numbers a sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnsweep.catalogue.datasets import DATASETS, DatasetFacts
from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.own.call import function_named
from bnsweep.own.functions import check_names, with_sources
from bnsweep.records import DatasetInfo

Bytes = npt.NDArray[np.uint8]
Numbers = Bytes | npt.NDArray[np.float32]

DataKey = tuple[str, str]
"""`DataConfig.key`."""


@dataclass(frozen=True)
class Samples:
    """What a reader gives."""

    x_ND: Numbers
    y_N: npt.NDArray[np.integer[Any] | np.floating[Any]]
    """The class of each row, or in a regression its number."""
    source: str
    """Where they come from, in words: a package or a path."""
    white: float = 1.0
    """Divides all of x."""
    facts: DatasetFacts | None = None
    """Of data that the catalogue knows no facts of."""
    group_N: npt.NDArray[np.int64] | None = None
    """Number of each row's group; rows of one group are in one part of a split."""
    notes: tuple[str, ...] = ()
    """What is to be said of them before training, a line each."""


@dataclass(frozen=True)
class Dataset:
    """A dataset in memory. Rows [0, pool) are the training pool and the rest the official test set, where there is one;
    otherwise `splits.split` draws a test set from all rows."""

    info: DatasetInfo
    x_ND: Tensor
    """float32; in [0, 1] but for gaussian and data from outside."""
    y_N: Tensor
    """int64 class of each row; in a regression float64."""
    facts: DatasetFacts | None = None
    """As `load` found them; for RunConfig.with_facts."""
    group_N: Tensor | None = None
    """int64 group of each row, where rows of one stay together."""
    notes: tuple[str, ...] = ()
    """What is to be said of them before training, a line each."""


def load(config: DataConfig) -> Dataset:
    """Read a dataset, downloading it if its files are missing. Raises ConfigError where that cannot be done."""
    row = DATASETS[config.name]
    return dataset_of(function_named(row.read)(config), config)


def dataset_of(samples: Samples, config: DataConfig) -> Dataset:
    """What was read, or was in memory already, as the dataset of this config."""
    row = DATASETS[config.name]
    facts = row.facts or samples.facts
    assert facts is not None and samples.x_ND.shape == (facts.pool + facts.test, facts.features)
    digest = hashlib.sha256(np.ascontiguousarray(samples.x_ND).data)
    digest.update(np.ascontiguousarray(samples.y_N).data)
    if row.facts is None:
        digest.update(division(facts).encode())
    if samples.group_N is not None:
        digest.update(np.ascontiguousarray(samples.group_N).data)
    facts = replace(facts, digest=digest.hexdigest()[:16])
    name, count = config.call or config.file or config.name, len(samples.y_N)
    info = DatasetInfo(name, facts.digest, samples.source, count, facts.features, facts.classes)
    x_ND = torch.from_numpy(samples.x_ND).float().div_(samples.white)
    y_N, groups = torch.from_numpy(samples.y_N), samples.group_N
    y_N = y_N.long() if facts.classes else y_N.double()
    return Dataset(info, x_ND, y_N, facts, None if groups is None else torch.from_numpy(groups), samples.notes)


def division(facts: DatasetFacts) -> str:
    """What tells the same rows divided in another way apart, as data."""
    told = ("pool", "test", "features", "classes", "official_test")
    return f"DatasetFacts({', '.join(f'{name}={getattr(facts, name)}' for name in told)}, digest='')"


def with_facts(configs: Iterable[RunConfig], datasets: dict[DataKey, Dataset]) -> list[RunConfig]:
    """The runs, of which those on data that nobody knows before reading now know it, and those with code of the user's
    know its text. Reads what is not among `datasets` and adds it. Raises ConfigError where a setting does not fit the
    data, and for code that is refused."""
    found = []
    for config in configs:
        if config.own_code:
            config = with_sources(config)
        if not config.data.known:
            if config.data.key not in datasets:
                datasets[config.data.key] = load(config.data)
            facts = datasets[config.data.key].facts
            assert facts is not None
            config = config.with_facts(facts)
        found.append(config)
    check_names(found)
    return found
