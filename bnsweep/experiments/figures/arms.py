"""Which runs belong together in a drawing, and what they are called there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bnsweep.catalogue.activations import ACTIVATIONS, ActivationKind
from bnsweep.catalogue.inits import INITS, InitKind
from bnsweep.experiments.selection import Run
from bnsweep.report.frame.grid import ORDER, USUAL, level_text, swept_factors, value_text

NAMED: Mapping[str, Mapping[str, ActivationKind | InitKind]] = {"activation": ACTIVATIONS, "init": INITS}
"""Factors whose levels have titles."""
OFF = {
    "bn": "none",
    "skip": "off",
    "bn.noise": 0,
    "model.dropout": 0,
    "optimizer.weight_decay": 0,
    "init.gain": 1,
    "lr.hidden": 1,
}
"""Levels that go without saying beside others."""
TEXTS = {
    "init.gain": "weights × {}",
    "lr.hidden": "rate × {}",
    "train.batch_size": "batch {}",
    "probes.samples": "batch {}",
    "bn.noise": "noise {}",
    "optimizer.weight_decay": "decay {}",
    "model.hidden": "{}",
}
SCHEDULES = ("train.epochs", "train.steps", "train.evaluate_every", "train.evaluate_steps")
"""How long a run is and when it is read sets no arm apart."""


def drawable(runs: Sequence[Run]) -> list[Run]:
    """Those that left any reading; a run that failed left none."""
    return [run for run in runs if run.record.history.get("step")]


def swept(runs: Sequence[Run]) -> list[str]:
    """Factors that set arms apart. init.std is part of init."""
    found = swept_factors(pd.DataFrame([run.factors for run in runs]))
    return list(dict.fromkeys("init" if name == "init.std" else name for name in found if name not in SCHEDULES))


def level(run: Run, factor: str) -> Any:
    """The value of a factor; None where it is not set or has no effect."""
    return run.factors.get(factor, USUAL.get(factor))


def level_label(run: Run, factor: str) -> str:
    """A level as it is called in a drawing."""
    value = level(run, factor)
    if factor == "init" and value == "normal":
        return f"std {value_text(level(run, 'init.std'))}"
    if value is None:
        return ""
    if factor in TEXTS:
        return TEXTS[factor].format(value_text(value))
    row = NAMED.get(factor, {}).get(str(value))
    return row.title if row else level_text(factor, value)


def text(run: Run, factors: Sequence[str]) -> str:
    """What an arm is called: its levels, of which those that are off go without saying beside others."""
    said = [f for f in factors if len(factors) == 1 or f not in OFF or level(run, f) not in (OFF[f], None)]
    return ", ".join(dict.fromkeys(w for w in (level_label(run, f) for f in said) if w)) or "plain"


def place(run: Run, factor: str) -> tuple[float, float, str]:
    """Order of levels: by size when numbers, by the schema when names; missing last."""
    value = level(run, factor)
    if value is None:
        return math.inf, 0.0, ""
    if isinstance(value, (int, float)):
        return float(value), 0.0, ""
    known = ORDER.get(factor, ())
    within = float(level(run, "init.std") or 0) if factor == "init" else 0.0
    return float(known.index(value) if value in known else len(known)), within, str(value)


def by(runs: Sequence[Run], *factors: str) -> dict[str, list[Run]]:
    """Runs by arm, in order, under what the arm is called; all under one empty name for no factor."""
    if not factors:
        return {"": list(runs)}
    groups: dict[tuple[tuple[float, float, str], ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(place(run, f) for f in factors), []).append(run)
    arms = {text(groups[where][0], factors): groups[where] for where in sorted(groups)}
    assert len(arms) == len(groups), f"two arms share a name: {', '.join(arms)}"
    return arms


def chance(run: Run) -> float:
    """Score of guessing."""
    return run.config.task.chance(run.config.data.facts.classes)
