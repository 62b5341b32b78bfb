"""The claims that a report judges, and what would show each.

Every comparison has a first side, of which the claim expects more (sign +1), less (-1) or as much (0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.report.claims.contrasts import (
    BEST,
    EQUAL,
    LEARNING,
    MAX,
    MIN,
    OVERFITTING,
    START,
    Contrast,
)

KEPT = -math.log10(0.9)
"""Decades: a gradient that changes by less than × 0.9 or its inverse a layer is kept, as ten such layers leave a third
of it. Against × 1 itself, skewed noise gave 5 % of sweeps in which nothing matters a verdict by this comparison: flips
take for granted that noise is as likely up as down, as it is in the difference of two sides of one kind."""
BARE: dict[str, tuple[Any, ...]] = {"bn": ("none",)}
PLACED = ("before", "after")
"""Both placements of BN speak where both were swept."""
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
        with_bn("final", -1, across="model.dropout", gain=True),
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
)
