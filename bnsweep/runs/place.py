"""Where the stacks of a sweep train: on this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import DataKey, Dataset
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Cluster, Executor
from bnsweep.runs.executors.local import check_disk, local_executor
from bnsweep.runs.executors.processes import prepare
from bnsweep.runs.machine import check_host
from bnsweep.runs.plan import Plan, check_memory, plan_on, stack_limit, workers_for
from bnsweep.runs.resources import Resources, this_machine
from bnsweep.runs.scratch import scratch
from bnsweep.training.device import resolve_device


def make_room(configs: Sequence[RunConfig], resources: Resources) -> None:
    """Refuses runs that no memory or disk holds; where several stacks will train at a time on this machine, gets their
    processes ready."""
    check_host()
    check_memory(configs, resources.device, resources.free)
    if configs[0].sweep.dry_run:
        return
    scratch()
    if resources.where or resources.workers == 1:
        return
    if stack_limit(configs[0], len(configs), resources) < len(configs):
        check_disk(configs)
        prepare()


def resources_for(configs: Sequence[RunConfig], workers: int | None, cluster: Cluster | None) -> Resources:
    """What these runs can train on; `workers`: as `run_sweep` takes it. Raises ConfigError."""
    if cluster is not None:
        return cluster.resources(configs[0].train.device)
    device = resolve_device(configs[0].train.device)
    return this_machine(device, workers_for(configs, device) if workers is None else workers)


Start = Callable[[Plan, Path, Checkpoints | None], Executor]
"""Makes what trains a plan's stacks; the folder is for what it needs meanwhile."""


def starter(datasets: dict[DataKey, Dataset], cluster: Cluster | None) -> Start:
    """Of executors on a cluster, or on this machine."""

    def start(plan: Plan, folder: Path, checkpoints: Checkpoints | None) -> Executor:
        make = cluster.executor if cluster else local_executor
        return make(plan.workers, datasets, plan.device, folder, plan.configs[0].sweep.save_models, checkpoints)

    return start


class Planned(Protocol):
    """The plan of some configs and of what of them is done; `restack`: as `plan_on` has it."""

    def __call__(self, configs: Sequence[RunConfig], done: Collection[str], restack: bool = False) -> Plan: ...


def planner(resources: Resources, cluster: Cluster | None, checkpoints: Checkpoints | None) -> Planned:
    """Makes plans, on this machine by the memory that is free then, with the data read."""

    def planned(configs: Sequence[RunConfig], done: Collection[str], restack: bool = False) -> Plan:
        now = resources if cluster else this_machine(resources.device, resources.workers)
        return plan_on(configs, done, now, checkpoints or (), restack)

    return planned
