"""The words of a sweep for a reader who meets them for the first time: a sentence each, of what the sweep has."""

from __future__ import annotations

from collections.abc import Iterator

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.catalogue.norms import BATCH, NORMS, kind_and_place
from bnsweep.report.frame.formats import in_channels
from bnsweep.report.frame.grid import Grid, levels

ACTIVATION = (
    "What each unit does to the sum of its inputs: sigmoid squeezes it to between 0 and 1, ReLU passes what is above 0"
    " and turns the rest into 0."
)
SATURATION = (
    "Far from 0 sigmoid and tanh are flat: a unit there is saturated, lets hardly any gradient through, and so hardly"
    " learns."
)
GRADIENT = (
    "How the loss changes with each weight. It is passed back from the output to the first layer, and vanishes where"
    " every layer makes it smaller."
)
NO_NORM = "No normalization of any kind."
SKIP = (
    "What goes into a block of layers is added to what comes out of it, so that signals and gradients have a way around"
    " the block."
)
INITS = {
    "normal": "Initial weights drawn with one standard deviation (init.std), however wide the layers are.",
    "xavier": "Xavier (Glorot): initial weights of variance 2 / (inputs + outputs of their layer), so that signals keep"
    " their size on the way forward and the way back; derived for activations like tanh.",
    "he": "He: initial weights of variance 2 / inputs of their layer; the 2 makes up for the half of its inputs that"
    " ReLU turns into 0.",
    "lecun": "LeCun (1998): initial weights of variance 1 / inputs of their layer, so that signals keep their size on"
    " the way forward; SELU is made for it.",
    "heuristic": "The heuristic in use before Xavier's: initial weights of variance 1 / (3 × inputs of their layer),"
    " under which signals shrink from layer to layer.",
    "orthogonal": "Orthogonal (Saxe et al. 2014): the initial weights of a layer are an orthogonal matrix, which keeps"
    " the length of what it is given.",
    "lsuv": "LSUV (Mishkin & Matas 2016): orthogonal weights, then scaled layer by layer such that what each layer"
    " gives for the first training batch has variance 1.",
    "fixup": "Fixup (Zhang et al. 2019): as He, but every residual block starts at 0, so that the network starts as its"
    " shortcuts; scalar biases and multipliers (init.scalars) make up for the want of normalization.",
}
RATE = "How far a training step moves the weights: too small, and training crawls; too large, and it blows up."
RATES = " “Best lr”: each arm at its best rate; “same lr”: both sides at the same rate, averaged over all rates."


def basics(grid: Grid) -> list[tuple[str, str]]:
    """Word and sentence."""
    return [(word, in_channels(text, grid)) for word, text in explained(grid)]


def explained(grid: Grid) -> Iterator[tuple[str, str]]:
    activations, inits, levels_of_bn = (there(grid, factor) for factor in ("activation", "init", "bn"))
    if {"sigmoid", "relu"} & activations:
        yield "activation", ACTIVATION
    if saturates(grid):
        yield "saturation", SATURATION
    yield "gradient", GRADIENT
    kinds = {kind_and_place(level)[0] for level in levels_of_bn}
    for name, row in NORMS.items():
        if name in kinds:
            yield row.title, row.meaning
    if kinds - {"none", BATCH} and "none" in kinds:
        yield "no BN", NO_NORM
    if "on" in there(grid, "skip"):
        yield "skip connection", SKIP
    for name, meaning in INITS.items():
        if name in inits:
            yield f"init: {name}", meaning
    yield "learning rate (lr)", RATE + RATES * (len(grid.lrs) > 1)


def saturates(grid: Grid) -> bool:
    """Whether a network of the sweep has an activation with two flat ends."""
    return any(row.bounded for name, row in ACTIVATIONS.items() if name in there(grid, "activation"))


def there(grid: Grid, factor: str) -> set[str]:
    return set(map(str, levels(grid.runs, factor))) if factor in grid.runs else set()
