"""Built-in data is what its row of the catalogue says."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from sklearn import datasets

from bnsweep.catalogue.datasets import DATASETS
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data import digits as digits_of
from bnsweep.data.dataset import Dataset, load
from bnsweep.own.call import function_named


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(DataConfig())


@pytest.mark.parametrize("name", DATASETS)
def test_every_row_names_a_function(name: str) -> None:
    assert callable(function_named(DATASETS[name].read))


@pytest.mark.parametrize("name", [row.name for row in DATASETS.values() if row.facts and row.facts.shape])
def test_a_sample_has_as_many_numbers_as_its_shape(name: str) -> None:
    facts = DATASETS[name].facts
    assert facts is not None and math.prod(facts.shape) == facts.features


def test_digits_are_1797_images_of_64_pixels_in_0_to_1(digits: Dataset) -> None:
    assert digits.x_ND.shape == (1797, 64) and digits.x_ND.dtype == torch.float32
    assert digits.x_ND.min() == 0 and digits.x_ND.max() == 1
    assert digits.y_N.dtype == torch.int64 and digits.y_N.unique().tolist() == list(range(10))
    assert digits.facts is not None and digits.facts.digest == digits.info.digest == "87ff0c9e40dc7e2c"
    assert digits.info.source.startswith("scikit-learn ") and re.fullmatch("[0-9a-f]{16}", digits.info.digest)


def test_scikit_learn_reads_the_digits_that_its_file_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    found, slow = digits_of.from_file(), digits_of.from_function()
    assert found is not None
    assert np.array_equal(found.x_ND, slow.x_ND) and np.array_equal(found.y_N, slow.y_N)
    assert (found.source, found.white) == (slow.source, slow.white)
    for other in ("sklearn/datasets/data/iris.csv", "sklearn/gone.csv.gz"):
        monkeypatch.setattr(digits_of, "FILE", other)
        assert digits_of.from_file() is None
    assert np.array_equal(digits_of.read(DataConfig()).x_ND, found.x_ND)


def test_generated_data_are_what_they_say_and_the_same_every_time() -> None:
    normal, pixels = (load(DataConfig(name, validation=500)) for name in ("gaussian", "pixels"))
    assert normal.x_ND.shape == (2500, 100) and pixels.x_ND.shape == (2500, 784)
    assert normal.x_ND.mean().item() == pytest.approx(0, abs=0.01) and normal.x_ND.std().item() == pytest.approx(
        1, abs=0.01
    )
    assert pixels.x_ND.min() == 0 and pixels.x_ND.max() <= 1
    assert pixels.x_ND.square().mean().item() == pytest.approx(0.1, abs=0.001)
    assert normal.y_N.unique().tolist() == list(range(10))
    assert torch.equal(normal.x_ND, load(DataConfig("gaussian", validation=500)).x_ND)


@pytest.mark.parametrize(
    ("pixel", "says"),
    [
        (17.0, r"must be the digits that scikit-learn ships, with the sha256 87ff0c\w+, has \w+; install it again$"),
        (None, r"must be .* ships, which cannot be read \(EOFError: ended\); install it again$"),
    ],
)
def test_digits_that_are_no_longer_those_that_were_shipped_are_refused(
    pixel: float | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digits_of, "FILE", "sklearn/gone.csv.gz")
    real = datasets.load_digits(return_X_y=True)

    def load_digits(return_X_y: bool) -> tuple[np.ndarray, np.ndarray]:
        if pixel is None:
            raise EOFError("ended")
        real[0][5, 5] = pixel
        return real

    monkeypatch.setattr(datasets, "load_digits", load_digits)
    with pytest.raises(ConfigError, match=f"^data.name=digits: {says}"):
        load(DataConfig())
