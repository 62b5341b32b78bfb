"""The groups that say what network is trained on what, and how it is updated; `config.py` holds the rest of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.catalogue.inits import INITS
from bnsweep.catalogue.optimizers import OPTIMIZERS
from bnsweep.catalogue.schedules import SCHEDULES
from bnsweep.config.checks import check, check_choice
from bnsweep.config.datasets import DATASETS, DatasetFacts

DISTRIBUTIONS = ("normal", "uniform")
PLACEMENTS = ("none", "before", "after")
DRAWS = ("stratified", "first")
SCALINGS = ("train", "test")


@dataclass
class ActivationConfig:
    name: str = "relu"
    """One of ACTIVATIONS; applied after each hidden layer."""

    def __post_init__(self) -> None:
        check_choice("activation.name", self.name, tuple(ACTIVATIONS))


@dataclass
class InitConfig:
    name: str = "xavier"
    """One of INITS; how wide the weights start. Biases start at zero."""
    distribution: str = "normal"
    """normal or uniform, of the same standard deviation; orthogonal takes normal."""
    std: float | None = None
    """Standard deviation of init=normal; the other inits derive theirs from the layer's size and take none."""
    gain: float = 1.0
    """Factor on the weights of the hidden layers, the output layer's apart."""

    def __post_init__(self) -> None:
        check_choice("init.name", self.name, tuple(INITS))
        check_choice("init.distribution", self.distribution, DISTRIBUTIONS)
        if INITS[self.name].orthogonal:
            check(self.distribution == "normal", "init.distribution", self.distribution, "normal with init=orthogonal")
        if INITS[self.name].takes_std:
            ok = self.std is not None and math.isfinite(self.std) and self.std >= 0
            check(ok, "init.std", self.std, "a finite number >= 0 with init=normal")
        else:
            says = f"left out with init={self.name}, which derives it from the layer's size (init=normal takes one)"
            check(self.std is None, "init.std", self.std, says)
        check(math.isfinite(self.gain) and self.gain > 0, "init.gain", self.gain, "a finite number > 0")


@dataclass
class LrConfig:
    value: float = 0.1
    """Peak learning rate."""
    schedule: str = "constant"
    """constant; cosine (to 0 over the training); warmup (linear over the first part, then constant)."""
    warmup: float = 0.1
    """Share of all steps spent warming up (schedule=warmup)."""
    per_sample: bool = False
    """Whether `value` is the rate for each sample of a batch: the rate is then `value` times train.batch_size."""
    hidden: float = 1.0
    """Factor on the rate of the hidden layers' weights; biases, BN and the output layer keep `value`."""

    def __post_init__(self) -> None:
        check(math.isfinite(self.value) and self.value > 0, "lr.value", self.value, "a finite number > 0")
        check_choice("lr.schedule", self.schedule, tuple(SCHEDULES))
        check(0 < self.warmup <= 1, "lr.warmup", self.warmup, "in (0, 1]")
        check(math.isfinite(self.hidden) and self.hidden > 0, "lr.hidden", self.hidden, "a finite number > 0")

    def scale(self, step: int, total: int) -> float:
        """Factor on `value` at 0-based `step` of `total`."""
        return SCHEDULES[self.schedule](step, total, self.warmup)


@dataclass
class BnConfig:
    placement: str = "none"
    """none, before or after the activation, in every hidden layer."""
    momentum: float = 0.1
    """Weight of the newest batch in the running statistics, as in torch."""
    eps: float = 1e-5
    """Added to the variance under the root; 0 is computed as the smallest normal number, so that a unit that never
    varies gives 0 and not NaN."""
    affine: bool = True
    """Whether scale and shift are trained; they stay 1 and 0 otherwise."""
    initial_variance: float = 1.0
    """Running variance before the first step: 1 in torch and Keras, 0 in some textbooks."""
    unbiased: bool = True
    """Whether batches count in the running variance with B - 1 (torch) or with B (Keras, textbooks)."""
    noise: float = 0.0
    """Noise after BN in training: each output is scaled and shifted at random, with moments of their own for every unit
    and step; 0.5 is Santurkar et al. 2018 (see `nets.chance.bn_noise`)."""

    def __post_init__(self) -> None:
        check_choice("bn.placement", self.placement, PLACEMENTS)
        check(0 < self.momentum <= 1, "bn.momentum", self.momentum, "in (0, 1]")
        for name in ("eps", "initial_variance", "noise"):
            value = getattr(self, name)
            check(math.isfinite(value) and value >= 0, f"bn.{name}", value, "a finite number >= 0")


