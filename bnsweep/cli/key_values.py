"""KEY=VALUE arguments of the commands that Hydra does not read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from bnsweep.config.checks import ConfigError


def key_values(arguments: Sequence[str], keys: Collection[str], whose: str) -> Iterator[tuple[str, str]]:
    """Each key and its value. Raises ConfigError for an argument of another form, an unknown key or no value. `whose`:
    the command, to follow "of"."""
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in keys:
            says = "must be KEY=VALUE" if not equals else f"no such setting of {whose}"
            raise ConfigError(f"{argument}: {says}, with KEY one of {', '.join(keys)}")
        if not value:
            raise ConfigError(f"{argument}: must have a value (--help lists the defaults)")
        yield key, value
