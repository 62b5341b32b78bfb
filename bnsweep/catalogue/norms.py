"""The normalisations: one row each, and one YAML in conf/norm; `norm=none` is a network without one."""

from __future__ import annotations

from dataclasses import dataclass

BATCH = "batch"
"""BatchNorm, which the levels of `bn` go by alone: before, not "batch before"."""
PLACEMENTS = ("none", "before", "after")


@dataclass(frozen=True)
class NormKind:
    name: str
    title: str
    """As text writes it."""
    meaning: str
    """For those who meet it for the first time."""
    of_unit: bool = False
    """Whether its statistics are of one unit alone: a bias in front of it is then subtracted again."""
    centred: bool = True
    """Whether it subtracts a mean, and adds a learned shift."""
    placed: bool = True
    """Whether it stands before or after the activation; else it is of the weights, and has no place."""


ROWS = (
    NormKind(
        BATCH,
        "BN",
        "Batch normalization: within each batch a unit's values are shifted and scaled to mean 0 and standard deviation"
        " 1, before or after the activation; two learned numbers then scale and shift them anew.",
        of_unit=True,
    ),
    NormKind(
        "layer",
        "LayerNorm",
        "Layer normalization (Ba et al. 2016): the values that a layer gives for one sample are shifted and scaled to"
        " mean 0 and standard deviation 1, whatever else is in its batch; two learned numbers a unit follow.",
    ),
    NormKind(
        "group",
        "GroupNorm",
        "Group normalization (Wu & He 2018): as layer normalization, but within each of several groups of units"
        " (norm.groups) by itself.",
    ),
    NormKind(
        "instance",
        "InstanceNorm",
        "Instance normalization (Ulyanov et al. 2016): each unit's values over the positions of one sample are shifted"
        " and scaled to mean 0 and standard deviation 1; two learned numbers a unit follow.",
        of_unit=True,
    ),
    NormKind(
        "rms",
        "RMSNorm",
        "Root mean square normalization (Zhang & Sennrich 2019): the values that a layer gives for one sample are"
        " divided by the root of their mean square, and scaled by one learned number a unit; nothing is subtracted.",
        centred=False,
    ),
    NormKind(
        "weight",
        "WeightNorm",
        "Weight normalization (Salimans & Kingma 2016): each unit's incoming weights are a direction, of length 1,"
        " times a learned length; what the layers give is not normalized.",
        placed=False,
    ),
)
NORMS = {row.name: row for row in ROWS}
NORM_CHOICES = ("none", *NORMS)
PLACED = tuple(row.name for row in ROWS if row.placed)
"""Those that stand where `bn` says."""


def level(name: str, placement: str) -> str:
    """What a run has, as one level of the factor `bn`: none, before, after, "group before", …, weight"""
    if name in NORMS and name not in PLACED:
        return name
    if "none" in (name, placement):
        return "none"
    return placement if name == BATCH else f"{name} {placement}"


LEVELS = tuple(dict.fromkeys(level(name, place) for name in NORMS for place in PLACEMENTS))
"""In their order."""


def as_typed(text: str) -> str:
    """A level as settings: bn=before, norm=group bn=before, norm=weight."""
    kind, place = kind_and_place(text)
    if place == "none" and kind != "none":
        return f"norm={kind}"
    return f"bn={place}" if kind in (BATCH, "none") else f"norm={kind} bn={place}"


def kind_and_place(text: str) -> tuple[str, str]:
    """The normalisation and the placement of a level, which is none of what has no place; of "none" none and none."""
    if text in NORMS:
        return text, "none"
    name, _, place = text.rpartition(" ")
    return (name or ("none" if place == "none" else BATCH)), place
