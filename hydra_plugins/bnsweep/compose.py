"""Compose the jobs of one sweep: by Hydra once for each combination of group choices, by setting values otherwise."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import cast

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.bnsweep.overrides import parse


class Composer:
    """Composes jobs of the sweep whose own config is `master`.

    Hydra builds a config in two steps: it merges what the group choices name, then sets the values one after the other.
    Jobs of equal choices share the first step, which costs nearly all of the time. The second is done here by the call
    that Hydra makes, in Hydra's order, on a copy of what Hydra had before it, and is followed by the notes that Hydra
    takes of the overrides.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader = loader
        self._master = master
        self._bases: dict[tuple[str, ...], bytes] = {}
        self._groups: dict[str, list[str]] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """What `load_sweep_config(master, overrides)` gives, to the byte, or raises."""
        try:
            config = self._compose_from_base([parse(text) for text in overrides])
        except Exception:
            # Whatever went wrong, Hydra says it in its own words below.
            config = None
        return self._loader.load_sweep_config(self._master, list(overrides)) if config is None else config

    def _compose_from_base(self, overrides: list[Override]) -> DictConfig | None:
        """None if there is anything among the overrides but group choices and plain values."""
        choices = [override for override in overrides if self._is_choice(override)]
        values = [override for override in overrides if self._is_value(override)]
        if len(choices) + len(values) < len(overrides):
            return None
        config = self._copy_of_base(tuple(str(override.input_line) for override in choices))
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        task = config.hydra.overrides.task
        task.clear()
        task.extend([override.input_line for override in overrides])
        job = config.hydra.job
        job.override_dirname = get_overrides_dirname(overrides=overrides, **job.config.override_dirname)
        return config

    def _copy_of_base(self, choices: tuple[str, ...]) -> DictConfig:
        if choices not in self._bases:
            # Loading a pickle takes a fifth of the time of copy.deepcopy.
            self._bases[choices] = pickle.dumps(self._loader.load_sweep_config(self._master, list(choices)))
        return cast(DictConfig, pickle.loads(self._bases[choices]))  # noqa: S301 (our own bytes)

    def _is_choice(self, override: Override) -> bool:
        return _is_plain(override) and self._is_group(override.key_or_group)

    def _is_value(self, override: Override) -> bool:
        change = override.type == OverrideType.CHANGE
        return _is_plain(override) and change and not self._is_group(override.key_or_group)

    def _is_group(self, key: str) -> bool:
        parent, _, name = key.rpartition("/")
        if parent not in self._groups:
            hydra = self._master.hydra
            self._groups[parent] = self._loader.get_group_options(
                parent, ObjectType.GROUP, hydra.job.config_name, list(hydra.overrides.hydra)
            )
        return name in self._groups[parent]


def _is_plain(override: Override) -> bool:
    """Neither Hydra's own, nor with a package, nor a mapping (which Hydra takes for a value even of a group)."""
    special = override.is_hydra_override() or override.package is not None or override.is_sweep_override()
    return not special and not isinstance(override.value(), dict)
