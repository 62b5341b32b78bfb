"""What a run is: typed plain dataclasses with range checks, in nothing but the standard library."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from bnsweep.checks import check, check_choice
from bnsweep.datasets import DATASETS, DatasetFacts

ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "identity")
INITS = ("normal", "xavier", "he", "lecun", "orthogonal")
DISTRIBUTIONS = ("normal", "uniform")
SCHEDULES = ("constant", "cosine", "warmup")
PLACEMENTS = ("none", "before", "after")
OPTIMIZERS = ("sgd", "momentum", "adam")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "float64")


@dataclass
class ActivationConfig:
    name: str = "relu"
    """One of ACTIVATIONS; applied after each hidden layer."""

    def __post_init__(self) -> None:
        check_choice("activation.name", self.name, ACTIVATIONS)


@dataclass
class InitConfig:
    name: str = "xavier"
    """One of INITS; how wide the weights start. Biases start at zero."""
    distribution: str = "normal"
    """normal or uniform, of the same standard deviation; orthogonal takes normal."""
    std: float | None = None
    """Standard deviation of init=normal; the other inits derive theirs from the layer's size and take none."""

    def __post_init__(self) -> None:
        check_choice("init.name", self.name, INITS)
        check_choice("init.distribution", self.distribution, DISTRIBUTIONS)
        if self.name == "orthogonal":
            check(self.distribution == "normal", "init.distribution", self.distribution, "normal with init=orthogonal")
        if self.name == "normal":
            ok = self.std is not None and math.isfinite(self.std) and self.std >= 0
            check(ok, "init.std", self.std, "a finite number >= 0 with init=normal")
        else:
            says = f"left out with init={self.name}, which derives it from the layer's size (init=normal takes one)"
            check(self.std is None, "init.std", self.std, says)


@dataclass
class LrConfig:
    value: float = 0.1
    """Peak learning rate."""
    schedule: str = "constant"
    """constant; cosine (to 0 over the training); warmup (linear over the first part, then constant)."""
    warmup: float = 0.1
    """Share of all steps spent warming up (schedule=warmup)."""

    def __post_init__(self) -> None:
        check(math.isfinite(self.value) and self.value > 0, "lr.value", self.value, "a finite number > 0")
        check_choice("lr.schedule", self.schedule, SCHEDULES)
        check(0 < self.warmup <= 1, "lr.warmup", self.warmup, "in (0, 1]")

    def scale(self, step: int, total: int) -> float:
        """Factor on `value` at 0-based `step` of `total`."""
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * step / total))
        if self.schedule == "warmup":
            return min(1.0, (step + 1) / max(1, round(self.warmup * total)))
        return 1.0


@dataclass
class BnConfig:
    placement: str = "none"
    """none, before or after the activation, in every hidden layer."""
    momentum: float = 0.1
    """Weight of the newest batch in the running statistics, as in torch."""
    eps: float = 1e-5
    """Added to the variance under the root."""
    affine: bool = True
    """Whether scale and shift are trained; they stay 1 and 0 otherwise."""

    def __post_init__(self) -> None:
        check_choice("bn.placement", self.placement, PLACEMENTS)
        check(0 < self.momentum <= 1, "bn.momentum", self.momentum, "in (0, 1]")
        check(
            math.isfinite(self.eps) and self.eps > 0, "bn.eps", self.eps, "a finite number > 0 (1e-14 for almost none)"
        )


@dataclass
class DataConfig:
    name: str = "digits"
    """One of DATASETS."""
    root: str = "data"
    """Folder of the IDX files (`<root>/MNIST/raw`, `<root>/FashionMNIST/raw`); digits needs none."""
    subset: int | None = None
    """Training samples kept, drawn stratified after validation is held out; all when null."""
    validation: int = 287
    """Samples held out of the pool, stratified; they rank, the test split only reports."""
    seed: int | None = None
    """Seed of split, subset and batch order; the run's seed when null."""

    def __post_init__(self) -> None:
        check_choice("data.name", self.name, tuple(DATASETS))
        pool = DATASETS[self.name].pool
        says = f"at least 10 and less than the {pool} samples of the {self.name} training pool"
        check(10 <= self.validation < pool, "data.validation", self.validation, says)
        left = pool - self.validation
        if self.subset is not None:
            says = f"between 10 and the {left} samples that data.validation={self.validation} leaves"
            check(10 <= self.subset <= left, "data.subset", self.subset, says)
        if self.seed is not None:
            check(0 <= self.seed < 2**31, "data.seed", self.seed, "between 0 and 2147483647")

    @property
    def facts(self) -> DatasetFacts:
        return DATASETS[self.name]

    @property
    def train_size(self) -> int:
        return self.subset or self.facts.pool - self.validation


