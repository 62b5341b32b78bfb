"""On a real SLURM: jobs are submitted, pre-empted, requeued, run out of time, are cancelled."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from executor_tests import CONFIGS, LONG, ExecutorTests, begun, until
from quick_runs import CPU
from slurm import missing, output, slurm

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import TrainConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.data.dataset import DataKey
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Executor, Trained
from bnsweep.runs.executors.submitit_cluster import SubmititCluster
from bnsweep.training.device import one_thread
from bnsweep.training.trainer import train

pytest.importorskip("submitit")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

SECONDS = [
    replace(config, train=TrainConfig(epochs=15_000, batch_size=30, evaluate_every=500)) for config in CONFIGS[:2]
]
"""Runs that train for ten seconds or more."""


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    with slurm() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables


def jobs(state: str = "all") -> list[str]:
    return output(["squeue", "--noheader", "--me", f"--states={state}", "--format=%A"], {}).split()


def restarts(job: str) -> int:
    shown = output(["scontrol", "show", "job", job], {})
    return int(shown.partition("Restarts=")[2].split()[0])


def steps_of(executor: Executor) -> list[int]:
    return [evaluated.step for evaluated in executor.new_evaluations()]


@pytest.mark.usefixtures("variables")
class TestSlurm(ExecutorTests):
    losses = 3
    lost = "the job ended without a word, as it does for want of memory or with its node"

    @pytest.fixture(autouse=True)
    def cluster(self, tmp_path: Path) -> Iterator[None]:
        self.folder = tmp_path / "shared"
        self.slurm = SubmititCluster(str(self.folder), "slurm", workers=2, mem_gb=1)
        yield
        self.slurm.close()
        until(lambda: not jobs("pending,running"))

    def make(
        self,
        datasets: dict[DataKey, data.Dataset],
        folder: Path,
        save_models: bool = False,
        checkpoints: Checkpoints | None = None,
    ) -> Executor:
        return self.slurm.executor(2, datasets, CPU, folder, save_models, checkpoints)

    def models(self, folder: Path) -> Path:
        (shared,) = (folder / "shared").glob("jobs-*/*")
        return shared / "models"

    def kill_a_worker(self) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            command = b""
            if process.exists():
                command = (process / "cmdline").read_bytes()
            if b"submitit.core._submit" in command and b"srun" not in command and b"bash" not in command:
                os.kill(int(process.name), signal.SIGKILL)
                return

    def check(self, future: Future[Trained], configs: list[RunConfig] = SECONDS) -> None:
        """It is what it would have been undisturbed."""
        with one_thread(CPU):
            here, _ = train(configs, data.load(configs[0].data), CPU)
        assert [record.summary for record in future.result(600).records] == [record.summary for record in here]

    def test_a_job_that_is_requeued_trains_its_stack_to_the_end(self, executor: Executor) -> None:
        future = executor.submit(0, SECONDS)
        begun(executor, {0})
        (job,) = jobs("running")
        subprocess.run(["scontrol", "requeue", job], check=True)
        self.check(future)
        assert restarts(job) == 1

    def test_a_job_that_is_pre_empted_trains_its_stack_to_the_end(self, executor: Executor) -> None:
        future = executor.submit(0, SECONDS)
        begun(executor, {0})
        (job,) = jobs("running")
        subprocess.run(
            ["sbatch", "-p", "high", "-c", "2", "-o", "/dev/null", "--wrap", "sleep 5"], check=True, capture_output=True
        )
        until(lambda: job in jobs("pending"))
        self.check(future)
        assert restarts(job) == 1

    def test_a_stack_that_is_out_of_time_too_often_says_so(self, tmp_path: Path) -> None:
        cluster = SubmititCluster(str(tmp_path / "short"), "slurm", timeout_min=1, max_num_timeout=1, mem_gb=1)
        executor = cluster.executor(1, {CONFIGS[0].data.key: data.load(CONFIGS[0].data)}, CPU, tmp_path, False)
        longer = TrainConfig(epochs=5_000_000, batch_size=30, evaluate_every=5_000_000)
        future = executor.submit(0, [replace(CONFIGS[0], train=longer)])
        begun(executor, {0})
        (job,) = jobs("running")
        error = future.exception(400)
        executor.stop()
        cluster.close()
        assert "Job not requeued because: timed-out too many times." in str(error)
        assert restarts(job) == 1

    def test_a_stack_that_takes_longer_than_a_job_may_goes_on_from_its_checkpoint(self, tmp_path: Path) -> None:
        longer = TrainConfig(epochs=150_000, batch_size=30, evaluate_every=2000)
        configs = [replace(config, train=longer) for config in CONFIGS[:2]]
        cluster = SubmititCluster(str(tmp_path / "short"), "slurm", timeout_min=1, mem_gb=1)
        datasets = {CONFIGS[0].data.key: data.load(CONFIGS[0].data)}
        kept = Checkpoints(tmp_path / "checkpoints", CPU, 1.0, elsewhere=True)
        executor = cluster.executor(1, datasets, CPU, tmp_path, False, kept)
        future = executor.submit(0, configs)
        begun(executor, {0})
        (job,) = jobs("running")
        self.check(future, configs)
        assert restarts(job) >= 1
        assert [step for step in steps_of(executor) if step == 0] == [], "it never began anew"
        executor.stop()
        cluster.close()

    def test_nothing_runs_on_after_a_stop(self, executor: Executor) -> None:
        futures = [executor.submit(name, LONG) for name in range(3)]
        begun(executor, {0, 1})
        executor.stop()
        assert {type(future.exception()) for future in futures[:2]} == {InterruptedError}
        time.sleep(1)
        assert not jobs("pending,running")

    def test_what_slurm_refuses_is_one_line(self, tmp_path: Path) -> None:
        refused = SubmititCluster(str(tmp_path), "slurm", partition="nope")
        with pytest.raises(ConfigError, match=r"^hydra/launcher=stacked_submitit: SLURM takes no job with .*nope"):
            refused.resources("auto")
        gpus = SubmititCluster(str(tmp_path), "slurm", gpus_per_node=1)
        with pytest.raises(ConfigError, match=r"SLURM takes no job with .*--gpus-per-node=1 \(\w"):
            gpus.resources("auto")
        assert self.slurm.resources("auto").workers == 2