@dataclass
class DataConfig:
    name: str = "digits"
    """One of DATASETS."""
    root: str = "data"
    """Folder of the IDX files (`<root>/MNIST/raw`, `<root>/FashionMNIST/raw`); digits needs none."""
    subset: int | None = None
    """Training samples kept after validation is held out; all when null."""
    validation: int = 287
    """Samples held out of the pool, stratified; they rank, the test split only reports."""
    seed: int | None = None
    """Seed of split, subset and batch order; the run's seed when null."""
    draw: str = "stratified"
    """How the subset is drawn: stratified; first takes the first samples of the files in their order, whatever the
    seed, and validation from what follows."""
    test: int | None = None
    """Test samples kept, drawn stratified; all when null."""
    binary: bool = False
    """Whether pixels above one half become 1 and all others 0."""

    def __post_init__(self) -> None:
        check_choice("data.name", self.name, tuple(DATASETS))
        pool = DATASETS[self.name].pool
        says = f"at least 10 and less than the {pool} samples of the {self.name} training pool"
        check(10 <= self.validation < pool, "data.validation", self.validation, says)
        left = pool - self.validation
        if self.subset is not None:
            says = f"between 10 and the {left} samples that data.validation={self.validation} leaves"
            check(10 <= self.subset <= left, "data.subset", self.subset, says)
        if self.test is not None:
            most = self.facts.test
            check(10 <= self.test <= most, "data.test", self.test, f"between 10 and the {most} samples there are")
        check_choice("data.draw", self.draw, DRAWS)
        check(self.draw != "first" or self.subset is not None, "data.draw", self.draw, "given with a data.subset")
        if self.seed is not None:
            check(0 <= self.seed < 2**31, "data.seed", self.seed, "between 0 and 2147483647")

    @property
    def facts(self) -> DatasetFacts:
        return DATASETS[self.name]

    @property
    def train_size(self) -> int:
        return self.subset or self.facts.pool - self.validation

    @property
    def test_size(self) -> int:
        return self.test or self.facts.test


@dataclass
class ModelConfig:
    hidden: list[int] = field(default_factory=lambda: [32, 32])
    """Units of each hidden layer, from the input on."""
    dropout: float = 0.0
    """Probability of dropping a unit of a hidden layer's output while training."""
    dropout_scaling: str = "train"
    """Where dropout is made up for: in training (kept outputs divided by 1 - dropout), or at test (all outputs
    multiplied by it, as in Srivastava et al. 2014)."""
    depth: int | None = None
    """Times `hidden` is repeated: [100] with depth 50 is 50 layers of 100 units; once when null."""
    bias: bool = True
    """Whether the linear layers have biases."""

    def __post_init__(self) -> None:
        ok = len(self.hidden) > 0 and all(h >= 1 for h in self.hidden)
        check(ok, "model.hidden", list(self.hidden), "a non-empty list of sizes >= 1, such as [32,32]")
        check(self.depth is None or self.depth >= 1, "model.depth", self.depth, ">= 1 or null")
        check(0 <= self.dropout < 1, "model.dropout", self.dropout, "in [0, 1)")
        check_choice("model.dropout_scaling", self.dropout_scaling, SCALINGS)

    @property
    def units(self) -> list[int]:
        """Units of every hidden layer."""
        return list(self.hidden) * (self.depth or 1)


@dataclass
class OptimizerConfig:
    name: str = "sgd"
    """sgd, momentum, or adam (betas .9, .999, eps 1e-8)."""
    momentum: float = 0.9
    """Used by optimizer=momentum only."""
    weight_decay: float = 0.0
    """L2 added to the gradient of every parameter, as torch.optim does."""

    def __post_init__(self) -> None:
        check_choice("optimizer.name", self.name, tuple(OPTIMIZERS))
        check(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "in [0, 1)")
        ok = math.isfinite(self.weight_decay) and self.weight_decay >= 0
        check(ok, "optimizer.weight_decay", self.weight_decay, "a finite number >= 0")
