"""Hydra's own composition, for comparison: a loader that counts, and all that a composed config is made of."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import Container, DictConfig, Node, OmegaConf

APP = Path(__file__).parent / "apps" / "launcher_app"


@contextmanager
def application() -> Iterator[None]:
    """The small application's types, importable by name, as those of a running application are."""
    spec = spec_from_file_location("launcher_app", APP / "app.py")
    assert spec is not None and spec.loader is not None
    sys.modules["launcher_app"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    setup_globals()
    yield
    del sys.modules["launcher_app"]


class CountingLoader(ConfigLoaderImpl):
    """Hydra's loader; counts the jobs it composed."""

    composed = 0

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        self.composed += 1
        return super().load_sweep_config(master_config, sweep_overrides)


def load(
    folder: Path, *hydra_overrides: str, kind: type[CountingLoader] = CountingLoader
) -> tuple[CountingLoader, DictConfig]:
    """A loader on `folder`, and the config of a sweep, with its start time as read once."""
    loader = kind(create_config_search_path(str(folder)))
    master = loader.load_configuration("config", list(hydra_overrides), RunMode.MULTIRUN)
    assert OmegaConf.select(master, "hydra.sweep.dir")
    return loader, master


def anatomy(node: Node) -> list[Any]:
    """All that a config is made of: types, flags and raw contents of every node, in order."""
    meta = node._metadata
    facts: list[Any] = [
        node._get_full_key(None),
        type(node),
        meta.ref_type,
        meta.object_type,
        meta.optional,
        meta.flags,
    ]
    if not isinstance(node, Container) or not isinstance(node._content, dict | list):
        return [*facts, node._value()]
    inner = node._content.values() if isinstance(node._content, dict) else node._content
    return [*facts, *(anatomy(child) for child in inner)]
