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
    torch.testing.assert_close(signals.x_ND[0, :4].double(), torch.tensor(FIRST).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(signals.x_ND[4999, -3:].double(), torch.tensor(LAST).double(), atol=1e-6, rtol=0)
    assert signals.y_N[:8].tolist() == [2, 6, 4, 5, 6, 6, 6, 0]
    weighted = signals.x_ND.double() @ torch.arange(40.0, dtype=torch.float64)
    assert weighted.sum().item() == pytest.approx(26_954.0910, abs=0.05)
    assert (weighted @ torch.arange(5000.0, dtype=torch.float64)).item() == pytest.approx(73_239_339.1, abs=50)


FIRST = [-0.332005667, -0.471910366, -0.778697076, -1.009740827]
LAST = [0.659875647, 0.877734350, 1.193151837]
