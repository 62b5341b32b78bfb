"""The groups that say what network is trained on what, how it is updated and what is read off it."""

from __future__ import annotations

import json
import math
from copy import copy
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.catalogue.datasets import DATASETS, MISSING, DatasetFacts
from bnsweep.catalogue.inits import INITS
from bnsweep.catalogue.norms import PLACEMENTS
from bnsweep.catalogue.optimizers import OPTIMIZERS
from bnsweep.catalogue.own import is_own
from bnsweep.catalogue.schedules import SCHEDULES
from bnsweep.catalogue.tasks import TASKS
from bnsweep.config.checks import (
    DIGEST,
    LESS_THAN_ALL,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SHARE,
    TEXT,
    OneOf,
    Rule,
    at_least,
    check,
    one_of_or_own,
    or_null,
)
from bnsweep.config.fields import Checked, Role, said_elsewhere, setting

if TYPE_CHECKING:
    from bnsweep.config.run import RunConfig

DISTRIBUTIONS = ("normal", "uniform")
DRAWS = ("stratified", "first")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "float64")
PROBES = ("off", "light", "full")
DECAYED = ("all", "weights")
COLOURS = ("grey", "colour")
LARGEST_SIDE = 4096
"""Pixels of an image's side."""
IMAGE_SIZE = Rule(
    lambda size: len(size) in (1, 2) and all(s in range(1, LARGEST_SIDE + 1) for s in size),
    f"a list of height and width, from 1 to {LARGEST_SIDE}, such as [28,28]",
)
MILESTONES = Rule(
    lambda shares: len(shares) > 0 and all(0 < share < 1 for share in shares) and list(shares) == sorted(set(shares)),
    "a list of growing shares between 0 and 1, such as [0.5,0.75]",
)
VALIDATION_SHARE = 0.2
"""Of the pool, where no number is given."""


@dataclass(frozen=True)
class ActivationConfig(Checked, group="activation"):
    name: str = setting("relu", one_of_or_own(ACTIVATIONS), role=Role.FREE, names=True)
    """One of ACTIVATIONS, or a function of yours, module:function, found from where the command was started: it takes a
    tensor and gives one, element by element. Applied after each hidden layer."""
    source: str | None = setting(None, or_null(DIGEST), role=Role.FREE, matters=lambda run: is_own(run.activation.name))
    """Digest of the text of your function's module, filled in; a change of the text makes another run."""


@dataclass(frozen=True)
class InitConfig(Checked, group="init"):
    name: str = setting("xavier", one_of_or_own(INITS), role=Role.FREE, names=True)
    """One of INITS; how wide the weights start. Biases start at zero. lsuv needs data: it is orthogonal, then scaled
    layer by layer to outputs of variance 1 on the first training batch. Or a function of yours, module:function, found
    from where the command was started: it takes the shape of a layer's weights, (outputs, inputs) or, of a convolution,
    (outputs, inputs, height, width), and a torch.Generator, and gives them."""
    distribution: str = setting(
        "normal", OneOf(DISTRIBUTIONS), role=Role.FREE, matters=lambda run: INITS[run.init.name].has_distribution
    )
    """normal or uniform, of the same standard deviation; orthogonal takes normal."""
    std: float | None = setting(None, role=Role.FREE)
    """Standard deviation of init=normal; the other inits derive theirs from the layer's size and take none."""
    gain: float = setting(1.0, POSITIVE, role=Role.FREE)
    """Factor on the weights of the hidden layers, the output layer's apart."""
    scalars: bool = setting(False, role=Role.FREE, matters=lambda run: run.has_scalars)
    """Of init=fixup: whether networks without normalisation have the paper's scalars: a bias before each linear map,
    convolution and activation, and a multiplier at the end of each residual branch. The paper has no other biases
    (model.bias=false)."""
    source: str | None = setting(None, or_null(DIGEST), role=Role.FREE, matters=lambda run: is_own(run.init.name))
    """Digest of the text of your function's module, filled in; a change of the text makes another run."""

    def check_together(self) -> None:
        ok = not self.scalars or INITS[self.name].of_branches
        check(ok, "init.scalars", self.scalars, f"false with init={self.name} (they belong to init=fixup)")
        if INITS[self.name].orthogonal:
            check(
                self.distribution == "normal", "init.distribution", self.distribution, f"normal with init={self.name}"
            )
        if INITS[self.name].by_batch:
            check(self.gain == 1, "init.gain", self.gain, f"1 with init={self.name}, which scales the weights itself")
        if INITS[self.name].takes_std:
            ok = self.std is not None and NOT_NEGATIVE.holds(self.std)
            check(ok, "init.std", self.std, f"{NOT_NEGATIVE.says} with init=normal")
        else:
            says = f"left out with init={self.name}, which derives it from the layer's size (init=normal takes one)"
            check(self.std is None, "init.std", self.std, says)
        if is_own(self.name):
            says = f"normal with init={self.name}, which draws the weights itself"
            check(self.distribution == "normal", "init.distribution", self.distribution, says)


