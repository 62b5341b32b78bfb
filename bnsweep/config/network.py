"""What network a run trains."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bnsweep.catalogue.inits import INITS
from bnsweep.catalogue.own import is_own
from bnsweep.config.checks import DIGEST, LESS_THAN_ALL, OneOf, Rule, at_least, check, or_null
from bnsweep.config.fields import Checked, Role, said_elsewhere, setting

if TYPE_CHECKING:
    from bnsweep.config.run import RunConfig

SCALINGS = ("train", "test")
DROPOUTS = ("standard", "alpha")
FAMILIES = ("mlp", "conv", "resnet", "module")
POOLS = ("none", "max", "average")
HEADS = ("average", "flat")
MOST_LAYERS = 1000
"""Hidden layers of a run. Each is written by itself, has its own metrics, and takes its time before the first step."""

SIZES = Rule(
    lambda hidden: len(hidden) > 0 and all(h >= 1 for h in hidden), "a non-empty list of sizes >= 1, such as [32,32]"
)
HIDDEN = Rule(lambda hidden: all(h >= 1 for h in hidden), "a list of sizes >= 1, such as [32,32]; [] for none")

TARGET = Rule(is_own, "a class or function of yours that gives a torch module, as module:name")

SKIPS = ("off", "on")
SHORTCUTS = ("A", "B")


def is_convolutional(run: RunConfig) -> bool:
    return run.model.is_convolutional


def is_own_network(run: RunConfig) -> bool:
    return run.model.is_own


ActivationCalls = tuple[tuple[tuple[int, ...] | None, str], ...]
"""Of each call of an activation, in order: the shape of a sample there, None where what it sees is not of samples; and
its row of the catalogue or its name in torch."""


@dataclass(frozen=True)
class NetworkFacts:
    """What a trial of the user's network found."""

    takes: tuple[str, ...]
    """Of what is swept, the parts that the network is built from: activation, norm, init, sizes."""
    parameters: tuple[tuple[str, tuple[int, ...], bool], ...]
    """Name, shape, and whether a gradient reaches it."""
    calls: ActivationCalls
    unread: str
    """Why nothing is read of activations, and no calls are known then; empty where something is."""
    widest: int
    """Numbers of a sample in the largest tensor that is held."""
    held: int
    """Numbers that are kept for each sample from its way forward to its way back."""
    flops: int
    """Multiplications and additions of a sample's way forward and back."""
    batch_norm: bool
    """Whether it has a BN with running statistics."""
    chance: bool
    """Whether it draws random numbers in training."""
    convolves: bool
    """Whether it calls torch's conv2d."""
    attends: bool
    """Whether it calls torch's attention."""
    overwrites: bool
    """Whether it writes into what it is given."""
    leaves_out: bool
    """Whether a step may leave out parameters that another trains."""
    fixed: bool
    """Whether it starts with the same numbers whatever the seed."""
    alone: str
    """Why members are trained one by one; empty where they are stacked."""

    @property
    def activations(self) -> list[tuple[tuple[int, ...], str]]:
        """The calls that are read: shape of a sample, and row."""
        return [(shape, row) for shape, row in self.calls if shape is not None]


def is_projected(run: RunConfig) -> bool:
    """Without skips there are no shortcuts of either kind."""
    return run.skip.name == "on" and run.model.shortcut == "B"


@dataclass(frozen=True)
class SkipConfig(Checked, group="skip"):
    name: str = setting(
        "off",
        OneOf(SKIPS),
        role=Role.FREE,
        names=True,
        matters=lambda run: run.skip.name == "on" or is_convolutional(run),
    )
    """off, or on: what goes into a residual block is added to what comes out of it (He et al. 2016). Blocks are those
    of model=resnet, and in a fully connected network every two hidden layers from the second on."""


