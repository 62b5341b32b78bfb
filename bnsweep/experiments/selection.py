"""A run with what it was and what came of it, and the runs that a selector of an expectation means."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import numbers, sizes_text
from bnsweep.config.run import RunConfig
from bnsweep.records import RunRecord

SEEDS = ("seed", "data.seed")


@dataclass
class Run:
    """A run that is over."""

    config: RunConfig
    record: RunRecord
    factors: dict[str, Any] = field(default_factory=dict)
    """What makes its numbers, by factor name: `identity.numbers(config)`."""

    def __post_init__(self) -> None:
        self.factors = self.factors or numbers(self.config)


def matches(factors: Mapping[str, Any], selector: Mapping[str, Any]) -> bool:
    """Whether a run has every value that a selector wants."""
    return all(equal(factors.get(name), value) for name, value in selector.items())


def equal(factor: Any, wanted: Any) -> bool:
    """Whether a factor has the value wanted; null wants one that is not set or has no effect."""
    if isinstance(wanted, (list, tuple)):
        wanted = sizes_text(wanted)
    if isinstance(factor, bool) or isinstance(wanted, bool):
        return factor is wanted
    if isinstance(factor, (int, float)) and isinstance(wanted, (int, float)):
        # YAML's integers may be too large for a float.
        return abs(wanted) <= sys.float_info.max and math.isclose(factor, wanted, rel_tol=1e-9)
    return bool(factor == wanted)


def check_selector(factors: Sequence[Mapping[str, Any]], selector: Mapping[str, Any]) -> None:
    """Refuses a selector that matches none of the runs, naming what stands in the way."""
    for name, value in selector.items():
        if name in SEEDS:
            raise ConfigError(f"{name}: must be left out: an expectation is judged on all seeds")
        there = sorted({str(known[name]) for known in factors if name in known})
        if not there and value is not None:
            near = difflib.get_close_matches(name, sorted({key for known in factors for key in known}), n=3)
            raise ConfigError(f"{name}: no run has this factor (did you mean {', '.join(near) or 'another'}?)")
        if not any(equal(known.get(name), value) for known in factors):
            raise ConfigError(f"{name}={value}: matches no run (there are {', '.join(there)})")
    if not any(matches(known, selector) for known in factors):
        raise ConfigError(f"{selector_text(selector)}: no run has all of these")


def check_one_a_seed(chosen: Sequence[Mapping[str, Any]]) -> None:
    """Refuses runs of which several share a seed, naming what tells them apart."""
    if len({known["seed"] for known in chosen}) == len(chosen):
        return
    names = sorted({name for known in chosen for name in known} - set(SEEDS))
    varied = [name for name in names if len({str(known.get(name)) for known in chosen}) > 1]
    raise ConfigError(f"matches several runs a seed; they differ in {', '.join(varied) or 'data.seed'}")


def selector_text(selector: Mapping[str, Any]) -> str:
    """A selector as text: `bn none, init.std 0.01`."""
    return ", ".join(f"{name} {'not set' if value is None else value}" for name, value in selector.items())
