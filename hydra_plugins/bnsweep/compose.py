"""Compose the jobs of one sweep: a few by Hydra, the others of their parts and by setting values."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import permutations, zip_longest
from typing import cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, Node, OmegaConf

from hydra_plugins.bnsweep.overrides import parse_override
from hydra_plugins.bnsweep.parts import Parts, copy_node, fill, merges_into_references

log = logging.getLogger(__name__)


class Composer:
    """Composes jobs of the sweep whose own config is `master`.

    Hydra builds a config in two steps: it merges what the group choices name, then sets the values one after the other.
    The first step costs nearly all of the time, and is Hydra's. Groups that keep to their own part of the config are
    merged independently of one another, so that a few configs, in which each choice occurs, hold the parts of all their
    combinations (`_parts`); other combinations are merged once each. The second step is done here by the call that
    Hydra makes, in Hydra's order, on a copy, and is followed by the notes that Hydra takes of the overrides.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig, jobs: Sequence[Sequence[str]] = ()) -> None:
        """`jobs` are the overrides of those that may be composed."""
        self._loader = cast(ConfigLoaderImpl, loader)
        self._master = master
        self._hydra_overrides = cast(list[str], OmegaConf.to_container(master.hydra.overrides.hydra))  # as written
        self._groups: dict[str, list[str]] = {}
        self._kinds: dict[str, str] = {}
        self._merged: dict[tuple[str, ...], DictConfig] = {}
        self._parts_of: dict[tuple[str, ...], Parts | None] = {}
        self._texts = dict.fromkeys(text for job in jobs for text in job)
        self._warned = False

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """What `load_sweep_config(master, overrides)` gives, to the byte, or raises."""
        fault: Exception | None = None
        try:
            config = self._compose_quickly([parse_override(text) for text in overrides])
        except Exception as error:
            config, fault = None, error
        if config is not None:
            return config
        config = self._load(overrides)  # raises in Hydra's own words where the overrides are at fault
        if fault is not None and not self._warned:
            self._warned = True
            reason = " ".join(f"{type(fault).__name__}: {fault}".split())
            log.warning("composing jobs the slow way, as the quick one failed: %s", reason)
        return config

    def are_apart(self, overrides: Sequence[str], varied: Sequence[str]) -> bool:
        """Whether every part of a job's config, but for Hydra's own, depends on nothing but the overrides of that part,
        of those that `varied` jobs differ in. `overrides`: those of one of the jobs."""
        parsed = [parse_override(text) for text in overrides]
        if "other" in {self._kind(override) for override in (*parsed, *map(parse_override, varied))}:
            return False
        choices = [override for override in parsed if self._kind(override) == "choice"]
        keys = {override.get_key_element() for override in choices}
        differ = {
            key
            for text in varied
            if self._kind(parse_override(text)) == "choice"
            for key in [parse_override(text).get_key_element()]
        }
        config = self.compose(overrides)
        parts = self._parts_of.get(tuple(override.get_key_element() for override in choices))
        return differ <= keys and (parts is not None or not differ) and not refers(config)

    def _load(self, overrides: Sequence[str]) -> DictConfig:
        return self._loader.load_sweep_config(self._master, list(overrides))

    def _compose_quickly(self, overrides: list[Override]) -> DictConfig | None:
        """None if there is anything among the overrides but group choices and plain values."""
        kinds = [self._kind(override) for override in overrides]
        if "other" in kinds:
            return None
        config = self._merge([override for override, kind in zip(overrides, kinds, strict=True) if kind == "choice"])
        for override in (override for override, kind in zip(overrides, kinds, strict=True) if kind == "value"):
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        note(config, overrides)
        return config

    def note(self, config: DictConfig, overrides: Sequence[str]) -> None:
        """Takes the notes, in the config of a job, that the config of another one has of its overrides, which are plain
        values and choices of the same groups."""
        parsed = [parse_override(text) for text in overrides]
        note(config, parsed)
        choices = config.hydra.runtime.choices
        for override in parsed:
            if self._kind(override) == "choice":
                choices[override.key_or_group] = override.value()

    def _merge(self, choices: list[Override]) -> DictConfig:
        """The config of these choices alone, to be changed."""
        keys = tuple(override.get_key_element() for override in choices)
        if keys not in self._parts_of:
            self._parts_of[keys] = None
            self._parts_of[keys] = self._find_parts(keys)
        parts = self._parts_of[keys]
        config = parts.assemble(choices) if parts else None
        if config is not None:
            return config
        names = tuple(str(override.input_line) for override in choices)
        if names not in self._merged:
            self._merged[names] = self._load(names)
        return cast(DictConfig, copy_node(self._merged[names], None))

    def _find_parts(self, keys: tuple[str, ...]) -> Parts | None:
        """None if the choices of these groups cannot be taken apart, or are one for each group."""
        choices: dict[str, list[str]] = {}
        for text in self._texts:
            if self._kind(parse_override(text)) == "choice":
                choices.setdefault(parse_override(text).get_key_element(), []).append(text)
        options = [choices.get(key, []) for key in keys]
        varied = [texts for texts in options if len(texts) > 1]
        if not varied or not all(options) or len(set(keys)) < len(keys):
            return None
        first = [texts[0] for texts in options]
        packages = self._packages([parse_override(text) for texts in varied for text in texts], first)
        if packages is None:
            return None
        rows = [[text or default for text, default in zip(row, first, strict=True)] for row in zip_longest(*options)]
        return Parts(packages, [(row, self._load(row)) for row in rows])

    def _packages(self, varied: list[Override], first: list[str]) -> dict[str, str] | None:
        """Group -> the part of the config that its choices, and no other group's, are merged into; None if Hydra may
        have more to do for one of these choices than to merge its file there."""
        hydra = self._master.hydra
        name, overrides = hydra.job.config_name, [*self._hydra_overrides, *first]
        _, files = self._loader._parse_overrides_and_create_caching_repo(name, overrides)
        chosen = [files.load_config(f"{override.key_or_group}/{override.value()}") for override in varied]
        if any(file is None or file.defaults_list or file.header["package"] is not None for file in chosen):
            return None
        entries = self._loader.compute_defaults_list(name, overrides, RunMode.RUN).defaults
        groups = {override.key_or_group for override in varied}
        packages = {str(entry.override_key): entry.package or "" for entry in entries if entry.override_key in groups}
        apart = all(not f"{one}.".startswith(f"{other}.") for one, other in permutations(packages.values(), 2))
        if not apart or not all(packages.values()) or packages.keys() != groups:
            return None
        merged = [(packages[o.key_or_group], file.config) for o, file in zip(varied, chosen, strict=True) if file]
        for entry in entries:
            file = files.load_config(str(entry.config_path))
            # A defaults list that reads choices: one group's choice may change what is merged for another.
            if file is None or any("${" in str(vars(default)) for default in file.defaults_list or ()):
                return None
            merged.append((entry.package or "", file.config))
        return None if merges_into_references(merged) else packages

    def _kind(self, override: Override) -> str:
        """`choice` of a group, plain `value`, or `other`."""
        text = str(override.input_line)
        if text not in self._kinds:
            # A mapping is a value to Hydra even where its key is a group.
            choice = not isinstance(override.value(), dict) and self._is_group(override.key_or_group)
            plain = _is_plain(override) and (choice or override.type == OverrideType.CHANGE)
            self._kinds[text] = ("choice" if choice else "value") if plain else "other"
        return self._kinds[text]

    def _is_group(self, key: str) -> bool:
        parent, _, name = key.rpartition("/")
        if parent not in self._groups:
            hydra = self._master.hydra
            self._groups[parent] = self._loader.get_group_options(
                parent, ObjectType.GROUP, hydra.job.config_name, self._hydra_overrides
            )
        return name in self._groups[parent]


def note(config: DictConfig, overrides: Sequence[Override]) -> None:
    """What Hydra notes of a job's overrides in its config."""
    fill(config.hydra.overrides.task, [str(override.input_line) for override in overrides])
    job = config.hydra.job
    job.override_dirname = get_overrides_dirname(overrides=list(overrides), **job.config.override_dirname)


def refers(config: DictConfig) -> bool:
    """Whether a value of the config, but for Hydra's own part, is taken from elsewhere than the environment."""

    def visit(node: Node) -> bool:
        content = node.__dict__.get("_content")
        if node._is_interpolation():
            return not str(node._value()).startswith("${oc.env:")
        children = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
        return any(visit(child) for child in children)

    return any(visit(cast(Node, config._get_node(key))) for key in config if key != "hydra")


def _is_plain(override: Override) -> bool:
    """Neither Hydra's own, nor with a package."""
    return not (override.is_hydra_override() or override.package is not None or override.is_sweep_override())
