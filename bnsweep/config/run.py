"""What a run is: all of its groups, and what follows from them, in nothing but the standard library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.catalogue.inits import INITS
from bnsweep.catalogue.norms import BATCH, PLACED, level
from bnsweep.catalogue.own import is_own
from bnsweep.catalogue.tasks import CLASSIFICATION, TASKS, Task
from bnsweep.config.checks import SEED, TEXT, check, or_null
from bnsweep.config.fields import Checked, Role, setting
from bnsweep.config.groups import (
    ActivationConfig,
    BnConfig,
    DataConfig,
    InitConfig,
    LrConfig,
    OptimizerConfig,
    ProbesConfig,
    TrainConfig,
)
from bnsweep.config.network import ModelConfig, NetworkFacts, SkipConfig, check_own_network
from bnsweep.config.norm import NormConfig
from bnsweep.config.sweep import SweepConfig

SPARSE = 20
"""Samples trained for each that light probes look at: what keeps their cost to a few per cent of a longer training."""

PROBED_POSITIONS, FEWEST_IMAGES = 100_000, 64
"""Positions of the images of a probe batch, each of which counts like a sample: about so many, of so many images."""

PROBED_NUMBERS = 10**7
"""Numbers that a network of the user's holds of a probe batch, about."""

NAME_LENGTH = 256
"""Of an experiment; sqlite takes longer ones, database servers do not."""

MOST_EVALUATIONS = 100_000
"""Of a run. Each is a row of every metric in MLflow, and stays in memory until the run is logged."""

MOST_STEPS = 10**8
"""Of a run: half a day of the smallest network. A schedule is computed for all of them beforehand."""

MOST_WEIGHTS = 10**10
"""Of a network: 40 GB in float32, and twice as much again to train them."""


@dataclass(frozen=True)
class ExperimentConfig(Checked, group="experiment"):
    """What a named experiment is for and what it should show; nothing here changes a run."""

    name: str = setting("")
    purpose: str = setting("")
    source: str = setting("")
    """Paper or book, with page or section, and how its numbers are known."""
    heavy: bool = setting(False)
    """Whether the full form wants a GPU."""
    quick: tuple[str, ...] = setting(())
    """Overrides that make its quick form."""
    notes: str = setting("")
    """What differs from the source, and why a number is outside."""
    expect: tuple[Any, ...] = setting(())
    """Expectations, in the language of `bnsweep.experiments.expect`."""


@dataclass(frozen=True)
class TrackingConfig(Checked, group="tracking"):
    uri: str | None = setting(None, or_null(TEXT))
    """MLflow tracking URI; null: MLFLOW_TRACKING_URI where that is set, else `mlflow.db` (sqlite) in the working
    directory, by absolute path. A password or token in it has to come from an environment variable."""
    experiment: str = setting("bnsweep")
    """MLflow experiment; runs are resumed within one. For a command, MLFLOW_EXPERIMENT_NAME gives the default."""

    def check_together(self) -> None:
        check(TEXT.holds(self.experiment), "tracking.experiment", repr(self.experiment), f"a name, {TEXT.says}")
        shown = f"{self.experiment[:40]}… ({len(self.experiment)} characters)"
        says = f"a name of at most {NAME_LENGTH} characters, which is what MLflow's tables hold"
        check(len(self.experiment) <= NAME_LENGTH, "tracking.experiment", shown, says)