def in_steps(run: RunConfig) -> bool:
    return run.lr.schedule == "step"


@dataclass(frozen=True)
class LrConfig(Checked, group="lr"):
    value: float = setting(0.1, POSITIVE, role=Role.FREE)
    """Peak learning rate."""
    schedule: str = setting("constant", OneOf(SCHEDULES), role=Role.FREE)
    """constant; cosine (to 0 over the training); warmup (linear over the first part, then constant); step (times
    `factor` at each of the `milestones`)."""
    warmup: float = setting(0.1, SHARE, role=Role.FREE, matters=lambda run: run.lr.schedule == "warmup")
    """Share of all steps spent warming up (schedule=warmup)."""
    milestones: tuple[float, ...] = setting((0.5, 0.75), MILESTONES, role=Role.FREE, matters=in_steps)
    """Shares of all steps after which the rate is multiplied by `factor` (schedule=step)."""
    factor: float = setting(0.1, POSITIVE, role=Role.FREE, matters=in_steps)
    """What the rate is multiplied by at each of the `milestones` (schedule=step)."""
    per_sample: bool = setting(False, role=Role.FREE)
    """Whether `value` is the rate for each sample of a batch: the rate is then `value` times train.batch_size."""
    hidden: float = setting(1.0, POSITIVE, role=Role.FREE)
    """Factor on the rate of the hidden layers' weights; biases, BN and the output layer keep `value`."""

    def scale(self, step: int, total: int) -> float:
        """Factor on `value` at 0-based `step` of `total`."""
        return SCHEDULES[self.schedule](step, total, self)


def with_bn(run: RunConfig) -> bool:
    return run.batch_norm


def with_norm(run: RunConfig) -> bool:
    return run.placement != "none"


@dataclass(frozen=True)
class BnConfig(Checked, group="bn"):
    placement: str = setting("none", OneOf(PLACEMENTS), role=Role.FREE, names=True)
    """none, before or after the activation, in every hidden layer: where BN stands, or the normalisation that `norm`
    names."""
    momentum: float = setting(0.1, SHARE, role=Role.FREE, matters=with_bn)
    """Weight of the newest batch in the running statistics, as in torch."""
    eps: float = setting(1e-5, NOT_NEGATIVE, role=Role.FREE, matters=with_norm)
    """Of any normalisation: added to the variance under the root; 0 is computed as the smallest normal number, so that
    a unit that never varies gives 0 and not NaN."""
    affine: bool = setting(True, role=Role.FREE, matters=with_norm)
    """Of any normalisation: whether scale and shift are trained; they stay 1 and 0 otherwise."""
    initial_variance: float = setting(1.0, NOT_NEGATIVE, role=Role.FREE, matters=with_bn)
    """Running variance before the first step: 1 in torch and Keras, 0 in some textbooks."""
    unbiased: bool = setting(True, role=Role.FREE, matters=with_bn)
    """Whether batches count in the running variance with B - 1 (torch) or with B (Keras, textbooks)."""
    noise: float = setting(0.0, NOT_NEGATIVE, role=Role.FREE, matters=with_bn)
    """Noise after BN in training: each output is scaled and shifted at random, with moments of their own for every unit
    and step; 0.5 is Santurkar et al. 2018 (see `nets.chance.bn_noise`)."""


