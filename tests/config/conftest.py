"""Configs as the command line composes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from hydra import compose, initialize_config_dir

from bnsweep.config.run import RunConfig
from bnsweep.config.tree import conf_folder, from_composed, register_schema


@pytest.fixture(scope="session")
def composed() -> Callable[..., RunConfig]:
    """The run that overrides stand for, composed once."""
    register_schema()

    @cache
    def run(*overrides: str) -> RunConfig:
        with initialize_config_dir(config_dir=str(conf_folder()), version_base="1.3"):
            return from_composed(compose(config_name="config", overrides=["sweep.id=x", *overrides]))

    return run