@dataclass(frozen=True)
class RunConfig(Checked):
    """One run. Every group is a folder of `conf/`; the role of a group that is marked is that of all its settings."""

    activation: ActivationConfig = setting(ActivationConfig)
    init: InitConfig = setting(InitConfig)
    lr: LrConfig = setting(LrConfig)
    bn: BnConfig = setting(BnConfig)
    norm: NormConfig = setting(NormConfig)
    skip: SkipConfig = setting(SkipConfig)
    data: DataConfig = setting(DataConfig)
    model: ModelConfig = setting(ModelConfig)
    optimizer: OptimizerConfig = setting(OptimizerConfig)
    train: TrainConfig = setting(TrainConfig)
    tracking: TrackingConfig = setting(TrackingConfig, role=Role.OUTSIDE)
    sweep: SweepConfig = setting(SweepConfig, role=Role.OUTSIDE)
    probes: ProbesConfig = setting(ProbesConfig)
    experiment: ExperimentConfig = setting(ExperimentConfig, role=Role.OUTSIDE)
    seed: int = setting(0, SEED, role=Role.FREE)
    """The bundle all arms of a replicate share: init's normals, dropout; unless data.seed is set, split and order. Of a
    sweep, `auto` adds seeds until the claims of its report are decided."""

    def check_together(self) -> None:
        if self.model.is_own:
            check_own_network(self)
        else:
            self._check_skip()
            self._check_hidden()
        self._check_weights()
        ok = self.train.label_smoothing == 0 or self.task is CLASSIFICATION
        check(ok, "train.label_smoothing", self.train.label_smoothing, f"0 with data.task={self.task.name}: no classes")
        self._check_norm()
        if self.data.known:
            self._check_image()
            self._check_augmentation()
            self._check_batches()
            self._check_steps()

    def _check_skip(self) -> None:
        model, ok = self.model, self.skip.name == "off" or self.model.family != "conv"
        check(ok, "skip", self.skip.name, "off with model.family=conv, which has no residual blocks (resnet has)")
        if self.skip.name == "on" and model.family == "mlp":
            check(
                model.layers > 1,
                "skip",
                "on",
                f"off with model.hidden={list(model.hidden)}: a block is of two hidden layers",
            )
            says = f"off where hidden layers differ in size: model.hidden={list(model.hidden)}"
            check(len(set(model.hidden)) == 1, "skip", "on", says)
        ok = self.skip.name == "on" or not INITS[self.init.name].of_branches
        check(ok, "skip", self.skip.name, f"on with init={self.init.name}, which starts residual branches at 0")
        given = self.norm.zero_init_residual and not self.bn.affine
        check(not given, "norm.zero_init_residual", True, "false with bn.affine=false, where the scale of 0 would stay")

    def _check_hidden(self) -> None:
        """What stands in hidden layers is left out of a network that has none."""
        if not self.model.layers:
            says = "with model.hidden=[], a linear map without hidden layers"
            check(self.placement == "none", "bn.placement", self.bn.placement, f"none {says}")
            check(self.model.dropout == 0, "model.dropout", self.model.dropout, f"0 {says}")
            check(not self.weight_norm, "norm", self.norm.name, f"none {says}")

    def _check_image(self) -> None:
        """A convolutional network needs images or signals."""
        family, facts = self.model.family, self.data.facts
        says = f"mlp: data={self.data.name} has rows of {facts.features} numbers, and no images or signals"
        check(not self.model.is_convolutional or bool(facts.shape), "model.family", family, says)

    def _check_augmentation(self) -> None:
        data, shape = self.data, self.data.facts.shape
        says = f"with data={data.name}: rows of {data.facts.features} numbers are no images or signals"
        check(data.crop == 0 or bool(shape), "data.crop", data.crop, f"0 {says}")
        check(not data.flip or bool(shape), "data.flip", data.flip, f"false {says}")
        if shape:
            _, height, width = self.image
            side = width if height == 1 else min(height, width)
            check(data.crop < side, "data.crop", data.crop, f"less than the {side} pixels of a side")

    def _check_weights(self) -> None:
        model = self.model
        if not model.is_convolutional:
            key, sizes, window = "model.hidden", self.sizes if self.data.known else model.units, 1
        else:
            key, sizes, window = "model.channels", model.units, model.kernel**2
        weights = window * sum(n_in * n_out for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True))
        says = f"smaller: the network would have {weights} weights, and {MOST_WEIGHTS} are the most"
        check(weights <= MOST_WEIGHTS, key, list(getattr(model, key.partition(".")[2])), says)

    def _check_steps(self) -> None:
        train, total = self.train, self.total_steps
        key, value = ("train.epochs", train.epochs) if train.steps is None else ("train.steps", train.steps)
        check(total <= MOST_STEPS, key, value, f"less: it comes to {total} steps, and {MOST_STEPS} are the most")
        key, every = "train.evaluate_every", train.evaluate_every
        if train.evaluate_steps is not None:
            key, every = "train.evaluate_steps", train.evaluate_steps
        says = f"larger: {total} steps would be evaluated {self.evaluation_count} times"
        check(self.evaluation_count <= MOST_EVALUATIONS, key, every, f"{says}, and {MOST_EVALUATIONS} are the most")

    def _check_norm(self) -> None:
        kinds = self.norm.name == BATCH or self.norm.name not in PLACED
        says = "none, batch or weight with bn=none (bn=before and bn=after say where it stands)"
        check(kinds or self.bn.placement != "none", "norm", self.norm.name, says)
        if self.placement != "none" and not self.model.is_own:
            if self.model.family == "mlp":
                self.norm.check_fits(self.model.units, positions=1)
            elif self.data.known and self.data.facts.shape:
                self.norm.check_fits(self.model.units, self.model.positions(*self.image[1:]))
            self._check_head()
            says = f"0 with norm={self.norm.name}: it is noise behind BatchNorm (norm=batch)"
            check(self.batch_norm or self.bn.noise == 0, "bn.noise", self.bn.noise, says)
        if self.weight_norm:
            says = "none or another kind with init={}, where weights that start at 0 have no direction"
            start = "fixup" if INITS[self.init.name].of_branches else "normal init.std=0" if self.init.std == 0 else ""
            check(not start, "norm", self.norm.name, says.format(start))

    def _check_head(self) -> None:
        """The mean over the positions of what InstanceNorm gives is its shift, whatever the image."""
        last = self.placement == "after" or ACTIVATIONS[self.activation.name].linear
        blind = self.norm.name == "instance" and last and self.model.head == "average"
        says = "another kind with model.head=average (or model.head=flat, or bn=before with an activation that is not"
        says += " linear): the mean over the positions of what it gives is the same for every image"
        check(not blind, "norm", self.norm.name, says)

    def _check_batches(self) -> None:
        if self.batch_norm:
            last = 0 if self.train.replacement else self.data.train_size % self.train.batch_size
            says = "such that no batch holds a single sample: BatchNorm in training needs two"
            says += f" ({self.data.train_size} training samples leave a last batch of {last})" if last == 1 else ""
            check(self.train.batch_size > 1 and last != 1, "train.batch_size", self.train.batch_size, says)

    def with_facts(self, facts: DatasetFacts) -> RunConfig:
        """The same run, which knows what was read; ConfigError where a setting does not fit the data."""
        return replace(self, data=self.data.with_facts(facts))

    def with_network(self, facts: NetworkFacts) -> RunConfig:
        """The same run, which knows the facts of the user's network; ConfigError where a setting does not fit it."""
        return replace(self, model=self.model.with_network(facts))

    @property
    def own_code(self) -> dict[str, str]:
        """Group -> dotted path of what the user's code gives there."""
        named = {group: getattr(self, group).name for group in ("activation", "init")}
        found = {group: name for group, name in named.items() if is_own(name)}
        return found | ({"model": self.model.target} if self.model.target else {})

    def with_sources(self, digests: Mapping[str, str | None]) -> RunConfig:
        """The same run, which knows the digest of the user's code in each of these groups."""
        return replace(self, **{group: replace(getattr(self, group), source=d) for group, d in digests.items()})

    @property
    def placement(self) -> str:
        """Where a normalisation of any kind stands: none, before or after the activation."""
        return self.bn.placement if self.norm.name in PLACED else "none"

    @property
    def normalisation(self) -> str:
        """Kind and place as one level of the factor `bn`: none, before and after of BN, "group before", …"""
        return level(self.norm.name, self.placement)

    @property
    def batch_norm(self) -> bool:
        """Whether it has BN, the one kind with running statistics."""
        if self.model.is_own:
            return self.model.is_tried and self.model.network.batch_norm
        return self.placement != "none" and self.norm.name == BATCH

    @property
    def weight_norm(self) -> bool:
        """Whether the weights of its hidden layers are normalised."""
        return self.norm.name == "weight"

    @property
    def has_scalars(self) -> bool:
        """Whether it has Fixup's scalars, which are for networks without normalisation."""
        return self.init.scalars and self.normalisation == "none"

    @property
    def data_seed(self) -> int:
        return self.seed if self.data.seed is None else self.data.seed

    @property
    def task(self) -> Task:
        return TASKS[self.data.task]

    @property
    def tau(self) -> float:
        """Validation score that counts as learned."""
        return self.task.tau if self.train.tau is None else self.train.tau

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
    def evaluation_count(self) -> int:
        """How many `evaluations` there are, without a list of them."""
        every = self.train.evaluate_steps or self.train.evaluate_every * self.steps_per_epoch
        return 1 - (-self.total_steps // every)

    @property
    def evaluations(self) -> list[int]:
        """Steps after which the run is evaluated, from 0 for the start to the last."""
        total, every = self.total_steps, self.train.evaluate_every * self.steps_per_epoch
        if self.train.evaluate_steps is not None:
            return sorted({0, *range(total, 0, -self.train.evaluate_steps)})
        return sorted({*range(0, total, every), total})

    @property
    def probe_samples(self) -> int:
        """Size of the probe batch."""
        most = self.probes.samples
        if self.model.is_own:
            most = min(most, max(FEWEST_IMAGES, PROBED_NUMBERS // max(1, self.model.network.held)))
        if self.model.is_convolutional:
            _, height, width = self.image
            most = min(most, max(FEWEST_IMAGES, PROBED_POSITIONS // (height * width)))
        return min(most, self.data.train_size)

    @property
    def probed(self) -> list[int]:
        """Those evaluations at which the probe batch is looked at, too."""
        steps, probes = self.evaluations, self.probes
        if probes.name == "off" or not self.model.layers:
            return []
        if probes.every is not None or probes.name == "full":
            return sorted({*steps[:: probes.every or 1], steps[-1]})
        apart = SPARSE * self.probe_samples / self.train.batch_size
        found = [0]
        for step in steps:
            if min(step - found[-1], steps[-1] - step) >= apart:
                found.append(step)
        return sorted({*found, steps[-1]})

    @property
    def augmented(self) -> bool:
        """Whether images are changed at random in training."""
        return self.data.crop > 0 or self.data.flip

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of a sample; a signal has height 1."""
        shape = self.data.facts.shape
        channels, height, width = (*[1] * (3 - len(shape)), *shape)
        return channels, height, width

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """What a network of the user's is given for each sample: (channels, height, width) of an image, (channels,
        length) of a signal, numbers of a row."""
        if not self.data.facts.shape:
            return (self.data.facts.features,)
        channels, height, width = self.image
        return (channels, width) if height == 1 else (channels, height, width)

    @property
    def sizes(self) -> list[int]:
        """Inputs of each linear map of an mlp, and its outputs."""
        return [self.data.facts.features, *self.model.units, self.data.facts.outputs]
