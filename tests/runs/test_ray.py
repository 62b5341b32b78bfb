"""Ray's actors do what every executor does, and a sweep on them leaves what a sweep on this machine does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from executor_tests import CONFIGS, ExecutorTests
from quick_runs import CPU, grid, in_sweep, swept

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import TrackingConfig
from bnsweep.data import dataset as data
from bnsweep.data.dataset import DataKey
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Executor
from bnsweep.runs.executors.ray import RayExecutor
from bnsweep.runs.executors.ray_cluster import RayCluster
from bnsweep.runs.sweep import run_sweep
from bnsweep.store.store import Store

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    cluster = RayCluster(workers=2)
    cluster.resources("auto")
    yield cluster
    cluster.close()


@pytest.mark.usefixtures("cluster")
class TestRay(ExecutorTests):
    losses = 3
    lost = "the worker of Ray ended, as it does for want of memory or with its node"

    @pytest.fixture(autouse=True)
    def joined(self, cluster: RayCluster) -> None:
        self.cluster = cluster

    def make(
        self,
        datasets: dict[DataKey, data.Dataset],
        folder: Path,
        save_models: bool = False,
        checkpoints: Checkpoints | None = None,
    ) -> Executor:
        self.made = self.cluster.executor(2, datasets, CPU, folder, save_models, checkpoints)
        return self.made

    def kill_a_worker(self) -> None:
        """The one that was taken last."""
        assert isinstance(self.made, RayExecutor)
        os.kill(ray.get(self.made._taken[-1]._actor.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)

    def test_a_record_says_which_machine_trained_it(self, executor: Executor) -> None:
        assert executor.submit(0, CONFIGS[:1]).result(60).records[0].host

    def test_a_sweep_leaves_what_it_leaves_on_this_machine(self, tracking: TrackingConfig) -> None:
        configs = grid(tracking, max_stack=2)
        result = run_sweep(configs, "test", cluster=self.cluster)
        assert result is not None and [run.status for run in result.runs] == ["finished"] * 8
        there = Store.open(tracking).load("a").info
        here = swept(in_sweep(configs, "b", rerun=True))
        own = Store.open(tracking).load("b").info
        assert [run.summary for run in result.runs] == [run.summary for run in here.runs]
        assert there.devices == own.devices and len(there.hosts) == 1 and not own.hosts

    def test_what_the_cluster_has_not_is_one_line(self) -> None:
        for cluster, device, says in (
            (RayCluster(workers=3), "auto", r"^hydra.launcher.workers=3: must be at most 2: the cluster has 2 CPU, a "),
            (RayCluster(cpus_per_worker=9), "auto", r"^Ray on this machine: must have a node with 9 CPU for a worker;"),
            (RayCluster(gpus_per_worker=1), "auto", r"^hydra.launcher.gpus_per_worker=1: must be 0 or null: Ray on "),
            (RayCluster(), "cuda", r"^train.device=cuda: must be auto or cpu: Ray on this machine has no GPU$"),
        ):
            with pytest.raises(ConfigError, match=says):
                cluster.resources(device)
        assert RayCluster(workers=2, memory_gb=1).resources("auto").free == 2**30
