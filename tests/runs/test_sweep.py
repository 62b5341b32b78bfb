"""A sweep trains what is left, keeps what is done, and says what became of every run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import identity
from bnsweep.config.run import (
    ActivationConfig,
    BnConfig,
    DataConfig,
    LrConfig,
    ModelConfig,
    RunConfig,
    SweepConfig,
    TrackingConfig,
    TrainConfig,
)
from bnsweep.data.dataset import load
from bnsweep.nets.plain import build
from bnsweep.records import FINISHED
from bnsweep.runs import sweep, workers
from bnsweep.runs.ledger import Result
from bnsweep.runs.memory import member_bytes
from bnsweep.runs.plan import make_plan, pack, stack_limit, step_flops
from bnsweep.runs.progress import Progress
from bnsweep.runs.sweep import describe, run_sweep
from bnsweep.store.client import ClientBackend
from bnsweep.store.sqlite import SqliteBackend
from bnsweep.store.store import Store
from bnsweep.training.trainer import train

CPU = torch.device("cpu")
REPO = Path(__file__).parents[2]


@pytest.fixture
def tracking(empty_database: Path, tmp_path: Path) -> TrackingConfig:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return TrackingConfig(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="test")


def grid(tracking: TrackingConfig, seeds: int = 2, **settings: object) -> list[RunConfig]:
    """Quick runs: 4 arms by `seeds`."""
    return [
        RunConfig(
            activation=ActivationConfig(activation),
            lr=LrConfig(0.1),
            bn=BnConfig(placement),
            data=DataConfig(subset=120),
            train=TrainConfig(epochs=2, batch_size=30),
            tracking=tracking,
            sweep=SweepConfig(id="a", **settings),  # type: ignore[arg-type]
            seed=seed,
        )
        for seed in range(seeds)
        for activation in ("sigmoid", "relu")
        for placement in ("none", "before")
    ]


def renamed(configs: list[RunConfig], name: str, **settings: object) -> list[RunConfig]:
    return [replace(c, sweep=replace(c.sweep, id=name, **settings)) for c in configs]  # type: ignore[arg-type]


def done(configs: list[RunConfig]) -> Result:
    result = run_sweep(configs, "test")
    assert result is not None
    return result


def test_every_job_gets_its_outcome_and_its_run(tracking: TrackingConfig) -> None:
    configs = grid(tracking)
    result = done(configs)
    assert [o.status for o in result.outcomes] == ["finished"] * 8
    runs = Store.open(tracking).load("a").runs.set_index("run_id")
    for config, outcome in zip(configs, result.outcomes, strict=True):
        row = runs.loc[outcome.run_id]
        assert (row["activation"], row["bn"], row["seed"]) == (
            config.activation.name,
            config.bn.placement,
            config.seed,
        )
        (alone,), _ = train([config], sweep.load_datasets([config])["digits", "data"], CPU)
        assert row["final_val_accuracy"] == pytest.approx(alone.summary["final_val_accuracy"], abs=0.02)
        assert outcome.objective == row["final_val_accuracy"]


def test_the_same_sweep_again_trains_only_the_holes(tracking: TrackingConfig) -> None:
    configs = grid(tracking)
    first = done(configs[:5])
    second = done(renamed(configs, "b"))
    assert (first.trained, second.trained) == (5, 3)
    assert [o.run_id for o in second.outcomes[:5]] == [o.run_id for o in first.outcomes]
    assert done(renamed(configs, "c")).trained == 0
    assert done(renamed(configs, "d", rerun=True)).trained == 8


def test_what_cannot_change_the_numbers_does_not_train_again(tracking: TrackingConfig) -> None:
    (config, *_) = grid(tracking)
    done([config])
    assert done([replace(config, train=replace(config.train, device="cpu"))]).trained == 0
    assert done([replace(config, bn=replace(config.bn, momentum=0.5))]).trained == 0, "no BN, no momentum"
    assert done([replace(config, lr=LrConfig(0.2))]).trained == 1


def test_jobs_that_mean_the_same_run_train_once(tracking: TrackingConfig) -> None:
    (config, *_) = grid(tracking)
    result = done([config, replace(config, bn=replace(config.bn, momentum=0.5))])
    assert result.trained == 1
    assert result.outcomes[0].run_id == result.outcomes[1].run_id


def test_divergence_is_a_result_and_is_not_trained_again(tracking: TrackingConfig) -> None:
    configs = grid(tracking, seeds=1)
    configs[2] = replace(configs[2], lr=LrConfig(1e12))
    result = done(configs)
    assert [o.status for o in result.outcomes] == ["finished", "finished", "diverged", "finished"]
    assert result.outcomes[2].objective == 0.0
    assert "loss not finite at step" in result.outcomes[2].reason
    assert done(renamed(configs, "b")).trained == 0


def test_a_run_that_fails_takes_no_other_with_it(
    tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = grid(tracking)

    def breaks_on_the_sixth(members: list[RunConfig], *rest: object) -> object:
        if configs[5] in members:
            raise RuntimeError("out of\nmemory")
        return train(members, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(workers, "train", breaks_on_the_sixth)
    result = done(configs)
    assert [o.status for o in result.outcomes] == ["finished"] * 5 + ["failed"] + ["finished"] * 2
    assert result.outcomes[5].reason == "RuntimeError: out of memory"
    out = capsys.readouterr().out
    assert "8 planned, 7 finished, 0 diverged, 1 failed" in out
    assert "RuntimeError: out of memory" in out
    monkeypatch.undo()
    assert done(renamed(configs, "b")).trained == 1, "a failed run is tried again"


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configs = grid(TrackingConfig(uri=f"sqlite:///{tmp_path / 'new.db'}"), dry_run=True)
    assert run_sweep(configs, "test") is None
    out = capsys.readouterr().out
    assert "4 cells, 8 runs, 0 already done, 8 left" in out
    assert "predicted training time" in out
    assert "MiB" in out
    assert list(tmp_path.iterdir()) == []


def test_networks_trained_in_processes_of_their_own_are_kept(
    tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    monkeypatch.setattr("bnsweep.runs.plan.worker_count", lambda device: 2)
    configs = [replace(c, sweep=replace(c.sweep, save_models=True)) for c in grid(tracking, max_stack=4)]
    result = done(configs)
    store = Store.open(tracking)
    runs = {run.run_id: run for run in store.backend.runs("run")}
    for config, outcome in zip(configs, result.outcomes, strict=True):
        path = store.backend.artifact(runs[outcome.run_id], "model.safetensors")
        (record,), stack = train([config], load(config.data), CPU)
        assert record.summary["final_test_loss"] == pytest.approx(outcome.summary["final_test_loss"], rel=1e-4)
        kept = load_file(path)
        assert kept.keys() == stack.export(0).state_dict().keys()


def test_a_stack_that_fails_in_a_process_of_its_own_says_why(
    tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bnsweep.runs.plan.worker_count", lambda device: 2)
    configs = grid(tracking, max_stack=4)
    configs[5].activation.name = "unheard of"  # set after the checks, which would refuse it
    result = done(configs)
    assert [o.status for o in result.outcomes] == ["finished"] * 5 + ["failed"] + ["finished"] * 2
    assert "unheard of" in result.outcomes[5].reason
    assert "bnsweep/training/trainer.py" in caplog.text, "the traceback of the other process"


def test_two_stacks_at_a_time_leave_what_one_does(tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = grid(tracking, max_stack=2)
    one = done(configs)
    monkeypatch.setattr("bnsweep.runs.plan.worker_count", lambda device: 2)
    two = done(renamed(configs, "b", rerun=True))
    assert [o.summary for o in one.outcomes] == [o.summary for o in two.outcomes]


def test_max_stack_bounds_the_runs_that_train_together(tracking: TrackingConfig) -> None:
    plan = make_plan(grid(tracking, seeds=3, max_stack=3), (), CPU)
    assert [len(stack) for stack in plan.stacks] == [2] * 6


def test_a_run_too_large_for_the_memory_is_refused(tracking: TrackingConfig) -> None:
    config = replace(grid(tracking)[0], model=ModelConfig([1_000_000, 1_000_000]))
    with pytest.raises(ConfigError, match=r"^model.hidden=\[1000000, 1000000\]: must be smaller: a run takes about"):
        run_sweep([config], "test")


def test_a_run_left_running_by_a_killed_process_is_closed(tracking: TrackingConfig) -> None:
    configs, store = grid(tracking), Store.open(tracking)
    tags = {"bnsweep.kind": "run", "bnsweep.identity": identity(configs[0])}
    left = store.client.create_run(store.experiment_id, tags=tags).info.run_id
    done(configs[:1])
    assert store.client.get_run(left).info.status == "KILLED"


def test_an_interrupt_does_not_wait_for_an_evaluation(tracking: TrackingConfig) -> None:
    config = replace(grid(tracking)[0], train=TrainConfig(epochs=100_000, batch_size=30, evaluate_every=100_000))
    timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_sweep([config], "test")
    timer.join()
    assert time.monotonic() - started < 20


def test_a_log_that_fails_once_is_tried_again(tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = Store.log_runs, [0]

    def fails_once(self: Store, *arguments: object) -> list[str]:
        calls[0] += 1
        if calls[0] == 2:
            raise OSError("busy")
        return write(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "log_runs", fails_once)
    assert [o.status for o in done(grid(tracking, max_stack=2)).outcomes] == ["finished"] * 8
    assert calls[0] == 5


def test_a_stack_larger_than_a_batch_is_logged_whole(tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteBackend, "batch", 3)
    configs = grid(tracking, save_models=True)
    result = done(configs)
    assert [o.status for o in result.outcomes] == ["finished"] * 8
    runs = Store.open(tracking).load("a").runs
    assert list(runs["identity"]) == [identity(config) for config in configs]
    assert list(runs["run_id"]) == [o.run_id for o in result.outcomes]
    assert done(renamed(configs, "b")).trained == 0, "every run kept its network"


def test_a_run_that_a_server_refuses_once_is_written_once(
    tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = ClientBackend._write, [0]

    def fails_once(self: ClientBackend, *arguments: object) -> None:
        calls[0] += 1
        if calls[0] == 4:
            raise OSError("busy")
        write(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("bnsweep.store.sqlite.find", lambda path, experiment: None)
    monkeypatch.setattr(ClientBackend, "_write", fails_once)
    assert [o.status for o in done(grid(tracking)).outcomes] == ["finished"] * 8
    store = Store.open(tracking)
    assert len(store.backend.runs("run", "FINISHED")) == 8
    assert len(store.backend.runs("run", "KILLED")) == 1


def test_settings_of_the_sweep_must_agree(tracking: TrackingConfig) -> None:
    configs = grid(tracking)
    configs[1] = replace(configs[1], tracking=TrackingConfig(experiment="another"))
    with pytest.raises(ConfigError, match="tracking: settings of the whole sweep must be the same"):
        run_sweep(configs, "test")


def test_a_saved_model_is_the_trained_network(tracking: TrackingConfig) -> None:
    from safetensors.torch import load_file

    configs = grid(tracking, save_models=True)
    assert done([replace(c, sweep=SweepConfig(id="before")) for c in configs]).trained == 8
    result = done(configs)
    assert result.trained == 8, "a run that stands without its network is trained again where networks are kept"
    assert done(configs).trained == 0
    config, outcome = configs[6], result.outcomes[6]
    path = Store.open(tracking).client.download_artifacts(outcome.run_id, "model.safetensors")
    model = build(config)
    model.load_state_dict(load_file(path))
    dataset = sweep.load_datasets([config])["digits", "data"]
    from bnsweep.data.dataset import split

    rows = split(dataset, config.data, config.seed).validation
    right = model.eval()(dataset.x_ND[rows]).argmax(1) == dataset.y_N[rows]
    assert right.double().mean().item() == pytest.approx(outcome.summary["final_val_accuracy"], abs=1e-9)


def test_stacks_keep_data_seeds_whole_and_shapes_apart(tracking: TrackingConfig) -> None:
    configs = grid(tracking, seeds=5)
    assert [len(s) for s in pack(range(20), configs, 9)] == [8, 4, 8]
    assert [len(s) for s in pack(range(20), configs, 9, workers=2)] == [4, 4, 8, 4]
    assert [len(s) for s in pack(range(20), configs, 20, workers=2)] == [8, 12], "both workers have something to do"
    assert [len(s) for s in pack(range(20), configs, 20, workers=8)] == [4] * 5, "no seed is split for it"
    assert [len(s) for s in pack(range(20), configs, 3)] == [2] * 10
    wide = [replace(c, model=ModelConfig([64])) for c in configs]
    plan = make_plan(configs + wide, (), CPU)
    for stack in plan.stacks:
        assert len({tuple((configs + wide)[job].model.hidden) for job in stack}) == 1
    assert sorted(job for stack in plan.stacks for job in stack) == list(range(40))


def test_runs_are_split_among_cores_where_a_step_is_work_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnsweep.runs.plan.worker_count", lambda device: 2)
    small, large = RunConfig(), RunConfig(data=DataConfig("mnist"), train=TrainConfig(batch_size=128))
    assert step_flops(large) == 4 * 784 * 32 + 6 * (32 * 32 + 32 * 10)
    assert (stack_limit(large, 8, CPU), stack_limit(small, 8, CPU)) == (4, 20)
    assert (stack_limit(large, 1000, CPU), stack_limit(small, 1000, CPU)) == (70, 185), "what a core's caches hold"


def test_a_stack_never_plans_more_than_the_free_memory(
    tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [replace(c, model=ModelConfig([2000, 2000])) for c in grid(tracking, seeds=20)]
    free = 2 * 2**30
    monkeypatch.setattr("bnsweep.runs.plan.free_bytes", lambda device: free)
    plan = make_plan(configs, (), CPU)
    assert all(len(s) * member_bytes(configs[0]) * plan.workers <= free for s in plan.stacks)
    assert len(plan.stacks) > 2
    assert "stacks:" in describe(plan)
    free = member_bytes(configs[0]) * 3 // 2
    assert make_plan(configs, (), CPU).workers == 1, "where one run takes most of the memory, one at a time"


def test_a_batch_larger_than_the_data_counts_as_the_data() -> None:
    config = RunConfig(data=DataConfig(subset=200), train=TrainConfig(batch_size=20_000_000))
    assert member_bytes(config) == member_bytes(replace(config, train=TrainConfig(batch_size=200)))


SWEEP = "activation=sigmoid,relu bn=none,before seed=range(0,4) train.epochs=300 data.subset=120 sweep.max_stack=4"


def start(folder: Path, workers: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bnsweep", "-m", *SWEEP.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": str(workers)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stop_after_first_stack(folder: Path, how: signal.Signals, workers: int) -> tuple[int, str]:
    """Exit status and output of a sweep that is stopped when the first of its four stacks has been logged."""
    with start(folder, workers) as process:
        while process.poll() is None and finished(folder) < 4:
            time.sleep(0.02)
        process.send_signal(how)
        seen = process.communicate()[0]
    return process.returncode, seen


def finished(folder: Path) -> int:
    store = Store.open(TrackingConfig(uri=f"sqlite:///{folder / 'mlflow.db'}"))
    return len(store.done())


def children_in(folder: Path) -> list[Path]:
    """/proc entries of the Python processes whose working directory is the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").resolve() == folder.resolve() and b"python" in (process / "cmdline").read_bytes():
                found.append(process)
    return found