@dataclass(frozen=True)
class ModelConfig(Checked, group="model"):
    hidden: tuple[int, ...] = setting((32, 32), HIDDEN)
    """Units of each hidden layer of an mlp, from the input on; [] is a linear map: logistic regression."""
    dropout: float = setting(0.0, LESS_THAN_ALL, role=Role.FREE)
    """Probability of dropping a unit of a hidden layer's output while training."""
    dropout_scaling: str = setting("train", OneOf(SCALINGS), role=Role.FREE, matters=lambda run: run.model.dropout != 0)
    """Where dropout is made up for: in training (kept outputs divided by 1 - dropout), or at test (all outputs
    multiplied by it, as in Srivastava et al. 2014)."""
    dropout_kind: str = setting(
        "standard",
        OneOf(DROPOUTS),
        role=Role.FREE,
        matters=lambda run: run.model.dropout != 0 and run.model.dropout_kind != "standard",
    )
    """standard, or alpha: a dropped unit gives what SELU gives for -infinity, and all outputs are scaled and shifted
    such that mean 0 and variance 1 stay so (Klambauer et al. 2017; torch's AlphaDropout)."""
    depth: int | None = setting(None, or_null(at_least(1)), matters=said_elsewhere)
    """Times `hidden` is repeated: [100] with depth 50 is 50 layers of 100 units; once when null."""
    bias: bool = setting(True, role=Role.FREE)
    """Whether linear layers and convolutions have biases."""
    family: str = setting("mlp", OneOf(FAMILIES), matters=lambda run: run.model.family != "mlp")
    """mlp: the note's fully connected network; conv: convolutions with pooling between them; resnet: the CIFAR form of
    He et al. 2016; module: a torch module of yours, which `target` makes."""
    target: str | None = setting(None, or_null(TARGET), matters=is_own_network)
    """Of model=module: a class or function of yours, module:name, found from where the command was started, that gives
    a torch.nn.Module. It is given what it names of `activation` (gives an activation of the kind that is swept), `norm`
    (of units, gives the normalisation; its argument `place` says where it stands), `init` (of a module or a tensor,
    whose weights it draws) and `sizes` (model.hidden between inputs and outputs)."""
    kwargs: dict[str, Any] = setting(dict, matters=lambda run: bool(run.model.kwargs))
    """More arguments of `target`, by name."""
    source: str | None = setting(None, or_null(DIGEST), matters=is_own_network)
    """Digest of the text of your network's module, filled in; a change of the text makes another run."""
    channels: tuple[int, ...] = setting((16, 32), SIZES, matters=said_elsewhere)
    """Channels of the convolutions: the widths that the network has one after the other."""
    blocks: int = setting(1, at_least(1), matters=is_convolutional)
    """Convolutions (model.family=conv) or residual blocks (resnet) of each width."""
    kernel: int = setting(3, Rule(lambda size: size >= 1 and size % 2 == 1, "odd"), matters=is_convolutional)
    """Height and width of the kernels; images are padded such that stride 1 keeps their size."""
    stride: int = setting(1, at_least(1), matters=lambda run: run.model.family == "conv")
    """Of every convolution of model.family=conv."""
    pool: str = setting("max", OneOf(POOLS), matters=lambda run: run.model.family == "conv")
    """none, max or average of two by two positions, between the widths of model.family=conv."""
    head: str = setting("average", OneOf(HEADS), matters=is_convolutional)
    """What the last linear layer sees: average, the mean of each channel; or flat, all numbers."""
    preactivation: bool = setting(False, matters=lambda run: run.model.family == "resnet")
    """Whether normalisation and activation stand before the convolutions of model.family=resnet."""
    shortcut: str = setting("A", OneOf(SHORTCUTS), matters=is_projected)
    """What skip=on adds where a residual block of model.family=resnet changes the shape. A: its input at every second
    position, with zeros in the new channels; B: a convolution of one position, with the normalisation that stands
    before activations behind it (He et al. 2016, section 3.3)."""

    _network: ClassVar[NetworkFacts | None] = None
    """Facts of the user's network, once it was tried; no setting (see `with_network`)."""

    def check_together(self) -> None:
        says = "given with model=module, as module:name" if self.is_own else "left out (model=module takes it)"
        check((self.target is not None) == self.is_own, "model.target", self.target, says)
        check(self.is_own or not self.kwargs, "model.kwargs", self.kwargs, "left out (model=module takes them)")
        ok = self.dropout_kind == "standard" or self.dropout_scaling == "train"
        check(ok, "model.dropout_scaling", self.dropout_scaling, "train with model.dropout_kind=alpha")
        if self.shortcut == "B":
            says = "A with model.family={}: only the residual blocks of resnet change the shape of what is added"
            check(self.family == "resnet", "model.shortcut", "B", says.format(self.family))
            says = f"A with model.channels={list(self.channels)}: blocks of one width do not change the shape"
            check(len(self.channels) > 1, "model.shortcut", "B", says)
        key, value, of = (
            ("model.blocks", self.blocks, "channels")
            if self.is_convolutional
            else ("model.depth", self.depth, "hidden")
        )
        says = f"such that model.{of} {value or 1} times is at most {MOST_LAYERS} layers"
        check(self._count() <= MOST_LAYERS, key, value, says)

    def with_network(self, facts: NetworkFacts) -> ModelConfig:
        """The same settings with the facts of the user's network. `replace` drops them."""
        bound = copy(self)
        object.__setattr__(bound, "_network", facts)
        return bound

    @property
    def is_own(self) -> bool:
        """Whether it is a module of the user's."""
        return self.family == "module"

    @property
    def is_convolutional(self) -> bool:
        return self.family in ("conv", "resnet")

    @property
    def network(self) -> NetworkFacts:
        """Of the user's network, once it was tried."""
        assert self._network is not None, f"{self.target} was not tried (nets.module_facts.with_networks)"
        return self._network

    @property
    def is_tried(self) -> bool:
        """Whether the facts of the user's network are there."""
        return self._network is not None

    @property
    def layers(self) -> int:
        """Hidden layers; of the user's network the calls of activations."""
        if self.is_own:
            return len(self.network.activations)
        return self._count()

    def _count(self) -> int:
        """Of `units`, which may be too many to be listed."""
        if not self.is_convolutional:
            return len(self.hidden) * (self.depth or 1)
        each = len(self.channels) * self.blocks
        return each if self.family == "conv" else 1 + 2 * each

    @property
    def units(self) -> list[int]:
        """Units or channels of every hidden layer."""
        if not self.is_convolutional:
            return list(self.hidden) * (self.depth or 1)
        each = [width for width in self.channels for _ in range(self.blocks)]
        return each if self.family == "conv" else [self.channels[0], *(width for width in each for _ in "12")]

    def positions(self, height: int, width: int) -> int:
        """Of the last hidden layer, which has the fewest, where the data have so many rows and columns."""
        return self._size(height) * self._size(width) if self.is_convolutional else 1

    def _size(self, along: int) -> int:
        """Along one axis of the last convolution's output."""
        if self.family == "resnet":
            return -(-along // (1 << len(self.channels) - 1))
        for layer in range(1, self.layers + 1):
            along = -(-along // self.stride)
            pooled = self.pool != "none" and layer % self.blocks == 0 and layer < self.layers
            along = max(1, along // 2) if pooled else along
        return along


def convolutions(family: str, widths: int, blocks: int) -> int:
    """Of a network that is no mlp."""
    return widths * blocks if family == "conv" else 1 + 2 * widths * blocks


def check_own_network(run: RunConfig) -> None:
    """Refuses settings of layers, which a network of the user's decides itself."""
    model, norm, row = run.model, run.norm, INITS[run.init.name]
    says = "with model=module, whose network says so itself"
    check(run.skip.name == "off", "skip", run.skip.name, f"off {says}")
    check(model.dropout == 0, "model.dropout", model.dropout, f"0 {says}")
    check(model.bias, "model.bias", False, f"true {says}")
    check(run.lr.hidden == 1, "lr.hidden", run.lr.hidden, "1 with model=module, whose hidden layers are not known")
    check(run.bn.noise == 0, "bn.noise", run.bn.noise, "0 with model=module")
    check(not norm.zero_init_residual, "norm.zero_init_residual", True, f"false {says}")
    check(not run.weight_norm, "norm", norm.name, "another with model=module: it is of layers that the package knows")
    ok = not (row.by_batch or row.of_branches)
    check(ok, "init", run.init.name, "another with model=module: it looks at layers that the package knows")