@dataclass
class ModelConfig:
    hidden: list[int] = field(default_factory=lambda: [32, 32])
    """Units of each hidden layer, from the input on."""
    dropout: float = 0.0
    """Probability of dropping a unit of a hidden layer's output while training."""

    def __post_init__(self) -> None:
        ok = len(self.hidden) > 0 and all(h >= 1 for h in self.hidden)
        check(ok, "model.hidden", list(self.hidden), "a non-empty list of sizes >= 1, such as [32,32]")
        check(0 <= self.dropout < 1, "model.dropout", self.dropout, "in [0, 1)")


@dataclass
class OptimizerConfig:
    name: str = "sgd"
    """sgd, momentum, or adam (betas .9, .999, eps 1e-8)."""
    momentum: float = 0.9
    """Used by optimizer=momentum only."""
    weight_decay: float = 0.0
    """L2 added to the gradient of every parameter, as torch.optim does."""

    def __post_init__(self) -> None:
        check_choice("optimizer.name", self.name, OPTIMIZERS)
        check(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "in [0, 1)")
        ok = math.isfinite(self.weight_decay) and self.weight_decay >= 0
        check(ok, "optimizer.weight_decay", self.weight_decay, "a finite number >= 0")


@dataclass
class TrainConfig:
    epochs: int = 20
    """Passes over the training samples."""
    batch_size: int = 64
    """Samples a step; the last batch of an epoch may be smaller."""
    evaluate_every: int = 1
    """Epochs between evaluations; the start and the end are always evaluated."""
    tau: float = 0.9
    """Validation accuracy that counts as learned, for steps-to-tau."""
    device: str = "auto"
    """auto (cuda where there is one), cpu or cuda."""
    dtype: str = "float32"
    """float32 or float64, for parameters and arithmetic."""

    def __post_init__(self) -> None:
        check(self.epochs >= 1, "train.epochs", self.epochs, ">= 1")
        check(self.batch_size >= 1, "train.batch_size", self.batch_size, ">= 1")
        check(self.evaluate_every >= 1, "train.evaluate_every", self.evaluate_every, ">= 1")
        check(0 < self.tau <= 1, "train.tau", self.tau, "in (0, 1]")
        check_choice("train.device", self.device, DEVICES)
        check_choice("train.dtype", self.dtype, DTYPES)


@dataclass
class TrackingConfig:
    uri: str | None = None
    """MLflow tracking URI; null: `mlflow.db` (sqlite) in the working directory, by absolute path."""
    experiment: str = "bnsweep"
    """MLflow experiment; runs are resumed within one."""

    def __post_init__(self) -> None:
        check(self.experiment.strip() != "", "tracking.experiment", repr(self.experiment), "a name")


@dataclass
class SweepConfig:
    id: str = "single"
    """Names the sweep in MLflow and the report; the default is its start time."""
    rerun: bool = False
    """Train again what stands finished or diverged."""
    dry_run: bool = False
    """Print the plan and train nothing."""
    max_stack: int | None = None
    """Most runs trained as one; null: what memory and cache suggest."""
    report: str | None = "report"
    """Folder the report is written to when a multirun ends; null: none."""
    save_models: bool = False
    """Keep each trained network as `model.safetensors` beside its run's artifacts."""

    def __post_init__(self) -> None:
        ok = re.fullmatch(r"(?!latest$)[A-Za-z0-9][\w.-]*", self.id) is not None
        check(ok, "sweep.id", self.id, "letters, digits, '_', '-' and '.', a letter or digit first, and not latest")
        check(self.max_stack is None or self.max_stack >= 1, "sweep.max_stack", self.max_stack, ">= 1 or null")


@dataclass
class RunConfig:
    """One run. Every group is a folder of `conf/`."""

    activation: ActivationConfig = field(default_factory=ActivationConfig)
    init: InitConfig = field(default_factory=InitConfig)
    lr: LrConfig = field(default_factory=LrConfig)
    bn: BnConfig = field(default_factory=BnConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    seed: int = 0
    """The bundle all arms of a replicate share: init's normals, dropout; unless data.seed is set, split and order."""

    def __post_init__(self) -> None:
        check(0 <= self.seed < 2**31, "seed", self.seed, "between 0 and 2147483647")
        if self.bn.placement != "none":
            last = self.data.train_size % self.train.batch_size
            says = "such that no batch holds a single sample: BatchNorm in training needs two"
            says += f" ({self.data.train_size} training samples leave a last batch of {last})" if last == 1 else ""
            check(self.train.batch_size > 1 and last != 1, "train.batch_size", self.train.batch_size, says)

    @property
    def data_seed(self) -> int:
        return self.seed if self.data.seed is None else self.data.seed

    @property
    def total_steps(self) -> int:
        return self.train.epochs * math.ceil(self.data.train_size / self.train.batch_size)

    @property
    def sizes(self) -> list[int]:
        return [self.data.facts.features, *self.model.hidden, self.data.facts.classes]
