"""Cells of a grid that are left out: those that `sweep.exclude` names, and those that a rule refuses."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from bnsweep.catalogue.norms import kind_and_place
from bnsweep.config.checks import ConfigError
from bnsweep.config.fields import holds
from bnsweep.config.identity import Factor, factors
from bnsweep.config.run import RunConfig

LISTED = 5
"""Rules that are told one by one."""

EXAMPLE = "'sweep.exclude=[{bn: none, init: he}]'"


@dataclass(frozen=True)
class Entry:
    """Some settings with the values that leave a run out; all of them together."""

    text: str
    wanted: tuple[tuple[Factor, tuple[Any, ...]], ...]

    @classmethod
    def of(cls, given: object) -> Entry:
        """One of `sweep.exclude`. Raises ConfigError for what is no setting of a run, or no value of it."""
        text = f"sweep.exclude=[{said(given)}]"
        if not isinstance(given, Mapping) or not given:
            raise ConfigError(f"{text}: must be settings with their values, as in {EXAMPLE}")
        known = {factor.key: factor for factor in factors()}
        wanted = []
        for key, value in given.items():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=3) or [k for k in known if k.startswith(f"{key}.")]
                raise ConfigError(
                    f"{text}: {key} must be a setting (did you mean {', '.join(near or ['bn', 'init'])}?)"
                )
            values = alternatives(known[key], value)
            for one in values:
                check_value(text, known[key], one)
            wanted.append((known[key], values))
        return cls(text, tuple(wanted))

    def matches(self, run: RunConfig) -> bool:
        return all(any(same(value_of(factor, run), one) for one in values) for factor, values in self.wanted)


def said(given: object) -> str:
    """An entry as it is typed."""
    if isinstance(given, Mapping):
        return "{" + ", ".join(f"{key}: {said(value)}" for key, value in given.items()) + "}"
    if isinstance(given, list | tuple):
        return f"[{', '.join(map(said, given))}]"
    return "null" if given is None else str(given).lower() if isinstance(given, bool) else str(given)


def alternatives(factor: Factor, value: Any) -> tuple[Any, ...]:
    """The values of a setting that an entry names: those of a list, which for a setting that is a list is one of
    lists."""
    many = isinstance(value, list | tuple)
    if factor.key == "model.hidden":
        many = many and all(isinstance(one, list | tuple) for one in value)
    return tuple(value) if many else (value,)


def check_value(text: str, factor: Factor, value: Any) -> None:
    """Refuses a value that no run could have."""
    node = getattr(RunConfig(), factor.group) if factor.group else RunConfig()
    rule = next(f.metadata.get("rule") for f in fields(node) if f.name == factor.field)
    number = factor.type in (int, float)
    fits = isinstance(value, int | float) and not isinstance(value, bool) if number else True
    fits = isinstance(value, bool) if factor.type is bool else fits
    if value is not None and not fits:
        raise ConfigError(f"{text}: {factor.key} must be {'a number' if number else 'true or false'}")
    given = tuple(value) if isinstance(value, list) else value
    if rule is not None and value is not None and not holds(rule, given):
        raise ConfigError(f"{text}: {factor.key} must be {rule.says}")


def value_of(factor: Factor, run: RunConfig) -> Any:
    """As it is set, whether it has an effect or not; but of a run without a normalisation both `bn` and `norm` are
    none, whichever of them said so."""
    if factor.key in ("bn", "norm"):
        kind, place = kind_and_place(run.normalisation)
        return place if factor.key == "bn" else kind
    return getattr(getattr(run, factor.group) if factor.group else run, factor.field)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, list | tuple):
        return list(one) == list(other)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def excluded(runs: Mapping[int, RunConfig], entries: Sequence[object]) -> set[int]:
    """Jobs of the runs that `sweep.exclude` leaves out. Raises ConfigError for an entry that leaves none out, which is
    most likely mistyped, and where none is left."""
    found: set[int] = set()
    for entry in map(Entry.of, entries):
        own = {job for job, run in runs.items() if entry.matches(run)}
        if not own:
            raise ConfigError(f"{entry.text}: must match a run of the sweep, matches none of {len(runs)}")
        found |= own
    if runs and len(found) == len(runs):
        raise ConfigError(
            f"sweep.exclude={said(list(entries))}: must leave a run of the sweep, matches all {len(runs)}"
        )
    return found


def refused_text(reasons: Sequence[str]) -> list[str]:
    """What rules refused, each with how many jobs it did, in a few lines."""
    counts = Counter(reason.partition(": ")[2] for reason in reasons)
    example = {reason.partition(": ")[2]: reason for reason in reversed(reasons)}
    lines = [f"sweep.invalid=skip leaves out {n:,} jobs: {example[rule]}" for rule, n in counts.most_common(LISTED)]
    rest = sum(counts.values()) - sum(n for _, n in counts.most_common(LISTED))
    return lines + (
        [f"sweep.invalid=skip leaves out {rest:,} more, for {len(counts) - LISTED} more rules"] if rest else []
    )
