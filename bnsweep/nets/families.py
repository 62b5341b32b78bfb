"""A family turns a run into a list of layers; a stack's list has every layer that one of its runs has.

Every linear map and convolution has a number, its `block`, from the input on. All but the last, which gives the
outputs, are followed by normalisation and activation in the order of `placement`, and by dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.nets.activation import ActivationLayer
from bnsweep.nets.conv import Convolution, Image
from bnsweep.nets.dropout import Dropout
from bnsweep.nets.init import ELSEWHERE, Branch
from bnsweep.nets.layer import Layer
from bnsweep.nets.linear import Linear
from bnsweep.nets.module import ModuleLayer
from bnsweep.nets.norm import Norm
from bnsweep.nets.pool import Pool, ToRow, Unflatten
from bnsweep.nets.projection import ProjectedSkip
from bnsweep.nets.residual import Add, Skip, skips
from bnsweep.nets.scalars import Scalars


@dataclass(frozen=True)
class Parts:
    """What stands around the linear maps of some runs that share shapes."""

    places: frozenset[str]
    dropout: bool
    skips: bool
    images: bool
    weight_norm: bool
    scalars: bool

    @classmethod
    def of(cls, configs: Sequence[RunConfig]) -> Parts:
        places = frozenset(c.placement for c in configs)
        return cls(
            places,
            any(c.model.dropout > 0 for c in configs),
            any(map(skips, configs)),
            configs[0].model.is_convolutional,
            any(c.weight_norm for c in configs),
            any(c.has_scalars for c in configs),
        )

    def convolution(
        self, block: int, shape: Image, channels: int, model: ModelConfig, stride: int = 1, branch: Branch = ELSEWHERE
    ) -> Layer:
        return Convolution(block, shape, channels, model.kernel, stride, branch, normed=self.weight_norm)

    def before(self, block: int, shape: Image, ends: bool = False) -> list[Layer]:
        """What stands between a linear map and its activation. `ends`: whether the map is the last of a branch."""
        norm = Norm(block, shape.channels, "before", shape.positions, self.images, ends)
        return [norm] if "before" in self.places else []

    def into(self, block: int, shape: Image) -> list[Layer]:
        """What stands right before a linear map."""
        return [Scalars(block, shape.numbers, "in")] if self.scalars else []

    def behind(self, block: int, shape: Image, ends: bool = False) -> list[Layer]:
        """What stands right behind a linear map."""
        return [Scalars(block, shape.numbers, "out", ends)] if self.scalars else []

    def activated(self, block: int, shape: Image) -> list[Layer]:
        """The activation of a linear map and what follows it."""
        norm = [Norm(block, shape.channels, "after", shape.positions, self.images)] if "after" in self.places else []
        dropout = [Dropout(block, shape.channels)] if self.dropout else []
        return [ActivationLayer(block, shape.channels, shape.positions), *norm, *dropout]

    def hidden(self, block: int, shape: Image) -> list[Layer]:
        return [*self.before(block, shape), *self.activated(block, shape)]

    def skip(self, block: int, shape: Image, output: Image, stride: int = 1) -> list[Layer]:
        return [Skip(block, shape, output, stride)] if self.skips else []

    def into_block(self, block: int, shape: Image, output: Image, stride: int, model: ModelConfig) -> list[Layer]:
        """What a residual block of convolutions begins with. Its projection sees what its first convolution sees: with
        preactivation (as in the authors' code) what is normalised and activated already, so that nothing stands behind
        it."""
        above = self.hidden(block - 1, shape) if model.preactivation else []
        if self.skips and model.shortcut == "B" and shape != output:
            projected = ProjectedSkip(block, shape, output, stride, not model.preactivation, self.weight_norm)
            return [*above, projected]
        return [*self.skip(block, shape, output, stride), *above]

    def add(self, block: int) -> list[Layer]:
        return [Add(block)] if self.skips else []


def mlp(configs: Sequence[RunConfig]) -> list[Layer]:
    """The note's network, generalised: linear maps of `sizes`. With skips every two hidden layers from the second on
    are a residual block (the last one alone where it is left over)."""
    sizes, parts = configs[0].sizes, Parts.of(configs)
    hidden = len(sizes) - 2
    layers: list[Layer] = []
    for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True), start=1):
        shape = Image(n_out, 1, 1)
        if i > hidden:
            layers += [*parts.into(i, Image(n_in, 1, 1)), Linear(i, n_in, n_out, False, Branch("output"))]
            continue
        begins, ends = i % 2 == 0, i > 1 and (i % 2 == 1 or i == hidden)
        branch = Branch("last" if ends else "first" if begins else "", hidden // 2)
        layers += parts.skip(i, shape, shape) if begins else []
        layers += parts.into(i, Image(n_in, 1, 1)) if i > 1 else []
        layers += [Linear(i, n_in, n_out, True, branch, parts.weight_norm), *parts.behind(i, shape, ends)]
        layers += parts.before(i, shape, ends)
        layers += parts.add(i) if ends else []
        layers += parts.activated(i, shape)
    return layers


def output(config: RunConfig, block: int, shape: Image) -> list[Layer]:
    """From the last images to the outputs."""
    row = ToRow(block, shape, config.model.head == "average")
    return [row, Linear(block + 1, row.numbers, config.data.facts.outputs, False, Branch("output"))]


def image_of(config: RunConfig) -> Image:
    """Shape of the data. A signal is an image of height 1."""
    return Image(*config.image)


def conv(configs: Sequence[RunConfig]) -> list[Layer]:
    """`model.blocks` convolutions of each of `model.channels`, with pooling between those of two widths, as in VGG
    (Simonyan & Zisserman 2015, arXiv 1409.1556)."""
    config, parts = configs[0], Parts.of(configs)
    model, shape = config.model, image_of(config)
    layers: list[Layer] = [Unflatten(shape)]
    widths = model.units
    for i, channels in enumerate(widths, start=1):
        layers.append(parts.convolution(i, shape, channels, model, model.stride))
        shape = shape.strided(channels, model.stride)
        layers += parts.hidden(i, shape)
        if model.pool != "none" and i % model.blocks == 0 and i < len(widths):
            pool = Pool(i, shape, model.pool)
            layers, shape = [*layers, pool], pool.output
    return [*layers, *output(config, len(widths), shape)]


def resnet(configs: Sequence[RunConfig]) -> list[Layer]:
    """The CIFAR form of He et al. 2016 (arXiv 1512.03385, section 4.2): a convolution, then for each width
    `model.blocks` residual blocks of two, the first of which halves the size from the second width on. With
    `model.preactivation` (He et al. 2016, arXiv 1603.05027) normalisation and activation stand before each convolution
    of a block, and nothing after its sum."""
    config, parts = configs[0], Parts.of(configs)
    model, shape = config.model, image_of(config)
    layers: list[Layer] = [Unflatten(shape), parts.convolution(1, shape, model.channels[0], model)]
    shape, block, branches = shape.strided(model.channels[0], 1), 1, len(model.channels) * model.blocks
    layers += parts.behind(1, shape)
    layers += [] if model.preactivation else parts.hidden(1, shape)
    for stage, channels in enumerate(model.channels):
        for place in range(model.blocks):
            stride = 2 if stage > 0 and place == 0 else 1
            out = shape.strided(channels, stride)
            first = parts.convolution(block + 1, shape, channels, model, stride, Branch("first", branches))
            second = parts.convolution(block + 2, out, channels, model, branch=Branch("last", branches))
            layers += parts.into_block(block + 1, shape, out, stride, model)
            layers += [*parts.into(block + 1, shape), first, *parts.behind(block + 1, out)]
            layers += [*parts.hidden(block + 1, out), *parts.into(block + 2, out), second]
            layers += parts.behind(block + 2, out, ends=True)
            layers += [] if model.preactivation else parts.before(block + 2, out, True)
            layers += parts.add(block + 2)
            layers += [] if model.preactivation else parts.activated(block + 2, out)
            shape, block = out, block + 2
    layers += parts.hidden(block, shape) if model.preactivation else []
    return [*layers, *parts.into(block + 1, shape), *output(config, block, shape)]


def module(configs: Sequence[RunConfig]) -> list[Layer]:
    """A network of the user's, once it was tried."""
    return [ModuleLayer(configs[0].model.network, configs[0].data.facts.outputs)]


FAMILIES: dict[str, Callable[[Sequence[RunConfig]], list[Layer]]] = {
    "mlp": mlp,
    "conv": conv,
    "resnet": resnet,
    "module": module,
}
"""By `model.family`."""


def layers_of(configs: Sequence[RunConfig]) -> list[Layer]:
    """Of runs that share shapes."""
    return FAMILIES[configs[0].model.family](configs)
