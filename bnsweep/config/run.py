"""What a run is: typed plain dataclasses with range checks, in nothing but the standard library."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from bnsweep.config.checks import check, check_choice
from bnsweep.config.groups import (
    DISTRIBUTIONS,
    DRAWS,
    PLACEMENTS,
    SCALINGS,
    ActivationConfig,
    BnConfig,
    DataConfig,
    InitConfig,
    LrConfig,
    ModelConfig,
    OptimizerConfig,
)

__all__ = [
    "DISTRIBUTIONS",
    "DRAWS",
    "PLACEMENTS",
    "SCALINGS",
    "ActivationConfig",
    "BnConfig",
    "DataConfig",
    "ExperimentConfig",
    "InitConfig",
    "LrConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ProbesConfig",
    "RunConfig",
    "SweepConfig",
    "TrackingConfig",
    "TrainConfig",
]

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "float64")
PROBES = ("off", "light", "full")

SPARSE = 20
"""Samples trained for each that light probes look at: what keeps their cost to a few per cent of a longer training."""


@dataclass
class TrainConfig:
    epochs: int = 20
    """Passes over the training samples; 0 looks at the network as it starts and trains nothing."""
    steps: int | None = None
    """Training steps in place of epochs."""
    batch_size: int = 64
    """Samples a step; the last batch of an epoch may be smaller."""
    evaluate_every: int = 1
    """Epochs between evaluations; the start and the end are always evaluated."""
    evaluate_steps: int | None = None
    """Steps between evaluations, counted back from the end, in place of evaluate_every."""
    replacement: bool = False
    """Whether each batch is drawn from all training samples anew, with replacement; an epoch is as many steps."""
    tau: float = 0.9
    """Validation accuracy that counts as learned, for steps-to-tau."""
    device: str = "auto"
    """auto (cuda where there is one), cpu or cuda."""
    dtype: str = "float32"
    """float32 or float64, for parameters and arithmetic."""

    def __post_init__(self) -> None:
        check(self.epochs >= 0, "train.epochs", self.epochs, ">= 0")
        for name in ("steps", "evaluate_steps"):
            value = getattr(self, name)
            check(value is None or value >= 1, f"train.{name}", value, ">= 1 or null")
        check(self.batch_size >= 1, "train.batch_size", self.batch_size, ">= 1")
        check(self.evaluate_every >= 1, "train.evaluate_every", self.evaluate_every, ">= 1")
        check(0 < self.tau <= 1, "train.tau", self.tau, "in (0, 1]")
        check_choice("train.device", self.device, DEVICES)
        check_choice("train.dtype", self.dtype, DTYPES)


@dataclass
class ProbesConfig:
    name: str = "light"
    """off; light: one pass forward and back over the probe batch; full: everything, at many times that cost."""
    samples: int = 1000
    """Size of the probe batch, training samples that stay the same (all where there are fewer)."""
    every: int | None = None
    """Evaluations between probes, the start and the end always among them; null: full at every evaluation, light only
    where SPARSE times as many samples have been trained since the last."""

    def __post_init__(self) -> None:
        check_choice("probes.name", self.name, PROBES)
        check(self.samples >= 2, "probes.samples", self.samples, ">= 2")
        check(self.every is None or self.every >= 1, "probes.every", self.every, ">= 1 or null")


@dataclass
class ExperimentConfig:
    """What a named experiment is for and what it should show; nothing here changes a run."""

    name: str = ""
    purpose: str = ""
    source: str = ""
    """Paper or book, with page or section, and how its numbers are known."""
    heavy: bool = False
    """Whether the full form wants a GPU."""
    quick: list[str] = field(default_factory=list)
    """Overrides that make its quick form."""
    notes: str = ""
    """What differs from the source, and why a number is outside."""
    expect: list[Any] = field(default_factory=list)
    """Expectations, in the language of `bnsweep.experiments.expect`."""


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
    probes: ProbesConfig = field(default_factory=ProbesConfig)
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    seed: int = 0
    """The bundle all arms of a replicate share: init's normals, dropout; unless data.seed is set, split and order."""

    def __post_init__(self) -> None:
        check(0 <= self.seed < 2**31, "seed", self.seed, "between 0 and 2147483647")
        if self.bn.placement != "none":
            last = 0 if self.train.replacement else self.data.train_size % self.train.batch_size
            says = "such that no batch holds a single sample: BatchNorm in training needs two"
            says += f" ({self.data.train_size} training samples leave a last batch of {last})" if last == 1 else ""
            check(self.train.batch_size > 1 and last != 1, "train.batch_size", self.train.batch_size, says)

    @property
    def data_seed(self) -> int:
        return self.seed if self.data.seed is None else self.data.seed

    @property
    def rate(self) -> float:
        """Peak learning rate of a step."""
        return self.lr.value * (self.train.batch_size if self.lr.per_sample else 1)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.data.train_size / self.train.batch_size)

    @property
    def total_steps(self) -> int:
        return self.train.epochs * self.steps_per_epoch if self.train.steps is None else self.train.steps

    @property
    def evaluations(self) -> list[int]:
        """Steps after which the run is evaluated, from 0 for the start to the last."""
        total, every = self.total_steps, self.train.evaluate_every * self.steps_per_epoch
        if self.train.evaluate_steps is not None:
            return sorted({0, *range(total, 0, -self.train.evaluate_steps)})
        return sorted({*range(0, total, every), total})

    @property
    def probed(self) -> list[int]:
        """Those evaluations at which the probe batch is looked at, too."""
        steps, probes = self.evaluations, self.probes
        if probes.name == "off":
            return []
        if probes.every is not None or probes.name == "full":
            return sorted({*steps[:: probes.every or 1], steps[-1]})
        apart = SPARSE * min(probes.samples, self.data.train_size) / self.train.batch_size
        found = [0]
        for step in steps:
            if min(step - found[-1], steps[-1] - step) >= apart:
                found.append(step)
        return sorted({*found, steps[-1]})

    @property
    def sizes(self) -> list[int]:
        return [self.data.facts.features, *self.model.units, self.data.facts.classes]
