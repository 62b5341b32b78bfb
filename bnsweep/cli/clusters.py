"""Where the stacks of a sweep train, by the launcher that Hydra's command line chose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bnsweep.runs.executors.base import Cluster

OURS = ("_target_", "job_logging")
"""Settings that all stacked launchers have."""


def launcher_of(config: DictConfig) -> str:
    """Name of the class of a job's launcher."""
    return str(config.hydra.launcher.get("_target_", "")).rpartition(".")[2]


def trains_here(config: DictConfig) -> bool:
    return launcher_of(config) not in ("RayLauncher", "SubmititLauncher")


def cluster_of(config: DictConfig) -> Cluster | None:
    """The cluster of a job's launcher; None for this machine. Raises ConfigError for a setting that makes no sense."""
    if trains_here(config):
        return None
    from omegaconf import OmegaConf

    found: Any = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    settings = {name: value for name, value in found.items() if name not in OURS}
    if launcher_of(config) == "RayLauncher":
        from bnsweep.runs.executors.ray_cluster import RayCluster

        return RayCluster(**settings)
    from bnsweep.runs.executors.submitit_cluster import SubmititCluster

    return SubmititCluster(**settings)
