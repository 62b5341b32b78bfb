"""Rules on settings, and the one-line error that a broken one becomes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


class ConfigError(ValueError):
    """A setting a user can mend: the message names the value, the rule and the choices, in one line."""


def check(rule: bool, key: str, value: object, says: str) -> None:
    if not rule:
        raise ConfigError(f"{key}={value}: must be {says}")


def check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    check(value in choices, key, value, f"one of {', '.join(choices)}")


def check_folder(key: str, folder: Path) -> None:
    """Refuses a folder that cannot take files, without making it."""
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    check(nearest.is_dir() and os.access(nearest, os.W_OK), key, folder, "a folder that can be written")
