"""Overrides as Hydra parses them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep
from hydra.errors import ConfigCompositionException, HydraException


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


def count_values(override: Override) -> int:
    """Of what an override sweeps over; 1 for a plain value. Raises HydraException for what is no list of values."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        says = "must be a list of values, such as range(0,3) or 0.1,0.2 (hydra/sweeper=optuna takes intervals)"
        raise HydraException(f"{override.input_line}: {says}")
    if isinstance(value, ChoiceSweep):
        if any(isinstance(item, Sweep) for item in value.list):  # Hydra reads this, and fails when it makes the jobs
            says = "must be values, or one function such as range(0,3), not both (write its values out)"
            raise HydraException(f"{override.input_line}: {says}")
        return len(value.list)
    if not isinstance(value, RangeSweep):
        return 1
    start, stop, step = (float(number or 0) for number in (value.start, value.stop, value.step))
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        raise HydraException(f"{override.input_line}: must have finite bounds and a step other than 0")
    return max(0, math.ceil((stop - start) / step))
