"""Which experiment is drawn how, and what there is to see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from bnsweep.catalogue.tasks import CLASSIFICATION
from bnsweep.experiments.figures import curves, dots, heat, histograms, layers, special
from bnsweep.experiments.figures.curves import Multiples
from bnsweep.experiments.selection import Run


@dataclass(frozen=True)
class Drawing:
    """One figure of an experiment."""

    draw: Callable[[Sequence[Run]], Figure]
    caption: str
    """What there is to see, below it."""
    name: str = ""
    """Tells it from the experiment's other drawings."""


BAND = "Lines are medians over seeds, bands their range."
POINTS = "Medians over seeds as points, their range as a band; the factor is that of one layer on the way back."
GRADIENTS = (
    f"Norm of the loss gradient at each hidden layer's activation input, on the probe batch, before any step. {BAND} A"
    " line that falls towards layer 1 vanishes on its way back, one that rises towards layer 1 explodes, a level one"
    " flows."
)
HISTOGRAMS = (
    "All seeds together. A spread-out shape carries information; one spike (all outputs alike) or piles at the ends"
    " (saturation) do not."
)

CURVES = Drawing(curves.learning_curves, f"{BAND} A run that diverged stays at chance from there on.")
START = Drawing(layers.gradients, GRADIENTS)


def drawings(name: str, runs: Sequence[Run]) -> tuple[Drawing, ...]:
    """Those of an experiment, or what suits its runs where it has none of its own, or these are of another task."""
    trained = any(len(run.record.history["step"]) > 1 for run in runs)
    own = FIGURES.get(name) if runs[0].config.task is CLASSIFICATION else None
    return own or (CURVES if trained else START,)


Factors = tuple[str, ...]
NETWORKS: Factors = ("model.family", "model.hidden")
CONVOLUTIONAL: dict[str, tuple[str, str, Factors, Factors, Factors, str]] = {
    "mnist1d": ("Test accuracy by network", "test/accuracy", (), (), NETWORKS, "Convolutions know what is near what."),
    "mnist1d-shuffled": (
        *("Test accuracy by network, shuffled signals", "test/accuracy", (), (), NETWORKS),
        "The same numbers in another order: only convolutions lose by it.",
    ),
    "fashion-mnist": (
        *("Test accuracy by network and BN", "test/accuracy", (), ("model.family",), ("bn",)),
        "Two convolutions against a fully connected network.",
    ),
    "bn-skip-depth": (
        *("Test accuracy by depth, BN and skip connections", "test/accuracy", (), ("model.blocks",), ("bn", "skip")),
        "What a skip connection adds should be more in the deeper network.",
    ),
    "he-residual-depth": (
        *("Training accuracy by depth and skip connections", "train/accuracy", (), ("model.blocks",), ("skip",)),
        "Without skip connections the deeper network should train worse.",
    ),
    "groupnorm-batch": (
        *("Validation accuracy by batch size and normalisation", "val/accuracy", (), ("train.batch_size",), ("bn",)),
        "BN should fall behind where batches are small.",
    ),
    "bjorck-conv": (
        *("Validation accuracy by learning rate and BN", "val/accuracy", (), ("lr.value",), ("bn",)),
        "How far to the right a line still rises.",
    ),
    "santurkar-vgg": (
        *("Training accuracy with noise after BN", "train/accuracy", (), (), ("bn", "bn.noise")),
        "If steady inputs were what helps, the noisy arm would lose BN's lead.",
    ),
    "fixup": (
        *("Training accuracy by initial weights, without normalisation", "train/accuracy", (), (), ("init",)),
        "Fixup should train 56 layers where He's weights do not.",
    ),
}
"""Title, metric, factors of rows, of columns and of colours, and what there is to see."""

