"""Rules on settings, and the one-line error that a broken one becomes."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsweep.catalogue.own import is_own


class ConfigError(ValueError):
    """A setting a user can mend: the message names the value, the rule and the choices, in one line."""


class OwnCodeError(ConfigError):
    """An error in code of the user's: its traceback, by `__cause__`, is worth keeping."""


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


def or_null(rule: Rule | OneOf) -> Rule:
    """The rule, of what is set."""
    return Rule(lambda value: value is None or rule.holds(value), f"{rule.says} or null")


def one_of_or_own(choices: Collection[str]) -> Rule:
    """A choice, or the dotted path of a function of the user's."""
    known = OneOf(choices)
    return Rule(
        lambda value: known.holds(value) or is_own(value),
        f"{known.says}, or a function of yours, as module:function",
    )


POSITIVE = Rule(lambda value: math.isfinite(value) and value > 0, "a finite number > 0")
NOT_NEGATIVE = Rule(lambda value: math.isfinite(value) and value >= 0, "a finite number >= 0")
SHARE = Rule(lambda value: 0 < value <= 1, "in (0, 1]")
LESS_THAN_ALL = Rule(lambda value: 0 <= value < 1, "in [0, 1)")
TEXT = Rule(lambda value: value.strip() != "" and value.isprintable(), "text (not empty, no control characters)")
DIGEST = Rule(lambda value: len(value) == 16, "left out: it is filled in")
SEED = Rule(lambda value: 0 <= value < 2**31, "between 0 and 2147483647")
AUTO = "auto"
"""The seed of a sweep that adds seeds until its claims are decided."""

TRIAL_BYTES = 2**16
"""Of a file that shows whether a folder can take any."""


def shard_of(text: str | None) -> tuple[int, int] | None:
    """Number and count of what sweep.shard says; None where it says nothing, or nothing that makes sense."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text or "")
    number, count = map(int, found.groups()) if found else (0, 0)
    return (number, count) if 1 <= number <= count else None


SHARD = Rule(lambda text: shard_of(text) is not None, "I/N with whole numbers 1 <= I <= N, as in 2/5,")


def check(rule: bool, key: str, value: object, says: str) -> None:
    """Raises ConfigError, in one line that names key, value and what it must be, unless the rule holds."""
    if not rule:
        raise ConfigError(f"{key}={value}: must be {says}")


def check_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Raises ConfigError, with the choices, for a value that is none of them."""
    rule = OneOf(choices)
    check(rule.holds(value), key, value, rule.says)


def check_folder(key: str, folder: Path) -> None:
    """Refuses a folder that cannot take files, by a trial that leaves nothing behind."""
    try:
        try_folder(folder)
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{key}={folder}: must be a folder that can be written ({reason})") from error


def try_folder(folder: Path) -> None:
    """Makes the folder where it is missing, writes a file into it, and removes what it made. Raises OSError where that
    fails; a full disk fails too."""
    new = []
    try:
        for path in (*reversed(folder.parents), folder):
            if not path.exists():
                path.mkdir(exist_ok=True)
                new.append(path)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".trial-") as file:
            file.write(b" " * TRIAL_BYTES)
            file.flush()
    finally:
        for path in reversed(new):
            with suppress(OSError):  # another process uses it by now
                path.rmdir()


def printable(text: str, keep: str = "") -> str:
    """The text with what a terminal or a page would obey and not show (escape sequences, line ends, changes of writing
    direction) written out, as in \\x1b; but for what is to `keep`."""
    for char in set(text):
        if not (char.isprintable() or char in keep):
            text = text.replace(char, repr(char)[1:-1])
    return text
