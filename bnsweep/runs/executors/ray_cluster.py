"""A Ray cluster as the launcher's settings name it: the one at an address, or one that Ray starts on this machine."""

from __future__ import annotations

import os
import queue
import secrets
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bnsweep.config.checks import ConfigError, check
from bnsweep.data.dataset import DataKey, Dataset
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Cluster, Executor
from bnsweep.runs.executors.ray import RayExecutor, RayWorker, arrays_of
from bnsweep.runs.machine import cores, free_bytes
from bnsweep.runs.resources import Resources
from bnsweep.training.device import describe_device

LAUNCHER = "hydra/launcher=stacked_ray"
GIB = 2**30
PATIENCE = 60.0
"""Seconds to wait for a GPU that can be looked at."""


@dataclass
class RayCluster(Cluster):
    """The fields are the settings of `hydra/launcher=stacked_ray`, which say what they mean."""

    address: str | None = None
    workers: int | None = None
    cpus_per_worker: int = 1
    gpus_per_worker: float | None = None
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        check(self.workers is None or self.workers >= 1, "hydra.launcher.workers", self.workers, ">= 1 or null")
        check(self.cpus_per_worker >= 1, "hydra.launcher.cpus_per_worker", self.cpus_per_worker, ">= 1")
        gpus, memory = self.gpus_per_worker, self.memory_gb
        check(gpus is None or 0 <= gpus <= 1, "hydra.launcher.gpus_per_worker", gpus, "from 0 to 1, or null")
        check(memory is None or memory >= 1, "hydra.launcher.memory_gb", memory, ">= 1 or null")
        self._joined, self._gpus = False, 0.0
        self._set: list[str] = []
        self._spare: queue.SimpleQueue[RayWorker] = queue.SimpleQueue()

    @property
    def where(self) -> str:
        return f"Ray at {self.address}" if self.address else "Ray on this machine"

    def resources(self, device: str) -> Resources:
        ray = self._join()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._gpus = self._gpus_for(device, sum(node.get("GPU", 0) for node in nodes))
        wanted = self._wanted()
        slots = [min(int(node.get(name, 0) // amount) for name, amount in wanted.items()) for node in nodes]
        if not any(slots):
            has = texts(totals(nodes, wanted))
            raise ConfigError(f"{self.where}: must have a node with {texts(wanted)} for a worker; it has {has} in all")
        workers = sum(slots) if self.workers is None else self.workers
        says = f"at most {sum(slots)}: the cluster has {texts(totals(nodes, wanted))}, a worker takes {texts(wanted)}"
        check(workers <= sum(slots), "hydra.launcher.workers", workers, says)
        if self._gpus:
            looks = [look_at_gpu(node["NodeID"]) for node in ray.nodes() if node["Resources"].get("GPU", 0) >= 1]
            names = ", ".join(sorted({name for name, _ in looks}))
            free = int(min(free for _, free in looks) * self._gpus)
            return Resources(torch.device("cuda"), workers, free, workers, f"{self.where}, {names}")
        free = min(int(node["memory"] // n) for node, n in zip(nodes, slots, strict=True) if n)
        free = free if self.memory_gb is None else int(self.memory_gb * GIB)
        cpu = torch.device("cpu")
        return Resources(cpu, workers, free, workers, f"{self.where}, {describe_device(cpu)}")

    def executor(
        self,
        workers: int,
        datasets: dict[DataKey, Dataset],
        device: torch.device,
        folder: Path,
        save_models: bool,
        checkpoints: Checkpoints | None = None,
    ) -> Executor:
        put = {key: self._join().put(arrays_of(dataset)) for key, dataset in datasets.items()}
        options: dict[str, Any] = {"num_cpus": self.cpus_per_worker, "num_gpus": self._gpus}
        options |= {"memory": int(self.memory_gb * GIB)} if self.memory_gb is not None else {}
        models = folder / "models" if save_models else None
        return RayExecutor(workers, (put, device, checkpoints), models, options, self._spare, self.where)

    def close(self) -> None:
        if self._joined:
            ray_itself().shutdown()
            self._joined = False
        for name in self._set:
            os.environ.pop(name, None)
        self._set.clear()

    def _join(self) -> Any:
        """Ray, with the cluster that this process has joined already, the one at the address, or a new one."""
        ray = ray_itself()
        if ray.is_initialized():
            return ray
        with handlers_kept():
            if self.address is None:
                self._set_variables()
                cpus = cores() if self.workers is None else self.workers * self.cpus_per_worker
                ray.init("local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            else:
                check_answers(self.address)
                try:
                    ray.init(self.address, log_to_driver=False, logging_level="ERROR")
                except Exception as error:
                    says = f"the address of a Ray cluster that answers ({' '.join(str(error).split())[:200]})"
                    raise ConfigError(f"hydra.launcher.address={self.address}: must be {says}") from error
        self._joined = True
        return ray

    def _set_variables(self) -> None:
        """For a cluster of this process alone: a secret of its own, which Ray would write into the home folder, and no
        report of its use over a network that need not be there."""
        for name, value in {"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}.items():
            if name not in os.environ:
                os.environ[name] = value
                self._set.append(name)

    def _gpus_for(self, device: str, have: float) -> float:
        """GPUs of each worker. Raises ConfigError where there are none, and some were asked for."""
        asked, none = self.gpus_per_worker, f"{self.where} has no GPU"
        if device == "cpu":
            return 0
        if device == "cuda":
            check(asked != 0, "train.device", device, "auto or cpu with hydra.launcher.gpus_per_worker=0")
            check(have > 0, "train.device", device, f"auto or cpu: {none}")
        check(not asked or have > 0, "hydra.launcher.gpus_per_worker", asked, f"0 or null: {none}")
        return (1 if asked is None else asked) if have else 0

    def _wanted(self) -> dict[str, float]:
        """Of each worker, as Ray names it."""
        wanted = {"CPU": self.cpus_per_worker, "GPU": self._gpus}
        wanted |= {"memory": self.memory_gb * GIB} if self.memory_gb is not None else {}
        return {name: amount for name, amount in wanted.items() if amount}


def ray_itself() -> Any:
    """Raises ConfigError where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise ConfigError(f"{LAUNCHER}: needs Ray: pip install 'bnsweep[ray]'") from error
    return ray


def check_answers(address: str) -> None:
    """Raises ConfigError for a host and port where nothing listens, which Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # `auto`, or what Ray makes of it
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        says = f"the address of a Ray cluster that answers ({error.strerror or error})"
        raise ConfigError(f"hydra.launcher.address={address}: must be {says}") from error


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is not before:
            signal.signal(signal.SIGTERM, before)


def totals(nodes: Sequence[Mapping[str, float]], names: Mapping[str, float]) -> dict[str, float]:
    return {name: sum(node.get(name, 0) for node in nodes) for name in names}


def texts(amounts: Mapping[str, float]) -> str:
    """2 CPU, 1 GPU, 4 GB memory."""
    return ", ".join(
        f"{amount / GIB:.3g} GB {name}" if name == "memory" else f"{amount:g} {name}"
        for name, amount in amounts.items()
    )


def look_at_gpu(node: str) -> tuple[str, int]:
    """Name and free bytes of a GPU of the node. Raises ConfigError."""
    import ray
    from ray.exceptions import GetTimeoutError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    looking = ray.remote(gpu_seen).options(num_cpus=0, num_gpus=1, scheduling_strategy=there).remote()
    try:
        name, free = ray.get(looking, timeout=PATIENCE)
    except GetTimeoutError as error:
        ray.cancel(looking, force=True)
        says = f"auto or cpu: no GPU of a node of Ray came free in {PATIENCE:.0f} s"
        raise ConfigError(f"train.device: must be {says}") from error
    check(free > 0, "train.device", "auto", "cpu: torch on a node of Ray finds none of the GPUs that Ray counts there")
    return name, free


def gpu_seen() -> tuple[str, int]:
    """What a worker sees."""
    if not torch.cuda.is_available():
        return "", 0
    device = torch.device("cuda")
    return describe_device(device), free_bytes(device)
