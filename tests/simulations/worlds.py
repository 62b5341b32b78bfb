"""What is true of a simulated sweep: its noise, its learning rates, and what is planted in it.

The grid is the lecture's: 2 activations, 3 initialisations, 3 placements of BN, 3 learning rates. Numbers are shares:
one point of accuracy is 0.01. Unless an effect is planted, every arm has the same mean of everything that is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]

GRID = {
    "activation": ("sigmoid", "relu"),
    "init": ("normal", "xavier", "he"),
    "lr.value": (0.01, 0.1, 1.0),
    "bn": ("none", "before", "after"),
}
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "lecture": GRID,
    "bn": {"lr.value": GRID["lr.value"], "bn": GRID["bn"]},
    "skips": {
        "lr.value": GRID["lr.value"],
        "bn": ("none", "before"),
        "skip": ("off", "on"),
        "model.hidden": ("32-32-32", "32x20"),
    },
    "norms": {
        "lr.value": GRID["lr.value"],
        "bn": ("before", "group before", "layer before"),
        "train.batch_size": (2, 64),
    },
}
"""What is swept; of all but the lecture's ReLU networks with He's weights."""
TRUE_OF_NOTHING = {"norms": ("norms-match-bn",)}
"""Grid -> claims that are true where nothing differs: to be contradicted is what is false of them."""
SD = 0.005
"""Of a run's accuracy about its arm's mean, half of the variance shared by all runs of a seed."""
LOUD = 0.0125
"""The same where effects of a point are to be found."""
CHANCE = 0.1
MEAN = 0.85
"""Validation accuracy where nothing is planted."""


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return random.standard_normal(shape)


def skewed(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Skewness -2: most runs a little above the mean, some far below it."""
    return 1 - random.standard_exponential(shape)


@dataclass(frozen=True)
class Noise:
    title: str
    draw: Draw = normal
    spread: Callable[[pd.DataFrame], Array] = field(default=lambda runs: np.ones(len(runs)))
    """What a run's standard deviation is multiplied by."""
    failing: float = 0.0
    """Share of runs that end at chance: half of them diverged, half of them finished."""


def by_side(runs: pd.DataFrame) -> Array:
    """Five-fold between the sides of comparisons: BN before and plain sigmoid against all others."""
    calm = (runs["bn"] == "before") | ((runs["bn"] == "none") & (runs["activation"] == "sigmoid"))
    return np.where(calm, 0.4, 2.0)


def by_arm(runs: pd.DataFrame) -> Array:
    """Five-fold between the calmest of the arms and the loudest, in an order that no factor explains."""
    arm = runs.groupby(["activation", "init", "bn"]).ngroup().to_numpy()
    order = np.random.default_rng(0).permutation(18)
    return np.asarray(0.4 * 5 ** (order[arm] / 17), dtype=np.float64)


NOISES = {
    "normal": Noise("normal"),
    "skewed": Noise("skewed", skewed),
    "arms": Noise("SD 5-fold between arms", spread=by_arm),
    "sides": Noise("SD 5-fold between sides", spread=by_side),
    "skewed-sides": Noise("skewed, SD 5-fold between sides", skewed, by_side),
    "failing": Noise("5 % of runs at chance", failing=0.05),
}


def clear(runs: pd.DataFrame) -> Array:
    return np.where(runs["lr.value"] == 0.1, 0, -0.01)


def crossing(runs: pd.DataFrame) -> Array:
    """One side of each comparison is best at the largest rate, the other as good at the smallest."""
    up = (runs["activation"] == "relu") == (runs["bn"] == "before")
    place = np.log10(runs["lr.value"]) + 1
    return np.asarray(np.where(up, 1, -1) * place * 0.005 - 0.005, dtype=np.float64)


RATES: dict[str, Callable[[pd.DataFrame], Array]] = {
    "clear": clear,
    "equal": lambda runs: np.zeros(len(runs)),
    "crossing": crossing,
}
RATE_TITLES = {"clear": "one rate 1 point ahead", "equal": "equal rates", "crossing": "profiles that cross"}


@dataclass(frozen=True)
class Effect:
    title: str
    claim: str
    """Key of the claim that it makes true."""
    touches: str
    """Claims whose keys begin so may rightly get a verdict; those of all others stay without one."""
    final: Callable[[pd.DataFrame], Array] = field(default=lambda runs: np.zeros(len(runs)))
    """Added to a run's accuracy."""
    auc: Callable[[pd.DataFrame], Array] = field(default=lambda runs: np.zeros(len(runs)))
    """Added to the time-mean of its accuracy beside what the accuracy itself adds."""
    grids: tuple[str, ...] = ("lecture", "bn")
    """Those that ask its claim."""


