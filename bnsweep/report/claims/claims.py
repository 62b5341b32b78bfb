"""The claims that a report judges, and what would show each.

Every comparison has a first side, of which the claim expects more (sign +1), less (-1) or as much (0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.catalogue.norms import BATCH, kind_and_place
from bnsweep.catalogue.norms import PLACED as PLACED_KINDS
from bnsweep.report.claims.contrasts import (
    BEST,
    EQUAL,
    GAIN,
    LARGEST,
    LAYERS,
    LEARNING,
    MAX,
    MIN,
    OVERFITTING,
    START,
    Contrast,
    Such,
)

KEPT = -math.log10(0.9)
"""Decades: a gradient that changes by less than × 0.9 or its inverse a layer is kept, as ten such layers leave a third
of it. Against × 1 itself, skewed noise gave 5 % of sweeps in which nothing matters a verdict by this comparison: flips
take for granted that noise is as likely up as down, as it is in the difference of two sides of one kind."""
BARE: dict[str, tuple[Any, ...]] = {"bn": ("none",)}
PLACED = ("before", "after")
"""Both placements of BN speak where both were swept."""
NORMED = {"bn": Such("before or after", lambda level: isinstance(level, str) and kind_and_place(level)[1] != "none")}
"""With any normalisation of activations."""
KINDS = tuple(name for name in PLACED_KINDS if name != BATCH)
"""Of these, beside BN."""
LARGE = {"train.batch_size": Such("64 or more", lambda size: size >= 64)}
SMALL = {"train.batch_size": Such("4 or less", lambda size: size <= 4)}
"""Batches of which BN's statistics are good, and poor: Wu & He 2018 (arXiv 1803.08494) see its error grow below 16."""
AS_MUCH = 0.01
"""A point of accuracy, or .01 of R²: how far two sides may lie apart that do equally well."""
DEEP_NETS = {LAYERS: Such("16 or more", lambda layers: layers >= 16)}
"""Networks that skip connections are for: those of He et al. 2016 (arXiv 1512.03385) hardly differ with 18 layers and
do with 34; on small images they do with 20."""
RECTIFIERS = tuple(name for name, row in ACTIVATIONS.items() if row.rectifier)
BOUNDED = tuple(name for name, row in ACTIVATIONS.items() if row.bounded)


@dataclass(frozen=True)
class Claim:
    key: str
    text: str
    contrasts: tuple[Contrast, ...]
    figures: tuple[str, ...] = ()


def with_bn(quantity: str, sign: int, **how: Any) -> tuple[Contrast, ...]:
    """BN against none, at each placement."""
    return tuple(Contrast(quantity, sign, "bn", (place, "none"), **how) for place in PLACED)


def against_bn(kinds: tuple[str, ...], sign: int, **how: Any) -> tuple[Contrast, ...]:
    """Other normalisations against BN at the same placement, at each."""
    return tuple(Contrast("final", sign, "bn", (f"{kind} {place}", place), **how) for kind in kinds for place in PLACED)


def bn_without_skips(**how: Any) -> tuple[Contrast, ...]:
    """What BN adds without skip connections, less what it adds with them."""
    return (*with_bn("final", +1, at=BEST, **how), *with_bn("final", +1, **how))


WITHOUT_SKIP = ("skip", ("off", "on"))

CLAIMS = (
    Claim(
        "sigmoid-vanishes",
        "Sigmoid makes gradients vanish",
        (Contrast("backward", -1, "activation", ("sigmoid", None), BARE, START, margin=KEPT),),
        ("gradients",),
    ),
    Claim(
        "relu-helps",
        "ReLU helps",
        (
            Contrast("kept", +1, "activation", ("relu", "sigmoid"), BARE, START),
            Contrast("final", +1, "activation", ("relu", "sigmoid"), BARE, BEST),
            Contrast("final", +1, "activation", ("relu", "sigmoid"), BARE, EQUAL, among=LEARNING),
        ),
        ("gradients", "curves"),
    ),
    Claim(
        "init-keeps-spread",
        "Xavier's and He's weights keep the spread of activations",
        (
            Contrast("spread_kept", +1, "init", ("xavier", "normal"), BARE | {"activation": BOUNDED}, START),
            Contrast("spread_kept", +1, "init", ("he", "normal"), BARE | {"activation": RECTIFIERS}, START),
        ),
        ("histograms",),
    ),
    Claim(
        "small-lr-prevents-explosion",
        "A small learning rate prevents explosion",
        (Contrast("blown_up", -1, "lr.value", (MIN, MAX), BARE),),
        ("heat",),
    ),
    Claim("bn-drifts-less", "Activation inputs drift less with BN", with_bn("drift", -1, among=LEARNING)),
    Claim("bn-shifts-less", "Layers shift each other's gradients less with BN", with_bn("ics", -1, among=LEARNING)),
    Claim(
        "bn-faster",
        "BN trains faster",
        (
            *with_bn("auc", +1, at=BEST, beside="steps"),
            *with_bn("auc", +1, among=LEARNING, beside="steps"),
        ),
        ("curves",),
    ),
    Claim(
        "bn-less-init",
        "BN depends less on the initial weights",
        with_bn("final", -1, across="init"),
        ("heat",),
    ),
    Claim(
        "bn-less-overfitting",
        "BN suppresses overfitting",
        (
            *with_bn("gap", -1, among=OVERFITTING),
            *with_bn("rise", -1, among=OVERFITTING),
            *with_bn("test", +1, among=OVERFITTING),
        ),
    ),
    Claim(
        "bn-less-dropout",
        "With BN dropout is needed less",
        with_bn("final", -1, across="model.dropout", by=GAIN),
    ),
    Claim(
        "bn-before",
        "BN belongs before the activation",
        (
            Contrast("final", +1, "bn", PLACED, at=BEST),
            Contrast("final", +1, "bn", PLACED),
        ),
        ("curves",),
    ),
    Claim(
        "bn-larger-lr",
        "BN allows larger rates",
        (
            *with_bn("trains", +1, across="lr.value", by=LARGEST),
            *with_bn("survives", +1, across="lr.value", by=LARGEST),
        ),
        ("heat",),
    ),
    Claim(
        "skip-keeps-gradients",
        "Skip connections keep gradients",
        tuple(Contrast("kept", +1, "skip", ("on", "off"), where, START) for where in (BARE, NORMED)),
        ("gradients",),
    ),
    Claim(
        "skip-trains-deep",
        "Skip connections help from 16 layers on",
        tuple(Contrast("final", +1, "skip", ("on", "off"), DEEP_NETS, at) for at in (BEST, EQUAL)),
        ("curves",),
    ),
    Claim(
        "norms-match-bn",
        "At batches of 64 and more other normalisations do as well as BN",
        against_bn(KINDS, 0, where=LARGE, at=BEST, margin=AS_MUCH),
    ),
    Claim(
        "group-small-batches",
        "At batches of 4 and less GroupNorm does better than BN",
        (*against_bn(("group",), +1, where=SMALL, at=BEST), *against_bn(("group",), +1, where=SMALL)),
    ),
    Claim(
        "skip-for-bn",
        "With skip connections BN adds less",
        bn_without_skips(moderators=(WITHOUT_SKIP,)),
    ),
    Claim(
        "skip-for-bn-deep",
        "Skips replace more of BN in deeper networks",
        bn_without_skips(moderators=((LAYERS, (MAX, MIN)), WITHOUT_SKIP)),
    ),
)
