"""MNIST-1D is the authors' own."""

from __future__ import annotations

import pytest
import torch

from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Dataset, load


@pytest.fixture(scope="module")
def signals() -> Dataset:
    return load(DataConfig("mnist1d", validation=800))


def test_the_signals_are_those_of_the_package(signals: Dataset) -> None:
    """Numbers of mnist1d 0.0.2.post1, `make_dataset()` with its defaults."""
    assert signals.x_ND.shape == (5000, 40) and torch.bincount(signals.y_N).tolist() == [500] * 10
    torch.testing.assert_close(signals.x_ND[0, :4], torch.tensor([FIRST]).view(-1), atol=2e-4, rtol=0)
    torch.testing.assert_close(signals.x_ND[4999, -3:], torch.tensor([LAST]).view(-1), atol=2e-4, rtol=0)
    assert signals.y_N[:8].tolist() == [2, 6, 4, 5, 6, 6, 6, 0]
    assert (signals.x_ND.mean().item(), signals.x_ND.std().item()) == pytest.approx((0, 1), abs=1e-4)


FIRST = [-0.3320, -0.4719, -0.7787, -1.0097]
LAST = [0.6599, 0.8777, 1.1932]


def test_they_are_the_package_s_to_the_last_digit(signals: Dataset) -> None:
    package = pytest.importorskip("mnist1d.data", reason="the package mnist1d is not installed")
    made = package.make_dataset()
    theirs = torch.cat([torch.from_numpy(made["x"]), torch.from_numpy(made["x_test"])])
    torch.testing.assert_close(signals.x_ND.double(), theirs, atol=1e-6, rtol=0)
    assert signals.y_N.tolist() == [*made["y"], *made["y_test"]]
