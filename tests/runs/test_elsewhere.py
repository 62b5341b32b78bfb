"""What workers in other places do, tried in this process."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
import torch
from executor_tests import CONFIGS
from quick_runs import CPU

from bnsweep.config.checks import ConfigError
from bnsweep.data import dataset as data
from bnsweep.runs.checkpoints import Checkpoints
from bnsweep.runs.executors.base import Evaluated, Trained
from bnsweep.runs.executors.elsewhere import Home, versions, wrong_worker
from bnsweep.runs.executors.local import keep_datasets
from bnsweep.runs.executors.ray_cluster import RayCluster, check_answers, ray_itself
from bnsweep.runs.executors.submitit import STOP, Notes, Reader, StackJob, follow, last_error
from bnsweep.runs.executors.submitit_cluster import SubmititCluster, submitit_itself
from bnsweep.runs.machine import gpus
from bnsweep.runs.resources import this_machine


def job(folder: Path, home: Home) -> StackJob:
    datasets = {CONFIGS[0].data.key: data.load(CONFIGS[0].data)}
    return StackJob(home, "cpu", keep_datasets(datasets, folder), None, folder / "alive")


def test_a_job_trains_its_stack_and_says_where(tmp_path: Path) -> None:
    answer = job(tmp_path, Home.here())(3, CONFIGS[:2], None, tmp_path / "told")
    assert isinstance(answer.trained, Trained) and answer.wrong == ""
    assert all(record.host for record in answer.trained.records)
    told = [*Reader(tmp_path / "told").new(), *answer.evaluations]
    assert [(one.stack, one.step, one.diverged) for one in told] == [(3, 0, 0), (3, 4, 0), (3, 8, 0)]


def test_a_job_of_other_versions_trains_nothing_and_names_both(tmp_path: Path) -> None:
    home = Home(versions() | {"torch": "1.0.0"}, [])
    answer = job(tmp_path, home)(3, CONFIGS[:2], None, tmp_path / "told")
    assert isinstance(answer.trained, RuntimeError)
    error = wrong_worker("SLURM", answer.wrong)
    own = versions()["torch"]
    says = f"SLURM: must have the same versions as this process: torch is {own} there and 1.0.0 here"
    assert isinstance(error, ConfigError) and str(error) == says


def test_a_worker_finds_code_where_this_process_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert Home(versions(), ["/somewhere/of/mine"]).join() == ""
    assert sys.path[-1] == "/somewhere/of/mine"


def test_a_job_ends_when_it_is_told_to_and_when_nobody_waits_for_it(tmp_path: Path) -> None:
    alive, stopped = tmp_path / "alive", threading.Event()
    alive.write_text(STOP)
    follow(alive, stopped, patience=60)
    assert stopped.is_set()
    alive.write_text("7")
    stopped.clear()
    follow(alive, stopped, patience=0.5)
    assert stopped.is_set()


def test_half_a_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    file, news = tmp_path / "told", [Evaluated(1, step, 0, {}) for step in (0, 5)]
    assert [*Reader(file).new()] == []
    for each in news:
        Notes(file).add(each)
    whole, reader = file.read_bytes(), Reader(file)
    file.write_bytes(whole[:-3])
    assert [*reader.new()] == news[:1]
    file.write_bytes(whole)
    assert [*reader.new()] == news[1:]


def test_of_a_job_that_failed_the_error_is_told() -> None:
    text = (
        "Job (task=0) failed\n----\nTraceback:\n  File x\nModuleNotFoundError: No module named 'bnsweep'\n----\nYou can"
    )
    assert last_error(text) == "ModuleNotFoundError: No module named 'bnsweep'"


def test_checkpoints_of_workers_elsewhere_count_whatever_wrote_them(tmp_path: Path) -> None:
    there = Checkpoints(tmp_path, torch.device("cuda"), 60.0, elsewhere=True)
    assert [*there] == [] and there.strange({"a"}) == 0
    assert there.at(CPU) == Checkpoints(tmp_path, CPU, 60.0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"workers": 0}, "hydra.launcher.workers=0: must be >= 1 or null"),
        ({"cpus_per_worker": 0}, "hydra.launcher.cpus_per_worker=0: must be >= 1"),
        ({"gpus_per_worker": 2}, "hydra.launcher.gpus_per_worker=2: must be from 0 to 1, or null"),
        ({"memory_gb": 0.1}, "hydra.launcher.memory_gb=0.1: must be >= 1 or null"),
    ],
)
def test_settings_of_ray_that_make_no_sense_are_one_line(settings: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RayCluster(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"cluster": "pbs"}, "hydra.launcher.cluster=pbs: must be slurm, local or null"),
        ({"workers": 0}, "hydra.launcher.workers=0: must be >= 1"),
        ({"gpus_per_node": 2}, "hydra.launcher.gpus_per_node=2: must be 0 or 1: a job trains one stack"),
        ({"folder": "100%"}, "hydra.launcher.folder=100%: must be without %, for which SLURM puts in what it likes"),
    ],
)
def test_settings_of_submitit_that_make_no_sense_are_one_line(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SubmititCluster(**{"folder": "jobs", **settings})  # type: ignore[arg-type]
    assert str(caught.value) == says


def test_an_address_where_nothing_listens_is_one_line() -> None:
    with pytest.raises(
        ConfigError, match=r"^hydra.launcher.address=127.0.0.1:1: must be the address of a Ray cluster "
    ):
        check_answers("127.0.0.1:1")
    check_answers("auto")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"^hydra/launcher=stacked_ray: needs Ray: pip install 'bnsweep\[ray\]'$"):
        ray_itself()
    says = r"^hydra/launcher=stacked_submitit: needs submitit: pip install 'bnsweep\[slurm\]'$"
    with pytest.raises(ConfigError, match=says):
        submitit_itself()


def test_each_gpu_of_a_machine_is_a_worker_with_a_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    cuda = torch.device("cuda")
    assert [str(device) for device in gpus(cuda)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    resources = this_machine(cuda, free=2**30)
    assert (resources.workers, resources.memories, resources.each) == (4, 4, 2**30)
    assert gpus(torch.device("cuda:1")) == [torch.device("cuda:1")]
    assert gpus(CPU) == [CPU] and this_machine(CPU, 2, free=2**30).memories == 1