@dataclass(frozen=True)
class DataConfig(Checked, group="data"):
    name: str = setting("digits", OneOf(DATASETS), names=True)
    """One of DATASETS."""
    root: str = setting("data", TEXT, role=Role.PLACE)
    """Folder of the IDX files (`<root>/MNIST/raw`, `<root>/FashionMNIST/raw`, or itself), of CIFAR-10's, or of images
    in a folder a class; digits needs none."""
    subset: int | None = setting(None, matters=lambda run: not run.data.takes_all)
    """Training samples kept after validation is held out; all when null."""
    validation: int | None = setting(287, matters=said_elsewhere)
    """Samples held out of the pool, stratified; they rank, the test split only reports. A fifth of the pool when
    null."""
    seed: int | None = setting(
        None, Rule(lambda seed: seed is None or SEED.holds(seed), SEED.says), role=Role.FREE, matters=said_elsewhere
    )
    """Seed of split, subset and batch order; the run's seed when null."""
    draw: str = setting("stratified", OneOf(DRAWS))
    """How the subset is drawn: stratified; first takes the first samples of the files in their order, whatever the
    seed, and validation from what follows."""
    test: int | None = setting(None, matters=lambda run: run.data.test != run.data.facts.test)
    """Test samples kept, drawn stratified; all when null."""
    binary: bool = setting(False)
    """Whether pixels above one half become 1 and all others 0."""
    call: str | None = setting(None, or_null(TEXT))
    """`module:function` of data=callable, found from where the command was started. It takes nothing and gives (x, y)
    or (x_train, y_train, x_test, y_test), arrays or tensors: a row a sample, labels 0, 1, … Inputs are taken as they
    are, flattened, as float32. Of (x, y), each seed draws a fifth to test on."""
    kwargs: dict[str, Any] = setting(dict, role=Role.SOURCE)
    """Arguments of `call`, by name."""
    file: str | None = setting(None, or_null(TEXT), role=Role.SOURCE)
    """Of data=table and data=arrays, found from where the command was started."""
    target: str | None = setting(None, or_null(TEXT), role=Role.SOURCE)
    """Column of data=table that is to be predicted."""
    features: tuple[str, ...] | None = setting(None, role=Role.SOURCE)
    """Columns of data=table that are given to the network; all but target and group when null."""
    drop: tuple[str, ...] = setting((), role=Role.SOURCE)
    """Columns of data=table that are left out."""
    group: str | None = setting(None, or_null(TEXT), role=Role.SOURCE)
    """Column of data=table whose rows of one value stay together: all in training, in validation or in the test set."""
    size: tuple[int, ...] | None = setting(None, or_null(IMAGE_SIZE), role=Role.SOURCE)
    """Height and width that images of data=images are stretched to, [28] for both; null: that of the images, where all
    agree."""
    colour: str | None = setting(None, or_null(OneOf(COLOURS)), role=Role.SOURCE)
    """grey or colour, which images of data=images are brought to; null: colour where one of them has it."""
    missing: str = setting("refuse", OneOf(MISSING), role=Role.SOURCE)
    """What is done about missing values in data=table, one of MISSING."""
    task: str = setting("classification", OneOf(TASKS), matters=lambda run: run.data.task != "classification")
    """One of TASKS. A regression is trained on the squared error of a target that is shifted and scaled to mean 0 and
    variance 1 over the training samples, and scored by R²."""
    standardize: bool = setting(False, matters=lambda run: run.data.standardize)
    """Whether every number of a sample is shifted and scaled to mean 0 and standard deviation 1 over the training
    samples."""
    crop: int = setting(0, at_least(0), matters=lambda run: run.data.crop > 0)
    """Images of a training batch are padded with so many zeros on every side and cut back to their size, each at a
    place of its own in every step; signals are shifted. The data seed draws it; 4 is usual for CIFAR-10. Evaluation and
    probes see images as they are."""
    flip: bool = setting(False, matters=lambda run: run.data.flip)
    """Whether images of a training batch are mirrored, left to right, one in two in every step; drawn as `crop` is."""

    _read: ClassVar[DatasetFacts | None] = None
    """Facts of data whose facts were not known before it was read; no setting (see `with_facts`)."""

    def check_together(self) -> None:
        check(self.draw != "first" or self.subset is not None, "data.draw", self.draw, "given with a data.subset")
        self._check_taken()
        ok = not self.binary or self.missing != "mean"
        check(ok, "data.missing", self.missing, f"refuse or drop with data.binary={self.binary}")
        if self.name == "callable":
            ok = self.call is not None and all(self.call.partition(":"))
            check(ok, "data.call", self.call, "a function that gives the data, as module:function")
        if self.known:
            self._check_sizes()

    def _check_taken(self) -> None:
        """Settings that only some kinds of data take."""
        kind = DATASETS[self.name]
        for name in dict.fromkeys(name for row in DATASETS.values() for name in row.takes):
            value, key = getattr(self, name), f"data.{name}"
            takers = " or ".join(f"data={row.name}" for row in DATASETS.values() if name in row.takes)
            if name not in kind.takes:
                unset = value == DEFAULTS[name] or value in ((), {}, None)
                check(unset, key, value, f"left out with data={self.name} ({takers} takes it)")
            elif name in kind.needs:
                check(value is not None, key, value, f"given with data={self.name}")

    def _check_sizes(self) -> None:
        pool, test, source = self.facts.pool - self.facts.unused, self.facts.test, self.call or self.file or self.name
        says = f"at least 10 and less than the {pool} samples of the {source} training pool"
        check(10 <= self.validation_size < pool, "data.validation", self.validation_size, says)
        step = self.facts.step
        says = f"a multiple of the {step} samples of a group, none of which is divided"
        check(self.validation_size % step == 0, "data.validation", self.validation_size, says)
        ok = self.draw == "stratified" or not self.facts.groups
        check(ok, "data.draw", self.draw, "stratified where groups stay together")
        left = self._rest
        if self.subset is not None:
            says = f"between 10 and the {left} samples that data.validation={self.validation_size} leaves"
            check(10 <= self.subset <= left, "data.subset", self.subset, says)
        if self.test is not None:
            says = f"between 10 and the {test} samples there are"
            check(10 <= self.test <= test, "data.test", self.test, says)

    @property
    def known_by_reading(self) -> bool:
        """Whether the data must be read before their facts are known."""
        return DATASETS[self.name].facts is None

    @property
    def known(self) -> bool:
        """Whether the facts are there."""
        return self._read is not None or not self.known_by_reading

    @property
    def facts(self) -> DatasetFacts:
        """Sizes and classes of the data, once they are `known`."""
        found = self._read or DATASETS[self.name].facts
        assert found is not None, f"data={self.name} has no facts before it is read (RunConfig.with_facts)"
        return found

    def with_facts(self, facts: DatasetFacts) -> DataConfig:
        """The same settings with the facts of what was read; ConfigError where they do not fit. `replace` drops them,
        as other settings may be of other data."""
        bound = copy(self)
        object.__setattr__(bound, "_read", facts)
        bound.check_together()
        return bound

    @property
    def key(self) -> tuple[str, str]:
        """Equal for data that is read once: name, where it comes from and how it is read."""
        own = [getattr(self, name) for name in DATASETS[self.name].takes]
        return self.name, json.dumps([self.root, self.standardize, *own], default=str) if own else self.root

    @property
    def validation_size(self) -> int:
        if self.validation is not None:
            return self.validation
        step = self.facts.step
        return step * max(math.ceil(10 / step), round(VALIDATION_SHARE * self.facts.pool / step))

    @property
    def takes_all(self) -> bool:
        """Whether the subset is all that validation leaves."""
        return self.subset == self._rest and self.draw == "stratified"

    @property
    def train_size(self) -> int:
        return self.subset or self._rest

    @property
    def _rest(self) -> int:
        """Samples of the pool that are neither held out nor left out."""
        return self.facts.pool - self.facts.unused - self.validation_size

    @property
    def test_size(self) -> int:
        return self.test or self.facts.test


