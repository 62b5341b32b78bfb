"""Libraries that heed the user's environment more than a report may: they are imported as they are shipped."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from bnsweep.config.checks import ConfigError


def load_libraries() -> None:
    """Imports matplotlib and scipy, without a word: matplotlib tells of each list of fonts that it makes, and of each
    folder for it that it cannot write. Raises ConfigError for a matplotlibrc in this folder that is no text: nothing
    keeps matplotlib from reading it."""
    with at_level("matplotlib", logging.ERROR):
        if "matplotlib" not in sys.modules:
            import_as_shipped()
        import matplotlib.font_manager  # noqa: F401  # makes that list


def import_as_shipped() -> None:
    """Neither an MPLBACKEND, whose package may be missing, nor a matplotlibrc, nor a SOURCE_DATE_EPOCH that is no
    number may cost a report."""
    package = find_spec("matplotlib")
    assert package is not None
    assert package.origin is not None
    shipped = Path(package.origin).parent / "mpl-data" / "matplotlibrc"
    with changed_environment(MPLBACKEND="agg", MATPLOTLIBRC=str(shipped), SOURCE_DATE_EPOCH=None):
        import scipy.special  # noqa: F401

        try:
            import matplotlib  # noqa: F401
        except UnicodeDecodeError as error:
            raise ConfigError(f"{Path('matplotlibrc').resolve()}: must be text in UTF-8, or be moved away") from error


@contextmanager
def at_level(name: str, level: int) -> Iterator[None]:
    """A logger that says nothing below that level, until the end of the block."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def changed_environment(**values: str | None) -> Iterator[None]:
    """Environment variables as given, None for none, and afterwards as they were."""
    before = {name: os.environ.get(name) for name in values}
    set_variables(values)
    try:
        yield
    finally:
        set_variables(before)


def set_variables(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
