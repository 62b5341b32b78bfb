"""MNIST-1D: ten shapes of 12 points, each padded, stretched, scaled, moved, covered with noise and sheared (Greydanus &
Kobak 2020, arXiv 2011.14439). The same 5,000 signals of 40 numbers as by the authors' package `mnist1d`, with its
defaults and its seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Samples

SHAPES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
"""Of the digits 0 to 9."""
SEED, EACH = 42, 500
SHORTEST, LONGEST = 36, 60
"""Of the silence behind a shape."""
POINTS, KEPT = 12 + LONGEST, 40
FURTHEST, SCALE, SMOOTH_NOISE, NOISE, SHEAR, WIDTH = 48, 0.4, 0.25, 0.02, 0.75, 2

Signal = npt.NDArray[np.float64]


def read(config: DataConfig) -> Samples:
    """4,000 signals to train on and then 1,000 to test on. Raises ConfigError where scipy is missing."""
    try:
        import scipy.ndimage  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"data.name=mnist1d: must be made with scipy, which is missing ({error})") from None
    numbers = np.random.RandomState(SEED)
    signals = np.stack([signal(shape, numbers) for shape in standardised_shapes() for _ in range(EACH)])
    labels = np.repeat(np.arange(len(SHAPES)), EACH)
    order = numbers.permutation(len(labels))
    x_ND = (signals - signals.mean()) / signals.std()
    return Samples(x_ND[order].astype(np.float32), labels[order].astype(np.uint8), "generated")


def shuffled() -> tuple[npt.NDArray[Any], ...]:
    """The same signals with their 40 numbers in another order, the same for all: their neighbours say nothing (as in
    Zhang et al. 2017, arXiv 1611.03530). For data=callable: inputs and labels to train on, and to test on."""
    samples = read(DataConfig("mnist1d"))
    x_N1D = samples.x_ND[:, None, np.random.RandomState(SEED).permutation(KEPT)]
    y_N, train = samples.y_N, DataConfig("mnist1d").facts.pool
    return x_N1D[:train], y_N[:train], x_N1D[train:], y_N[train:]


def standardised_shapes() -> Signal:
    """[10, 12], each from 0 on, with a sixth as its standard deviation."""
    shapes = np.array(SHAPES)
    shapes = (shapes - shapes.mean(1, keepdims=True)) / shapes.std(1, keepdims=True)
    return np.asarray((shapes - shapes[:, :1]) / 6)


def signal(shape: Signal, numbers: np.random.RandomState) -> Signal:
    """One signal [40] of a shape."""
    from scipy.ndimage import gaussian_filter

    silence = np.zeros(SHORTEST + int(numbers.rand() * (LONGEST - SHORTEST + 1)))
    found = resampled(np.concatenate([shape + 1e-8, silence]), POINTS)
    found = np.roll(found * (1 + SCALE * (numbers.rand() - 0.5)), numbers.choice(FURTHEST))
    smooth = gaussian_filter(SMOOTH_NOISE * numbers.randn(POINTS), WIDTH)
    found = np.where(found != 0, found, smooth) + NOISE * numbers.randn(POINTS)
    return resampled(found - SHEAR * (numbers.rand() - 0.5) * np.linspace(-0.5, 0.5, POINTS), KEPT)


def resampled(values: Signal, points: int) -> Signal:
    """So many points of the line through the values."""
    return np.interp(np.linspace(0, 1, points), np.linspace(0, 1, len(values)), values)