DEFAULTS: dict[str, Any] = {
    f.name: f.default_factory() if f.default_factory is not NO_DEFAULT else f.default for f in fields(DataConfig)
}
"""Of the settings of a DataConfig."""


@dataclass(frozen=True)
class OptimizerConfig(Checked, group="optimizer"):
    name: str = setting("sgd", OneOf(OPTIMIZERS), names=True)
    """sgd, momentum, or adam (betas .9, .999, eps 1e-8)."""
    momentum: float = setting(0.9, LESS_THAN_ALL, role=Role.FREE, matters=lambda run: run.optimizer.name == "momentum")
    """Used by optimizer=momentum only."""
    weight_decay: float = setting(0.0, NOT_NEGATIVE, role=Role.FREE)
    """L2 added to the gradient, as torch.optim does, of the parameters that `decayed` says."""
    decayed: str = setting(
        "all",
        OneOf(DECAYED),
        role=Role.FREE,
        matters=lambda run: run.optimizer.weight_decay != 0 and run.optimizer.decayed != "all",
    )
    """Which parameters weight_decay acts on: all, or weights, those of linear maps and convolutions: biases, and scales
    and shifts of normalisation, are then left as they are."""
    clip: float | None = setting(None, or_null(POSITIVE), role=Role.FREE)
    """Largest norm of a run's gradient, over all parameters that it trains: a longer one is scaled down to it, as
    torch.nn.utils.clip_grad_norm_ does, before weight_decay is added. Not at all when null. The probes' gradients are
    not clipped."""


