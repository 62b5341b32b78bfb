"""Datasets as tensors: digits from scikit-learn, MNIST and Fashion-MNIST from IDX files, two that are generated; and
seeded splits and batches.

Axes: N samples, D pixels of a sample.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import DataConfig
from bnsweep.data.idx import Bytes, read_idx
from bnsweep.records import DatasetInfo

Numbers = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class Dataset:
    """A dataset in memory. Rows [0, pool) are the training pool and the rest the official test set, but for digits,
    which has no official one: its test rows are drawn by `split`."""

    info: DatasetInfo
    x_ND: Tensor
    """float32; in [0, 1] but for gaussian."""
    y_N: Tensor
    """int64 class of each row."""


@dataclass(frozen=True)
class Split:
    """Row numbers (int64, ascending) into a Dataset; the three share none."""

    train: Tensor
    validation: Tensor
    test: Tensor


def load(config: DataConfig) -> Dataset:
    """Read a dataset, downloading it if its files are missing. Raises ConfigError where that cannot be done."""
    facts, white = config.facts, 1.0
    if config.name in GENERATED:
        pixels_ND, labels_N, source = _generate(config)
    elif config.name == "digits":
        white, (pixels_ND, labels_N, source) = 16.0, _digits()
    else:
        white, (pixels_ND, labels_N, source) = 255.0, read_idx(config)
    assert pixels_ND.shape == (facts.pool + facts.test, facts.features)
    digest = hashlib.sha256(np.ascontiguousarray(pixels_ND).data)
    digest.update(np.ascontiguousarray(labels_N).data)
    info = DatasetInfo(config.name, digest.hexdigest()[:16], source, len(labels_N), facts.features, facts.classes)
    return Dataset(info, torch.from_numpy(pixels_ND).float().div_(white), torch.from_numpy(labels_N).long())


def split(dataset: Dataset, config: DataConfig, seed: int) -> Split:
    """Stratified split of exact sizes. The test rows depend on the seed alone, the validation rows not on the subset,
    unless it is the first samples of the files: those are taken before validation is drawn.

    `seed` is the data seed (RunConfig.data_seed).
    """
    facts = config.facts
    rows = torch.arange(len(dataset.y_N))
    if config.name == "digits":
        test, pool = _draw(rows, dataset.y_N, facts.test, _generator("test", seed))
    else:
        pool, test = rows[: facts.pool], rows[facts.pool :]
    train = pool[: config.train_size]
    rest = pool[config.train_size :] if config.draw == "first" else pool
    validation, rest = _draw(rest, dataset.y_N, config.validation, _generator("validation", seed))
    if config.draw == "stratified":
        train, _ = _draw(rest, dataset.y_N, config.train_size, _generator("subset", seed))
    if config.test is not None:
        test, _ = _draw(test, dataset.y_N, config.test, _generator("test subset", seed))
    assert (len(train), len(validation), len(test)) == (config.train_size, config.validation, config.test_size)
    return Split(train, validation, test)


def batch_order(seed: int, epoch: int, n: int) -> Tensor:
    """The order in which an epoch visits its n training samples: a permutation of range(n) that nothing else moves."""
    return torch.randperm(n, generator=_generator("order", seed, epoch))


def batch_draws(seed: int, epoch: int, n: int, count: int) -> Tensor:
    """`count` of an epoch's n training samples, each drawn from all of them (with replacement)."""
    return torch.randint(n, (count,), generator=_generator("draws", seed, epoch))


def _generator(purpose: str, *numbers: int) -> torch.Generator:
    """A stream of its own for every purpose, so that drawing more for one never shifts another."""
    digest = hashlib.sha256(f"{purpose}{numbers}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]))


def _draw(rows: Tensor, y_N: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n of `rows`, each class by its share (largest remainder), and the rows left over; both ascending."""
    classes = y_N[rows]
    counts = torch.bincount(classes)
    quota = counts * n // len(rows)
    by_remainder = torch.argsort(counts * n % len(rows), descending=True, stable=True)
    quota[by_remainder[: n - int(quota.sum())]] += 1
    taken = torch.zeros(len(rows), dtype=torch.bool)
    for label, share in enumerate(quota.tolist()):
        members = (classes == label).nonzero().flatten()
        taken[members[torch.randperm(len(members), generator=generator)[:share]]] = True
    return rows[taken], rows[~taken]


GENERATED = ("gaussian", "pixels")


def _generate(config: DataConfig) -> tuple[Numbers, Bytes, str]:
    """The same samples every time. Pixels are 0 with probability 0.7, else uniform in [0, 1]: mean square 0.1."""
    facts, stream = config.facts, _generator(config.name)
    shape = facts.pool + facts.test, facts.features
    if config.name == "gaussian":
        x_ND = torch.randn(shape, generator=stream)
    else:
        x_ND = torch.rand(shape, generator=stream) * (torch.rand(shape, generator=stream) < 0.3)
    labels_N = torch.randint(facts.classes, shape[:1], generator=stream)
    return x_ND.numpy(), labels_N.numpy().astype(np.uint8), "generated"


def _digits() -> tuple[Bytes, Bytes, str]:
    try:
        import sklearn
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigError(f"data.name=digits: must be read from scikit-learn, which is missing ({error})") from None
    pixels, labels = load_digits(return_X_y=True)
    return pixels.astype(np.uint8), labels.astype(np.uint8), f"scikit-learn {sklearn.__version__}"
