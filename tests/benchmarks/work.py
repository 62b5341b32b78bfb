"""The work that every arm does: the same members, initial weights, batches and steps.

The seed network 784-32-32-10 on MNIST's training rows, and convolutions of 16, 32 and 32 channels on Fashion-MNIST's,
pooled to 14 x 14 pixels (synthetic pixels of the same shape where no files are), B = 128.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.config.groups import (
    ActivationConfig,
    BnConfig,
    DataConfig,
    InitConfig,
    LrConfig,
    OptimizerConfig,
    TrainConfig,
)
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.data import idx, splits
from bnsweep.records import DatasetInfo
from bnsweep.runs.executors.local import read_dataset

BATCH = 128
SAMPLES = 60_000
"""Of the epoch that costs are quoted for."""
EPOCH_STEPS = SAMPLES / BATCH
RUN_EPOCHS = 10

LECTURE = list(
    itertools.product(("sigmoid", "relu"), ("normal", "xavier", "he"), (0.01, 0.1, 1.0), ("none", "before", "after"))
)
"""The cells of `experiment=lecture`: activation, init, learning rate, BN placement."""

ADVERSARIAL_HIDDEN = [50, 30, 50, 30, 50, 30, 50, 30]
VANISHING_STD = 4e-6
"""With sigmoid and no BN a layer shrinks the gradient by about std·sqrt(units)/4: after eight of them it is denormal
(below 1.2e-38) or 0."""
DIVERGING_LR = 1e8
DATA_SEEDS = 6

CHANNELS = (16, 32, 32)
IMAGES = DatasetFacts(60_000, 10_000, 196, shape=(14, 14))
"""Of the convolutional members' data."""


@dataclass(frozen=True)
class Spec:
    """What to train, in plain values: another process makes the same Work of it."""

    members: int
    steps: int = 60
    """Steps of one pass over the training rows."""
    kind: str = "lecture"
    """lecture, adversarial or conv."""
    optimizer: str = "sgd"
    device: str = "cpu"
    root: str = "data"
    """Folder that holds MNIST/raw and FashionMNIST/raw."""
    file: str = ""
    """Of these data in one piece, which all processes map into memory."""

    @property
    def convolutional(self) -> bool:
        return self.kind == "conv"

    @property
    def passes(self) -> int:
        """Passes that make as many steps as a run has; what a config is told, for what depends on a run's length."""
        return max(1, math.ceil(RUN_EPOCHS * EPOCH_STEPS / self.steps))


def shuffled_cells() -> list[tuple[str, str, float, str]]:
    """The lecture's cells in a fixed order that mixes them, the note's own network first."""
    cells = list(LECTURE)
    random.Random(0).shuffle(cells)
    note = ("relu", "xavier", 0.1, "before")
    return [note, *(cell for cell in cells if cell != note)]