def before(points: float) -> Effect:
    share, title = points / 100, f"BN before better by {points:g} point"
    return Effect(title, "bn-before", "bn-", final=lambda runs: np.where(runs["bn"] == "before", share, 0))


def relu(runs: pd.DataFrame) -> Array:
    return np.where(runs["activation"] == "relu", 0.01, 0)


def with_bn(runs: pd.DataFrame) -> Array:
    return np.where(runs["bn"] == "none", 0, 0.01)


def off_best(runs: pd.DataFrame) -> Array:
    """Of learning rates of which one is clearly best, at the others alone."""
    return np.where((runs["bn"] == "before") & (runs["lr.value"] != 0.1), 0.01, 0)


EFFECTS = {
    "before-half": before(0.5),
    "before-one": before(1),
    "relu-one": Effect("ReLU better by 1 point", "relu-helps", "relu-", final=relu),
    "faster-one": Effect("BN faster by 1 point of AUC", "bn-faster", "bn-", auc=with_bn),
}


def a_point_off(runs: pd.DataFrame) -> Array:
    """As far apart as counts as equal."""
    return np.where(runs["bn"] == "before", 0.01, 0)


def two_factors(runs: pd.DataFrame) -> Array:
    """BN and skips each add a point wherever the other is, and with BN the best rate is another."""
    bn = runs["bn"] != "none"
    rate = np.where(np.where(bn, runs["lr.value"] == 1.0, runs["lr.value"] == 0.01), 0.01, 0)
    return np.asarray(0.01 * bn + 0.01 * (runs["skip"] == "on") + rate, dtype=np.float64)


HALF_TRUE = {
    "off-best": Effect("BN before better by 1 point, except at the best rate", "bn-before", "bn-", final=off_best),
    "point-off": Effect("BN better by the margin, 1 point", "norms-match-bn", "", final=a_point_off, grids=("norms",)),
    "two-factors": Effect("BN and skips add 1 point each", "skip-for-bn", "", final=two_factors, grids=("skips",)),
}
"""What a claim asks is true in one of two ways, or just at its edge: its verdict should be neither supported nor
contradicted."""


def one_ahead(runs: pd.DataFrame) -> Array:
    """ReLU, He, BN before is 1 point ahead of all other arms."""
    ahead = (runs["activation"] == "relu") & (runs["init"] == "he") & (runs["bn"] == "before")
    return np.where(ahead, 0.01, 0)


def graded(runs: pd.DataFrame) -> Array:
    """No two arms are equal: 0.1 points from each to the next."""
    arm = runs.groupby(["activation", "init", "bn"]).ngroup().to_numpy()
    return np.asarray(0.001 * np.random.default_rng(1).permutation(18)[arm], dtype=np.float64)


ORDERS = {
    "nothing": Effect("18 equal arms", "", "nothing"),
    "one": Effect("one arm 1 point ahead", "", "", final=one_ahead),
    "graded": Effect("arms 0.1 points apart", "", "", final=graded),
}


@dataclass(frozen=True)
class World:
    seeds: int = 10
    noise: str = "normal"
    rates: str = "equal"
    planted: str = "nothing"
    """A key of EFFECTS, HALF_TRUE or ORDERS."""
    sd: float = SD
    grid: str = "lecture"
    """A key of GRIDS."""
    looks: bool = False
    """Whether seeds are added until claims are decided, `seeds` of them at the most (`seed=auto`)."""

    @property
    def effect(self) -> Effect:
        return (EFFECTS | HALF_TRUE | ORDERS)[self.planted]

    @property
    def failing(self) -> float:
        return NOISES[self.noise].failing

    def mean(self, runs: pd.DataFrame) -> Array:
        """True mean accuracy of each run's arm at its rate, failures included."""
        healthy = MEAN + RATES[self.rates](runs) + self.effect.final(runs)
        return np.asarray((1 - self.failing) * healthy + self.failing * CHANCE, dtype=np.float64)


def correlated(draw: Draw, random: np.random.Generator, seed_R: NDArray[np.int64], share: float = 0.5) -> Array:
    """One number a run with variance 1, of which `share` is the seed's."""
    of_seed = draw(random, (int(seed_R.max()) + 1,))[seed_R]
    return math.sqrt(share) * of_seed + math.sqrt(1 - share) * draw(random, seed_R.shape)