def wait_for_the_end_of(processes: list[Path], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(process.exists() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not any(process.exists() for process in processes)


def statuses(folder: Path) -> set[str]:
    store = Store.open(TrackingConfig(uri=f"sqlite:///{folder / 'mlflow.db'}"))
    return {run.info.status for run in store.client.search_runs([store.experiment_id])}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_sweep_cut_short_goes_on_and_reports_as_if_it_had_not_been(
    how: signal.Signals, workers: int, empty_database: Path, tmp_path: Path
) -> None:
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    for folder in (cut, whole):
        folder.mkdir()
        shutil.copyfile(empty_database, folder / "mlflow.db")
    code, text = stop_after_first_stack(cut, how, workers)
    assert code == (-signal.SIGKILL if how == signal.SIGKILL else 130), text
    if how != signal.SIGKILL:
        assert "interrupted; the same command goes on from here" in text
        assert "12 not reached" in text or workers == 2
    assert "RUNNING" not in statuses(cut)
    assert wait_for_the_end_of(children_in(cut)), "no worker outlives its sweep"
    left = 16 - finished(cut)
    assert left == 12 if workers == 1 else left in (4, 8, 12)
    for folder, trained in ((cut, left), (whole, 16)):
        with start(folder, workers) as process:
            out = process.communicate()[0]
        assert process.returncode == 0, out
        assert f"16 finished, 0 diverged, 0 failed ({trained} trained now)" in out
    assert (cut / "report/ranking.csv").read_text() == (whole / "report/ranking.csv").read_text()


def test_many_small_stacks_do_not_fill_a_log_with_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(dict.fromkeys(range(50), (2, 0))) as progress:
        for stack in range(50):
            progress.end(FINISHED)
            progress.end(FINISHED)
            progress.settle(stack)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("100 done, 0 left") and line.endswith("about 0 s to go")