def lecture_member(i: int, spec: Spec) -> RunConfig:
    """Every 54 members are the lecture's grid with another seed; all share one order of the data."""
    cells = shuffled_cells()
    return make_config(spec, cells[i % len(cells)], ModelConfig([32, 32]), seed=i // len(cells), data_seed=0)


def conv_member(i: int, spec: Spec) -> RunConfig:
    """The lecture's cells, for convolutions."""
    cells, model = shuffled_cells(), ModelConfig(family="conv", channels=CHANNELS)
    return make_config(spec, cells[i % len(cells)], model, seed=i // len(cells), data_seed=0)


def adversarial_member(i: int, spec: Spec) -> RunConfig:
    """Kinds that follow one another: diverging, vanishing, and members with nothing wrong beside them."""
    kinds = [
        ("relu", "he", DIVERGING_LR, "none"),
        ("sigmoid", "normal", 0.1, "none"),
        ("relu", "he", 0.01, "before"),
        ("sigmoid", "normal", 1.0, "none"),
        ("sigmoid", "xavier", 0.1, "after"),
        ("relu", "he", 0.01, "none"),
    ]
    seed = i // len(kinds) % DATA_SEEDS
    model = ModelConfig(list(ADVERSARIAL_HIDDEN))
    return make_config(spec, kinds[i % len(kinds)], model, seed, data_seed=seed, std=VANISHING_STD)


def make_config(
    spec: Spec, cell: tuple[str, str, float, str], model: ModelConfig, seed: int, data_seed: int, std: float = 0.01
) -> RunConfig:
    activation, init, lr, placement = cell
    # Adam's steps do not shrink with the gradient: its learning rates lie a hundred times lower.
    lr = lr / 100 if spec.optimizer == "adam" else lr
    read = DataConfig("mnist", root=spec.root)
    if spec.convolutional:
        read = DataConfig("callable", root=spec.root, call=f"{__name__}:images").with_facts(IMAGES)
    data_ = replace(read, validation=96, subset=spec.steps * BATCH, seed=data_seed)
    return RunConfig(
        activation=ActivationConfig(activation),
        init=InitConfig(init, std=std if init == "normal" else None),
        lr=LrConfig(lr),
        bn=BnConfig(placement),
        data=data_.with_facts(read.facts),
        model=model,
        optimizer=OptimizerConfig(spec.optimizer),
        train=TrainConfig(epochs=spec.passes, batch_size=BATCH),
        seed=seed,
    )


class Work:
    """A Spec with its data in memory."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.device = spec, torch.device(spec.device)
        member = {"lecture": lecture_member, "adversarial": adversarial_member, "conv": conv_member}[spec.kind]
        self.configs = [member(i, spec) for i in range(spec.members)]
        self.dataset = load(spec)
        self._rows: dict[int, Tensor] = {}

    def train_rows(self, config: RunConfig) -> Tensor:
        """The training rows of a member, before an epoch's order."""
        seed = config.data_seed
        if seed not in self._rows:
            self._rows[seed] = splits.split(self.dataset, config.data, seed).train
        return self._rows[seed]

    def order(self, config: RunConfig, epoch: int) -> Tensor:
        """Rows of the dataset in the order in which a member visits them in an epoch; batches are consecutive."""
        rows = self.train_rows(config)
        return rows[splits.batch_order(config.data_seed, epoch, len(rows))]

    def groups(self) -> list[list[int]]:
        """Members of equal architecture (activation and BN placement) and equal data order."""
        found: dict[tuple[str, str, int], list[int]] = {}
        for i, c in enumerate(self.configs):
            found.setdefault((c.activation.name, c.bn.placement, c.data_seed), []).append(i)
        return list(found.values())


def load(spec: Spec) -> data.Dataset:
    if spec.file:
        return read_dataset(Path(spec.file))
    return images(spec.root) if spec.convolutional else digits(spec.root)


@cache
def digits(root: str) -> data.Dataset:
    """MNIST where its files are, synthetic rows of the same shape where they are not: a benchmark downloads nothing."""
    folder = Path(root).expanduser() / idx.FOLDERS["mnist"]
    return data.load(DataConfig("mnist", root=root)) if folder.is_dir() else synthetic()


@cache
def images(root: str) -> data.Dataset:
    """Fashion-MNIST where its files are, synthetic rows where they are not, the mean of every two by two pixels
    as a byte again."""
    folder = Path(root).expanduser() / idx.FOLDERS["fashion_mnist"]
    full = data.load(DataConfig("fashion_mnist", root=root)) if folder.is_dir() else synthetic()
    pieces = [F.avg_pool2d(x.view(-1, 1, 28, 28) * 255, 2).flatten(1) for x in full.x_ND.split(1000)]
    x_ND = torch.cat(pieces).round_().div_(255)
    info = replace(full.info, source=f"{full.info.source}, pooled to 14 x 14", features=IMAGES.features)
    return data.Dataset(info, x_ND, full.y_N)


def synthetic() -> data.Dataset:
    """Ten noisy prototypes: 70,000 rows of 784 pixels, about a fifth of them not 0, as in MNIST."""
    generator = torch.Generator().manual_seed(0)
    rows, features = 70_000, 784
    shape, byte = (10, features), torch.uint8
    prototypes = torch.randint(1, 192, shape, generator=generator, dtype=byte)
    prototypes *= torch.rand(shape, generator=generator) < 0.2
    y_N = torch.randint(0, 10, (rows,), generator=generator)
    noise = torch.randint(0, 64, (rows, features), generator=generator, dtype=byte)
    ink = prototypes[y_N]
    x_ND = (ink + noise * (ink > 0)).float().div_(255)
    return data.Dataset(DatasetInfo("mnist", "synthetic", "synthetic rows", rows, features, 10), x_ND, y_N)


def spread(n: int, most: int) -> list[int]:
    """At most `most` of range(n), evenly spread, first and last among them."""
    if n <= most:
        return list(range(n))
    return sorted({round(i * (n - 1) / (most - 1)) for i in range(most)})
