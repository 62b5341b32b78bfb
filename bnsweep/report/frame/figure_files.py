"""Which figures of a report are wanted as files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnsweep.config.checks import ConfigError

FORMATS = ("svg", "pdf", "png")


@dataclass(frozen=True)
class FigureFiles:
    """Raises ConfigError for a format that there is not, and for names without a format."""

    formats: tuple[str, ...] = ()
    """Of FORMATS; none: no figure is written."""
    only: tuple[str, ...] = ()
    """Names of figures, or parts of them; none: all figures are."""

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise ConfigError(f"figures={name}: must be one or several of {', '.join(FORMATS)} (figures=svg,pdf)")
        if self.only and not self.formats:
            raise ConfigError(f"only={','.join(self.only)}: must come with figures={','.join(FORMATS)} or one of them")


def listed(given: str | Sequence[str]) -> tuple[str, ...]:
    """Names as they are given: `svg,pdf`, or a list of them; each once."""
    names = given.split(",") if isinstance(given, str) else map(str, given)
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
