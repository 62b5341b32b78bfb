"""Which runs are the same run, and which can train as one stack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from bnsweep.config.run import RunConfig

NUMERICS = 3
"""Raised when a change of the code changes the numbers of a run, so that old results are not taken for new ones."""

NAME_FIELDS = {
    "activation": "name",
    "init": "name",
    "bn": "placement",
    "data": "name",
    "optimizer": "name",
    "probes": "name",
}
"""Groups whose choice has a field of its own; their factor carries the group's name."""


def typed(config: RunConfig) -> dict[str, Any]:
    """The config as plain values; a float that was given as an int is the float it stands for."""
    tree: dict[str, Any] = {}
    for group in fields(config):
        node = getattr(config, group.name)
        if not is_dataclass(node):
            tree[group.name] = node
            continue
        values = vars(node).copy()
        for name in float_fields(node.__class__):
            if values[name] is not None:
                values[name] = float(values[name]) + 0.0  # -0.0 is 0.0
        tree[group.name] = values
    return tree


@cache
def float_fields(node: type) -> list[str]:
    return [f.name for f in fields(node) if str(f.type).startswith("float")]


def numbers(config: RunConfig) -> dict[str, Any]:
    """What changes a run's numbers, flat and canonical: factor name -> plain value.

    Settings without effect are left out (BN settings without BN, the distribution of an orthogonal init, ...), so
    that two ways of writing one run are one run.
    """
    tree = typed(config)
    for group in ("tracking", "sweep", "experiment"):
        del tree[group]
    for key in without_effect(config):
        group, _, name = key.partition(".")
        del tree[group][name]
    if config.bn.placement == "none":
        tree["bn"] = {"placement": "none"}
    if config.probes.name == "off":
        tree["probes"] = {"name": "off"}
    tree["model"]["hidden"] = sizes_text(config.model.units)
    return {**flatten(tree), "data.seed": config.data_seed}


def without_effect(config: RunConfig) -> Iterator[str]:
    """Settings of a run that do nothing there, or say what others say."""
    yield from ("data.root", "data.seed", "train.device", "model.depth")
    data, train = config.data, config.train
    if data.subset == data.facts.pool - data.validation and data.draw == "stratified":
        yield "data.subset"
    if data.test == data.facts.test:
        yield "data.test"
    if train.steps is not None:
        yield "train.epochs"
    if train.evaluate_steps is not None:
        yield "train.evaluate_every"
    if config.lr.schedule != "warmup":
        yield "lr.warmup"
    if config.optimizer.name != "momentum":
        yield "optimizer.momentum"
    if config.init.name == "orthogonal":
        yield "init.distribution"
    if config.model.dropout == 0:
        yield "model.dropout_scaling"


def sizes_text(sizes: Sequence[int]) -> str:
    """Layer sizes in one word: 32-32; four or more alike as 100x5."""
    runs = [(size, len(list(alike))) for size, alike in groupby(sizes)]
    return "-".join(f"{size}x{n}" if n > 3 else "-".join([str(size)] * n) for size, n in runs)


def layers_in(text: str) -> int:
    """How many sizes `sizes_text` was given."""
    return sum(int(part.partition("x")[2] or 1) for part in text.split("-"))


def flatten(tree: dict[str, Any]) -> dict[str, Any]:
    """Factor name -> value; what is not set is left out."""
    flat: dict[str, Any] = {}
    for group, value in tree.items():
        for name, item in value.items() if isinstance(value, dict) else [("", value)]:
            key = group if name in ("", NAME_FIELDS.get(group)) else f"{group}.{name}"
            if item is not None:
                flat[key] = item
    return flat


def identity(config: RunConfig) -> str:
    """16 hex digits: runs of equal identity must give the same numbers on the same machine."""
    text = json.dumps({"numerics": NUMERICS, **numbers(config)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


STACK_KEYS = (
    *("data", "data.subset", "data.validation", "data.draw", "data.test", "data.binary", "model.hidden", "optimizer"),
    *("train.epochs", "train.steps", "train.batch_size", "train.replacement", "train.dtype"),
    *("train.evaluate_every", "train.evaluate_steps", "probes", "probes.samples", "probes.every"),
)


def stack_key(config: RunConfig) -> tuple[Any, ...]:
    """Runs of equal key can be trained as one stack: same shapes, same steps."""
    flat = numbers(config)
    return (*(flat.get(key) for key in STACK_KEYS), str(Path(config.data.root)), config.train.device)
