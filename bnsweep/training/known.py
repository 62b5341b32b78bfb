"""Runs that know all that is to be known before they are planned: their data, the user's code, the user's networks."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from bnsweep.config.run import RunConfig
from bnsweep.data import dataset
from bnsweep.data.dataset import DataKey, Dataset


def with_facts(configs: Iterable[RunConfig], datasets: dict[DataKey, Dataset]) -> list[RunConfig]:
    """The runs with the facts of their data, code and networks. Reads what is not among `datasets` and adds it. Raises
    ConfigError for what is refused, and where a setting does not fit."""
    found = dataset.with_facts(configs, datasets)
    if not any(config.model.is_own for config in found):
        return found
    from bnsweep.nets.module_facts import with_networks

    def rows(config: RunConfig) -> Tensor:
        if config.data.key not in datasets:
            datasets[config.data.key] = dataset.load(config.data)
        return datasets[config.data.key].x_ND

    return with_networks(found, rows)
