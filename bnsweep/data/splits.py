"""Which rows are trained on, validated and tested on, and in which order batches visit them: seeded, stratified, exact.

Axes: N samples.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Dataset
from bnsweep.data.groups import draw_groups


@dataclass(frozen=True)
class Split:
    """Row numbers (int64, ascending) into a Dataset; the three share none."""

    train: Tensor
    validation: Tensor
    test: Tensor


def split(dataset: Dataset, config: DataConfig, seed: int) -> Split:
    """Stratified split of exact sizes; of groups, where they stay together. The test rows depend on the seed alone, the
    validation rows not on the subset, unless it is the first samples of the files: those are taken before validation is
    drawn.

    `seed` is the data seed (RunConfig.data_seed).
    """
    facts, strata_N = config.facts, strata(dataset)
    rows = torch.arange(len(dataset.y_N))
    group_N = dataset.group_N
    if facts.official_test:
        pool, test = rows[: facts.pool], rows[facts.pool :]
    elif group_N is not None:
        test, pool = draw_groups(rows, group_N, facts.test, stream("test", seed))
    else:
        test, pool = draw(rows, strata_N, facts.test, stream("test", seed))
    train = pool[: config.train_size]
    rest = pool[config.train_size :] if config.draw == "first" else pool
    if group_N is not None:
        validation, rest = draw_groups(rest, group_N, config.validation_size, stream("validation", seed))
    else:
        validation, rest = draw(rest, strata_N, config.validation_size, stream("validation", seed))
    if config.draw == "stratified":
        train, _ = draw(rest, strata_N, config.train_size, stream("subset", seed))
    if config.test is not None:
        test, _ = draw(test, strata_N, config.test, stream("test subset", seed))
    assert (len(train), len(validation), len(test)) == (config.train_size, config.validation_size, config.test_size)
    return Split(train, validation, test)


def strata(dataset: Dataset) -> Tensor:
    """What is drawn by its share: the classes, or all samples of a regression as one."""
    return torch.zeros_like(dataset.y_N, dtype=torch.int64) if dataset.y_N.is_floating_point() else dataset.y_N


def draw(rows: Tensor, y_N: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n of `rows`, each class by its share (largest remainder), and the rows left over; both ascending."""
    classes = y_N[rows]
    counts = torch.bincount(classes)
    quota = counts * n // len(rows)
    by_remainder = torch.argsort(counts * n % len(rows), descending=True, stable=True)
    quota[by_remainder[: n - int(quota.sum())]] += 1
    taken = torch.zeros(len(rows), dtype=torch.bool)
    by_class = torch.argsort(classes, stable=True).split(counts.tolist())
    for members, share in zip(by_class, quota.tolist(), strict=True):
        order = torch.randperm(len(members), generator=generator)
        taken[members[order[:share]]] = True
    return rows[taken], rows[~taken]


def batch_order(seed: int, epoch: int, n: int) -> Tensor:
    """The order in which an epoch visits its n training samples: a permutation of range(n) that nothing else moves."""
    return torch.randperm(n, generator=stream("order", seed, epoch))


def batch_draws(seed: int, epoch: int, n: int, count: int) -> Tensor:
    """`count` of an epoch's n training samples, each drawn from all of them (with replacement)."""
    return torch.randint(n, (count,), generator=stream("draws", seed, epoch))


def stream(purpose: str, *numbers: int) -> torch.Generator:
    """Random numbers of their own for every purpose, so that drawing more for one never shifts another."""
    digest = hashlib.sha256(f"{purpose}{numbers}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]))
