"""SLURM, or processes of this machine in its place, as the launcher's settings name it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bnsweep.config.checks import ConfigError, check
from bnsweep.data.dataset import DataKey, Dataset
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Cluster, Executor
from bnsweep.runs.executors.elsewhere import Home
from bnsweep.runs.executors.local import keep_datasets
from bnsweep.runs.executors.submitit import StackJob, SubmititExecutor
from bnsweep.runs.resources import Resources

LAUNCHER = "hydra/launcher=stacked_submitit"
GIB = 2**30
WARNING = 90
"""Seconds before its time is over at which a job is told, at most: a quarter of a short one's."""


@dataclass
class SubmititCluster(Cluster):
    """The fields are the settings of `hydra/launcher=stacked_submitit`, which say what they mean."""

    folder: str
    cluster: str | None = None
    workers: int = 4
    timeout_min: int = 60
    max_num_timeout: int = 10
    partition: str | None = None
    cpus_per_task: int = 1
    mem_gb: float = 4
    gpus_per_node: int = 0
    gpu_mem_gb: float = 16
    additional_parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        submitit_itself()
        key = "hydra.launcher"
        check(self.cluster in (None, "slurm", "local"), f"{key}.cluster", self.cluster, "slurm, local or null")
        for name in ("workers", "timeout_min", "cpus_per_task", "mem_gb", "gpu_mem_gb"):
            check(getattr(self, name) >= 1, f"{key}.{name}", getattr(self, name), ">= 1")
        check(self.max_num_timeout >= 0, f"{key}.max_num_timeout", self.max_num_timeout, ">= 0")
        check(
            self.gpus_per_node in (0, 1), f"{key}.gpus_per_node", self.gpus_per_node, "0 or 1: a job trains one stack"
        )
        check("%" not in self.folder, f"{key}.folder", self.folder, "without %, for which SLURM puts in what it likes")
        self._folder: Path | None = None
        self._executors: list[SubmititExecutor] = []

    @property
    def on_slurm(self) -> bool:
        return self.cluster == "slurm" or (self.cluster is None and shutil.which("sbatch") is not None)

    @property
    def where(self) -> str:
        if not self.on_slurm:
            return "jobs of submitit on this machine"
        return f"SLURM, partition {self.partition}" if self.partition else "SLURM"

    def resources(self, device: str) -> Resources:
        says = "auto or cpu with hydra.launcher.gpus_per_node=0"
        check(device != "cuda" or self.gpus_per_node > 0, "train.device", device, says)
        if self.on_slurm:
            self._check_slurm()
        if self.gpus_per_node and device != "cpu":
            free, kind, words = self.gpu_mem_gb, "cuda", "a GPU a job"
        else:
            free, kind, words = self.mem_gb, "cpu", "cpu (one thread a stack)"
        return Resources(torch.device(kind), self.workers, int(free * GIB), self.workers, f"{self.where}, {words}")

    def executor(
        self,
        workers: int,
        datasets: dict[DataKey, Dataset],
        device: torch.device,
        folder: Path,
        save_models: bool,
        checkpoints: Checkpoints | None = None,
    ) -> Executor:
        shared = self._made() / f"{len(self._executors)}"
        shared.mkdir()
        models = shared / "models" if save_models else None
        job = StackJob(Home.here(), device.type, keep_datasets(datasets, shared), models, shared / "alive", checkpoints)
        submit = self._jobs(shared / "jobs").submit
        self._executors.append(SubmititExecutor(workers, submit, job, shared, self.where, self.on_slurm))
        return self._executors[-1]

    def close(self) -> None:
        """Removes what passed; logs of jobs that failed stay."""
        if self._folder is None:
            return
        for number, executor in enumerate(self._executors):
            if not executor.troubled:
                shutil.rmtree(self._folder / f"{number}", ignore_errors=True)
        for folder in (self._folder, self._folder.parent):
            if not any(folder.iterdir()):
                folder.rmdir()
        self._folder = None
        self._executors.clear()

    def _made(self) -> Path:
        """The folder of this command, which jobs see. Raises ConfigError."""
        if self._folder is None:
            base = Path(self.folder).absolute()
            try:
                base.mkdir(parents=True, exist_ok=True)
                self._folder = Path(tempfile.mkdtemp(prefix="jobs-", dir=base))
            except OSError as error:
                says = f"a folder that can be written, and that jobs see ({error.strerror or error})"
                raise ConfigError(f"hydra.launcher.folder={self.folder}: must be {says}") from error
        return self._folder

    def _jobs(self, folder: Path) -> Any:
        """submitit's executor. Raises ConfigError for settings that it refuses."""
        cluster, seconds = "slurm" if self.on_slurm else "local", 60 * self.timeout_min
        executor = submitit_itself().AutoExecutor(
            folder, cluster, **{f"{cluster}_max_num_timeout": self.max_num_timeout}
        )
        more: dict[str, Any] = {}
        if self.on_slurm:
            more = {"slurm_partition": self.partition, "slurm_signal_delay_s": min(WARNING, seconds // 4)}
            more["slurm_additional_parameters"] = dict(self.additional_parameters) or None
        executor.update_parameters(
            name="bnsweep",
            timeout_min=self.timeout_min,
            mem_gb=float(self.mem_gb),
            cpus_per_task=self.cpus_per_task,
            gpus_per_node=self.gpus_per_node or None,
            **more,
        )
        return executor

    def _check_slurm(self) -> None:
        """Asks SLURM whether it would take such a job. Raises ConfigError where not."""
        options = {"time": self.timeout_min, "cpus-per-task": self.cpus_per_task, "mem": f"{int(1024 * self.mem_gb)}M"}
        options |= {"partition": self.partition} if self.partition else {}
        options |= {"gpus-per-node": self.gpus_per_node} if self.gpus_per_node else {}
        options |= self.additional_parameters
        texts = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        command = ["sbatch", "--test-only", *texts, "--wrap=true"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            says = "local, or slurm where sbatch answers"
            raise ConfigError(f"hydra.launcher.cluster=slurm: must be {says} ({error})") from error
        if answer.returncode:
            (*_, last) = ["", *filter(None, answer.stderr.splitlines())]
            why = last.removeprefix("sbatch: error: ").removeprefix("allocation failure: ")
            raise ConfigError(f"{LAUNCHER}: SLURM takes no job with {' '.join(texts)} ({why})")


def submitit_itself() -> Any:
    """Raises ConfigError where it is not installed."""
    try:
        import submitit
    except ImportError as error:
        raise ConfigError(f"{LAUNCHER}: needs submitit: pip install 'bnsweep[slurm]'") from error
    return submitit
