"""What is refused of a command line before Hydra acts on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from bnsweep.cli.quoting import FORM
from bnsweep.config.checks import ConfigError
from bnsweep.config.tree import GROUPS, known_keys

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.output_subdir")
"""Empty, they would stand for the working directory."""


def check_arguments(arguments: Sequence[str]) -> None:
    """Raises ConfigError or, for an override that cannot be read, Hydra's own error."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    flags = parser.parse_args(arguments)
    if flags.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun: must be left out (the same command goes on where it stopped)")
    check_part(flags.package)
    for text in [] if flags.shell_completion else flags.overrides:
        check_override(text, read_override(text))


def check_part(part: str | None) -> None:
    """Refuses a --package that no setting of ours lies in; Hydra knows its own."""
    known = part is None or part.partition(".")[0] in ("hydra", "_global_")
    if not known and not any(f"{key}.".startswith(f"{part}.") for key in known_keys()):
        raise ConfigError(f"--package {part}: must be a part of the settings (choices: {', '.join(GROUPS)}, seed)")


def read_override(text: str) -> Override:
    """Raises ConfigError or, for one that cannot be read, Hydra's own error."""
    from hydra_plugins.bnsweep.overrides import parse_override

    try:
        return parse_override(text)
    except ValueError as error:  # a number of more than 4300 digits
        raise ConfigError(f"{text}: must be a number that can be read ({error})") from None


def refuse(message: str) -> NoReturn:
    late = message.startswith("unrecognized arguments") and "=" in message
    raise ConfigError(f"{message} ({'flags such as -m come before all settings' if late else '--help lists more'})")


def check_override(text: str, override: Override) -> None:
    """Refuses what Hydra takes for something else than was meant."""
    key, value = override.key_or_group, override.value()
    if not key:
        raise ConfigError(f"{text}: {FORM}")
    if key in FOLDERS and value == "":
        raise ConfigError(f"{text}: must be the name of a folder")
    if key in GROUPS and isinstance(value, list):
        raise ConfigError(f"{text}: {key} takes the name of one choice, not a list")
