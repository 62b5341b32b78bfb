"""What network a run trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnsweep.config.checks import LESS_THAN_ALL, OneOf, Rule, at_least, check, or_null
from bnsweep.config.fields import Checked, Role, said_elsewhere, setting

if TYPE_CHECKING:
    from bnsweep.config.run import RunConfig

SCALINGS = ("train", "test")
DROPOUTS = ("standard", "alpha")
FAMILIES = ("mlp", "conv", "resnet")
POOLS = ("none", "max", "average")
HEADS = ("average", "flat")
MOST_LAYERS = 1000
"""Hidden layers of a run. Each is written by itself, has its own metrics, and takes its time before the first step."""

SIZES = Rule(
    lambda hidden: len(hidden) > 0 and all(h >= 1 for h in hidden), "a non-empty list of sizes >= 1, such as [32,32]"
)
HIDDEN = Rule(lambda hidden: all(h >= 1 for h in hidden), "a list of sizes >= 1, such as [32,32]; [] for none")

SKIPS = ("off", "on")
SHORTCUTS = ("A", "B")


def is_convolutional(run: RunConfig) -> bool:
    return run.model.family != "mlp"


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
    family: str = setting("mlp", OneOf(FAMILIES), matters=is_convolutional)
    """mlp: the note's fully connected network; conv: convolutions with pooling between them; resnet: the CIFAR form of
    He et al. 2016."""
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

    def check_together(self) -> None:
        ok = self.dropout_kind == "standard" or self.dropout_scaling == "train"
        check(ok, "model.dropout_scaling", self.dropout_scaling, "train with model.dropout_kind=alpha")
        if self.shortcut == "B":
            says = "A with model.family={}: only the residual blocks of resnet change the shape of what is added"
            check(self.family == "resnet", "model.shortcut", "B", says.format(self.family))
            says = f"A with model.channels={list(self.channels)}: blocks of one width do not change the shape"
            check(len(self.channels) > 1, "model.shortcut", "B", says)
        key, value, of = (
            ("model.depth", self.depth, "hidden") if self.family == "mlp" else ("model.blocks", self.blocks, "channels")
        )
        says = f"such that model.{of} {value or 1} times is at most {MOST_LAYERS} layers"
        check(self.layers <= MOST_LAYERS, key, value, says)

    @property
    def layers(self) -> int:
        """Hidden layers."""
        if self.family == "mlp":
            return len(self.hidden) * (self.depth or 1)
        return convolutions(self.family, len(self.channels), self.blocks)

    @property
    def units(self) -> list[int]:
        """Units or channels of every hidden layer."""
        if self.family == "mlp":
            return list(self.hidden) * (self.depth or 1)
        each = [width for width in self.channels for _ in range(self.blocks)]
        return each if self.family == "conv" else [self.channels[0], *(width for width in each for _ in "12")]

    def positions(self, height: int, width: int) -> int:
        """Of the last hidden layer, which has the fewest, where the data have so many rows and columns."""
        return 1 if self.family == "mlp" else self._size(height) * self._size(width)

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