@dataclass(frozen=True)
class TrainConfig(Checked, group="train"):
    epochs: int = setting(20, at_least(0), matters=lambda run: run.train.steps is None)
    """Passes over the training samples; 0 looks at the network as it starts and trains nothing."""
    steps: int | None = setting(None, or_null(at_least(1)))
    """Training steps in place of epochs."""
    batch_size: int = setting(64, at_least(1))
    """Samples a step; the last batch of an epoch may be smaller."""
    evaluate_every: int = setting(1, at_least(1), matters=lambda run: run.train.evaluate_steps is None)
    """Epochs between evaluations; the start and the end are always evaluated."""
    evaluate_steps: int | None = setting(None, or_null(at_least(1)))
    """Steps between evaluations, counted back from the end, in place of evaluate_every."""
    replacement: bool = setting(False)
    """Whether each batch is drawn from all training samples anew, with replacement; an epoch is as many steps."""
    tau: float | None = setting(None, or_null(SHARE), role=Role.FREE, matters=said_elsewhere)
    """Validation score that counts as learned, for steps-to-tau: an accuracy, or in a regression R². The task's own
    when null: an accuracy of 0.9, an R² of 0.3."""
    label_smoothing: float = setting(
        0.0, LESS_THAN_ALL, role=Role.FREE, matters=lambda run: run.train.label_smoothing != 0
    )
    """Share of a target that is spread over all classes in training, as in torch's cross_entropy. All gradients are
    those of training, the probes' too; losses are told without it, so that runs can be compared."""
    device: str = setting("auto", OneOf(DEVICES), role=Role.PLACE)
    """auto (cuda where there is one), cpu or cuda."""
    dtype: str = setting("float32", OneOf(DTYPES))
    """float32 or float64, for parameters and arithmetic."""


def with_probes(run: RunConfig) -> bool:
    return run.probes.name != "off"


@dataclass(frozen=True)
class ProbesConfig(Checked, group="probes"):
    name: str = setting("light", OneOf(PROBES), names=True)
    """off; light: one pass forward and back over the probe batch; full: everything, at many times that cost."""
    samples: int = setting(1000, at_least(2), matters=with_probes)
    """Size of the probe batch, training samples that stay the same (all where there are fewer). Convolutional networks
    take fewer of large images, whose positions count like samples: 100,000 positions, 64 images at the least."""
    every: int | None = setting(None, or_null(at_least(1)), matters=with_probes)
    """Evaluations between probes, the start and the end always among them; null: full at every evaluation, light only
    where `run.SPARSE` times as many samples have been trained since the last."""
