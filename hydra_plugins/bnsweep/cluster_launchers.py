"""`hydra/launcher=stacked_ray` and `stacked_submitit`: the stacked launcher, with settings of where stacks train, which
the task reads in `hydra.launcher`. This process plans, and writes what there is to write."""

# No `from __future__ import annotations`: Hydra's scanner executes modules before they are in sys.modules, where
# dataclasses look text annotations up.
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from hydra_plugins.bnsweep.launcher import StackedLauncher, StackedLauncherConf


@dataclass
class RayLauncherConf(StackedLauncherConf):
    _target_: str = "hydra_plugins.bnsweep.cluster_launchers.RayLauncher"

    address: str | None = None
    """Of a Ray cluster, as ray.init takes it; null: one that Ray starts on this machine for this command."""

    workers: int | None = None
    """Stacks trained at a time; null: as many as the cluster has place for."""

    cpus_per_worker: int = 1
    """A stack trains on one thread."""

    gpus_per_worker: float | None = None
    """0 to 1; null: 1 where the cluster has GPUs and train.device lets them be used."""

    memory_gb: float | None = None
    """Of a worker; null: its share of what its node has."""


class RayLauncher(StackedLauncher):
    def __init__(self, job_logging: bool = False, **settings: Any) -> None:
        super().__init__(job_logging)


store = ConfigStore.instance().store
store(group="hydra/launcher", name="stacked_ray", node=RayLauncherConf, provider="bnsweep")
