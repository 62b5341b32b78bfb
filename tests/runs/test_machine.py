"""How many stacks train at a time follows the cores that this process may use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from quick_runs import CPU

from bnsweep.runs.machine import cores, free_bytes, worker_count

ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import torch
from bnsweep.runs.machine import worker_count
print(worker_count(torch.device("cpu")))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a core")
def test_a_process_bound_to_one_core_trains_one_stack_at_a_time() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    run = subprocess.run([sys.executable, "-c", ONE_CORE], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == "1\n"


@pytest.mark.parametrize("given", ["", "0", "2,1", "many", "1000"])
def test_omp_num_threads_that_bounds_nothing_leaves_all_cores(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert worker_count(CPU) == cores() >= 1


def test_omp_num_threads_bounds_the_stacks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert worker_count(CPU) == 1


def test_what_torch_was_told_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(cores() + 1)
    try:
        assert worker_count(CPU) == cores()
    finally:
        torch.set_num_threads(threads)


def test_a_gpu_trains_one_stack_after_the_other() -> None:
    assert worker_count(torch.device("cuda")) == 1


def test_some_memory_is_free() -> None:
    assert 2**20 < free_bytes(CPU) < 2**50
