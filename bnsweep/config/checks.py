"""Rules on settings, and the one-line error that a broken one becomes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ConfigError(ValueError):
    """A setting a user can mend: the message names the value, the rule and the choices, in one line."""


@dataclass(frozen=True)
class Rule:
    """What a value must be."""

    holds: Callable[[Any], bool]
    says: str
    """Follows "must be"."""


@dataclass(frozen=True)
class OneOf:
    """The rule that a value is a choice; rows that are added to a table of choices later count."""

    choices: Collection[str]

    def holds(self, value: object) -> bool:
        return value in self.choices

    @property
    def says(self) -> str:
        return f"one of {', '.join(self.choices)}"


def at_least(least: int) -> Rule:
    """Numbers that are no smaller."""
    return Rule(lambda value: value >= least, f">= {least}")


def or_null(rule: Rule) -> Rule:
    """The rule, of what is set."""
    return Rule(lambda value: value is None or rule.holds(value), f"{rule.says} or null")


POSITIVE = Rule(lambda value: math.isfinite(value) and value > 0, "a finite number > 0")
NOT_NEGATIVE = Rule(lambda value: math.isfinite(value) and value >= 0, "a finite number >= 0")
SHARE = Rule(lambda value: 0 < value <= 1, "in (0, 1]")
LESS_THAN_ALL = Rule(lambda value: 0 <= value < 1, "in [0, 1)")
SEED = Rule(lambda value: 0 <= value < 2**31, "between 0 and 2147483647")


def check(rule: bool, key: str, value: object, says: str) -> None:
    """Raises ConfigError, in one line that names key, value and what it must be, unless the rule holds."""
    if not rule:
        raise ConfigError(f"{key}={value}: must be {says}")


def check_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Raises ConfigError, with the choices, for a value that is none of them."""
    rule = OneOf(choices)
    check(rule.holds(value), key, value, rule.says)


def check_folder(key: str, folder: Path) -> None:
    """Refuses a folder that cannot take files, without making it."""
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    check(nearest.is_dir() and os.access(nearest, os.W_OK), key, folder, "a folder that can be written")
