"""Ray's actors do what every executor does, and a sweep on them leaves what a sweep on this machine does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from executor_tests import CONFIGS, ExecutorTests
from quick_runs import CPU

from bnsweep.data import dataset as data
from bnsweep.data.dataset import DataKey
from bnsweep.runs.executors.base import Executor
from bnsweep.runs.executors.ray import RayExecutor
from bnsweep.runs.executors.ray_cluster import RayCluster

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

    def make(self, datasets: dict[DataKey, data.Dataset], folder: Path, save_models: bool = False) -> Executor:
        self.made = self.cluster.executor(2, datasets, CPU, folder, save_models)
        return self.made

    def kill_a_worker(self) -> None:
        """The one that was taken last."""
        assert isinstance(self.made, RayExecutor)
        os.kill(ray.get(self.made._taken[-1]._actor.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)

    def test_a_record_says_which_machine_trained_it(self, executor: Executor) -> None:
        assert executor.submit(0, CONFIGS[:1]).result(60).records[0].host
