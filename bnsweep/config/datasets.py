"""The datasets there are, and what is known of them without reading a file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetFacts:
    """Sizes known without reading a file; `pool` is what training and validation are drawn from."""

    pool: int
    test: int
    features: int
    classes: int = 10


DATASETS = {
    "digits": DatasetFacts(pool=1437, test=360, features=64),
    "mnist": DatasetFacts(pool=60_000, test=10_000, features=784),
    "gaussian": DatasetFacts(pool=2000, test=500, features=100),
    "pixels": DatasetFacts(pool=2000, test=500, features=784),
    "fashion_mnist": DatasetFacts(pool=60_000, test=10_000, features=784),
}
