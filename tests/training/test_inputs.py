"""Inputs are standardised, and missing ones filled, by the training rows of each seed and by no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from members import CPU, mix, relative
from plain_loop import train_plain
from sklearn.preprocessing import StandardScaler

from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import Dataset, Samples, dataset_of
from bnsweep.training.batches import PIECE, input_moments
from bnsweep.training.trainer import Trainer, train

DATA = DataConfig("callable", call="own:load", validation=100, standardize=True)


def table(missing: float, samples: int = 600) -> Dataset:
    """Columns of very different sizes, one that never differs, some values missing."""
    random = np.random.default_rng(0)
    x_ND = random.normal(size=(samples, 6)) * [1, 1000, 0.01, 1, 5, 0] + [0, 5000, 3, -1, 2, 7]
    y_N = (x_ND[:, 0] + (x_ND[:, 1] - 5000) / 1000 > 0).astype(np.int64)
    x_ND[random.random(x_ND.shape) < missing] = np.nan
    test = samples // 5
    facts = DatasetFacts(samples - test, test, 6, 2, official_test=False)
    return dataset_of(Samples(x_ND.astype(np.float32), y_N, "made up", facts=facts), DATA)


def members(dataset: Dataset, standardize: bool) -> list[RunConfig]:
    """Twelve that differ, of three seeds."""
    assert dataset.facts is not None
    data = replace(DATA, standardize=standardize)
    configs = [replace(c, data=data, seed=i % 3) for i, c in enumerate(mix("sgd"))]
    return [c.with_facts(dataset.facts) for c in configs]


@pytest.mark.parametrize(("missing", "standardize"), [(0.0, True), (0.1, True), (0.1, False)])
def test_each_member_has_the_numbers_that_it_would_have_had_alone(missing: float, standardize: bool) -> None:
    dataset = table(missing)
    if not standardize:  # thousands overflow
        dataset = replace(dataset, x_ND=dataset.x_ND / torch.tensor([1.0, 5000, 1, 1, 5, 7]))
    configs = members(dataset, standardize)
    records, stack = train(configs, dataset, CPU)
    assert len(stack) == 12
    for k, i in enumerate(stack.positions):
        plain = train_plain(configs[i], dataset)
        for name, value in plain.model.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                assert relative(stack.export(k).state_dict()[name], value) < 1e-9, name
        for name in ("train/loss", "val/accuracy", "test/loss"):
            assert records[i].history[name] == pytest.approx(plain.history[name], rel=1e-9), name


def test_the_training_rows_alone_count_as_sklearn_counts_them() -> None:
    dataset = table(0.1)
    trainer = Trainer(members(dataset, True), dataset, CPU)
    x_GBD, _ = trainer.batches.take(trainer.batches.rows["test"])
    for g, rows in enumerate(trainer.batches.rows["train"]):
        scaler = StandardScaler().fit(dataset.x_ND[rows].double().numpy())
        expected = np.nan_to_num(scaler.transform(dataset.x_ND[trainer.batches.rows["test"][g]].double().numpy()))
        torch.testing.assert_close(x_GBD[g], torch.from_numpy(expected), rtol=1e-9, atol=1e-9)


def test_moments_are_the_same_in_pieces() -> None:
    random = np.random.default_rng(0)
    x_ND = torch.from_numpy(random.normal(size=(3 * PIECE + 7, 3)) + np.array([0, 1e6, 0]))
    x_ND[:, 2] = torch.nan
    mean_GD, std_GD = input_moments(x_ND, torch.arange(len(x_ND))[None])
    assert mean_GD[0, :2].tolist() == pytest.approx(x_ND[:, :2].mean(0).tolist(), rel=1e-12)
    assert std_GD[0, :2].tolist() == pytest.approx(x_ND[:, :2].std(0, correction=0).tolist(), rel=1e-9)
    assert (mean_GD[0, 2], std_GD[0, 2]) == (0, 1)


def test_inputs_that_are_taken_as_they_are_are_not_touched() -> None:
    dataset = table(0.0)
    trainer = Trainer(members(dataset, False), dataset, CPU)
    rows = trainer.batches.rows["train"]
    assert torch.equal(trainer.batches.take(rows)[0], dataset.x_ND.double()[rows])