FIGURES: dict[str, tuple[Drawing, ...]] = {
    "lecture": (
        Drawing(
            dots.lecture,
            "A point is a run, lines join the medians over seeds, on the scale of the logarithm of the error. What the"
            " note claims for BN should show as its line lying higher, and staying level where the others fall: across"
            " panels over inits, within one over rates.",
        ),
        Drawing(
            curves.at_best_rate,
            f"Each arm at the learning rate of its best median final validation accuracy. {BAND} See how steeply a line"
            " rises before where it ends.",
            "curves",
        ),
    ),
    "mean-field-plain": (START,),
    "mean-field-bn": (
        Drawing(
            layers.Slopes(5, 17),
            f"{POINTS} BN does not stop the gradient from growing on its way back: a straight rise towards layer 1 is"
            " exponential growth with depth, whatever the init.",
        ),
    ),
    "mean-field-chi": (
        Drawing(
            layers.Slopes(8, 18),
            f"{POINTS} Below 1 gradients vanish with depth, above 1 they explode.",
        ),
    ),
    "bn-invariance": (
        Drawing(
            special.invariance,
            "Above, the losses: those of the arms whose rate follows as c² lie on one another, as BN makes the scale of"
            " the weights before it drop out. Below, the largest distance of any seed to c = 1, relative to its loss:"
            " rounding, where the rate follows.",
        ),
    ),
    "glorot-init": (
        Drawing(histograms.overlaid, f"{HISTOGRAMS} Figure 6 of Glorot & Bengio 2010.", "activations"),
        Drawing(layers.gradients, GRADIENTS, "gradients"),
    ),
    "activation-histograms": (
        Drawing(
            histograms.grid,
            f"{HISTOGRAMS} Bars above {100 * histograms.CUT:.0f} % are cut, with their share beside them; the bins"
            " at the ends hold everything beyond.",
        ),
    ),
    "he-depth": (
        Drawing(
            special.deep,
            f"{BAND} On the left a level line flows, one that falls towards layer 1 vanishes; on the right that network"
            " stays where it starts.",
        ),
    ),
    "bn-vs-init-scale": (
        Drawing(
            special.sixteen,
            f"{BAND} As in the book: without BN a network learns in a narrow window of W only, with BN nearly"
            " everywhere, though not always better than without.",
        ),
    ),
    "overfit": (
        Drawing(special.train_and_test, f"{BAND} The gap between the lines is what the network learned by heart."),
    ),
    "ioffe-mnist": (
        Drawing(
            special.ioffe,
            f"{BAND} Right, one seed: 15, 50 and 85 % percentiles over the probe batch of the input to one sigmoid; a"
            " steady band is what the paper means by less internal covariate shift. Figure 1 of Ioffe & Szegedy 2015.",
        ),
    ),
    "udacity-grid": (
        Drawing(
            Multiples(
                "Validation accuracy by activation, initial std and learning rate",
                *("val/accuracy", ("activation", "init"), ("lr.value",)),
                high=1.05,
            ),
            f"{BAND} A run that diverged stays at chance from there on.",
        ),
    ),
    "yang-depth": (
        Drawing(
            heat.trainable,
            "Median over seeds, in per cent; a run that diverged counts as chance. The line is the depth 16 / ln(rate),"
            " at which the gradient has grown beyond use, with the rate that BN gives at that batch size: above it"
            " networks should not train. Figure 2 of Yang et al. 2019.",
        ),
    ),
    "santurkar-noise": (
        Drawing(
            Multiples("Training accuracy", "train/accuracy", colour=("bn", "bn.noise"), high=2.4),
            f"{BAND} Noise after BN makes the inputs of every layer shift at random: if steadiness were what helps, the"
            " noisy arm would lose BN's lead.",
            "accuracy",
        ),
        Drawing(
            special.covariate_shift,
            f"{BAND} Internal covariate shift as Santurkar et al. 2018 define it: by how much a layer's gradient G"
            " changes when only the layers below are updated, in size and in direction (1: not at all).",
            "shift",
        ),
    ),
    "bjorck-lr": (
        Drawing(
            dots.over_rates,
            "A point is a run, lines join the medians over seeds. What matters is how far to the right a line stays up,"
            " and how little the arms differ at the same small rate.",
        ),
    ),
    "dropout-bn": (
        Drawing(
            dots.dropout_ratios,
            "A point is a run before training, the line v / ((v + c²)/p − c²) of Li et al. 2019: p for inputs of mean"
            " zero. Below 1, BN's running variance, learned with dropout, is too large for evaluation without it.",
        ),
    ),
    "selu": (
        Drawing(
            histograms.grid,
            f"{HISTOGRAMS} SELU's outputs keep their spread through all layers, ReLU's become smaller with each.",
        ),
    ),
    **{
        name: (Drawing(Multiples(title, metric, rows, columns, colour), f"{BAND} {see}"),)
        for name, (title, metric, rows, columns, colour, see) in CONVOLUTIONAL.items()
    },
    "train-eval": (
        Drawing(
            special.running_statistics,
            f"{BAND} Running statistics start at mean 0 and variance 1 and forget them by 1 − momentum a step: until"
            " then the same weights score worse in eval mode.",
        ),
    ),
}
"""Experiment -> its drawings; called inside `styled(WHITE)`, with runs that have readings."""
