"""Overrides as Hydra parses them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException


@lru_cache(maxsize=4096)
def parse_override(text: str) -> Override:
    """One override, parsed once however many jobs share it; not to be changed."""
    return OverridesParser.create().parse_overrides([text])[0]


def check_duplicates(overrides: Sequence[str]) -> None:
    """Refuse a key that is set twice, where Hydra would let the last one win in silence.

    `+key` and `++key` set `key`; a deletion does not (`~key +key=value` replaces it). `overrides` are the task's, such
    as `HydraConfig.get().overrides.task`: Hydra itself may add a second `hydra.mode`. Raises
    ConfigCompositionException, which `hydra.main` prints as one line.
    """
    seen: dict[str, str] = {}
    for text in overrides:
        override = parse_override(text)
        if override.is_delete():
            continue
        key = override.get_key_element().lstrip("+")
        if key in seen:
            rule = f"{key} must be given once (to sweep over several values: --multirun {key}=VALUE,VALUE)"
            raise ConfigCompositionException(f"{seen[key]} {text}: {rule}")
        seen[key] = text
