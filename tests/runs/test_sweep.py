"""A sweep trains what is left, keeps what is done, and says what became of every run."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from quick_runs import CPU, broken, enormous, grid, in_sweep, swept

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import LrConfig, TrainConfig
from bnsweep.config.identity import identity
from bnsweep.config.run import TrackingConfig
from bnsweep.config.sweep import SweepConfig
from bnsweep.data.dataset import load
from bnsweep.data.splits import split
from bnsweep.nets.plain import build
from bnsweep.runs.sweep import run_sweep
from bnsweep.store.client import ClientBackend
from bnsweep.store.sqlite import SqliteBackend
from bnsweep.store.store import Store
from bnsweep.training.trainer import train


def test_every_job_gets_its_result_and_its_run(tracking: TrackingConfig) -> None:
    configs = grid(tracking)
    result = swept(configs)
    assert [run.status for run in result.runs] == ["finished"] * 8
    runs = Store.open(tracking).load("a").runs.set_index("run_id")
    for config, run in zip(configs, result.runs, strict=True):
        row = runs.loc[run.run_id]
        assert (row["activation"], row["bn"], row["seed"]) == (
            config.activation.name,
            config.bn.placement,
            config.seed,
        )
        (alone,), _ = train([config], load(config.data), CPU)
        assert row["final_val_accuracy"] == pytest.approx(alone.summary["final_val_accuracy"], abs=0.02)
        assert run.objective == row["final_val_accuracy"]


def test_the_same_sweep_again_trains_only_what_is_missing(tracking: TrackingConfig) -> None:
    configs = grid(tracking)
    first = swept(configs[:5])
    second = swept(in_sweep(configs, "b"))
    assert (first.trained, second.trained) == (5, 3)
    assert [run.run_id for run in second.runs[:5]] == [run.run_id for run in first.runs]
    assert swept(in_sweep(configs, "c")).trained == 0
    assert swept(in_sweep(configs, "d", rerun=True)).trained == 8


def test_what_cannot_change_the_numbers_does_not_train_again(tracking: TrackingConfig) -> None:
    (config, *_) = grid(tracking)
    swept([config])
    assert swept([replace(config, train=replace(config.train, device="cpu"))]).trained == 0
    assert swept([replace(config, bn=replace(config.bn, momentum=0.5))]).trained == 0, "no BN, no momentum"
    assert swept(in_sweep([replace(config, lr=LrConfig(0.2))], "b")).trained == 1


def test_jobs_that_mean_the_same_run_train_once(tracking: TrackingConfig) -> None:
    (config, *_) = grid(tracking)
    result = swept([config, replace(config, bn=replace(config.bn, momentum=0.5))])
    assert result.trained == 1
    assert result.runs[0].run_id == result.runs[1].run_id


def test_divergence_is_a_result_and_is_not_trained_again(tracking: TrackingConfig) -> None:
    configs = grid(tracking, seeds=1)
    configs[2] = replace(configs[2], lr=LrConfig(1e12))
    result = swept(configs)
    assert [run.status for run in result.runs] == ["finished", "finished", "diverged", "finished"]
    assert result.runs[2].objective == 0.0
    assert "loss not finite at step" in result.runs[2].reason
    assert swept(in_sweep(configs, "b")).trained == 0


@pytest.mark.parametrize("workers", [1, 2], ids=["in a thread", "in two processes"])
def test_a_run_that_fails_takes_no_other_with_it(
    workers: int, tracking: TrackingConfig, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    configs = grid(tracking, max_stack=4)
    configs[5] = broken(configs[5])
    result = swept(configs, workers)
    assert [run.status for run in result.runs] == ["finished"] * 5 + ["failed"] + ["finished"] * 2
    assert result.runs[5].reason == "KeyError: 'unheard of'"
    out = capsys.readouterr().out
    assert "8 planned, 7 finished, 0 diverged, 1 failed" in out
    assert f"failed {identity(configs[5])}: KeyError: 'unheard of'" in out
    assert "bnsweep/training/trainer.py" in caplog.text, "the traceback, of another process too"
    assert swept(in_sweep(configs, "b")).trained == 1, "a failed run is tried again"


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configs = grid(TrackingConfig(uri=f"sqlite:///{tmp_path / 'new.db'}"), dry_run=True)
    assert run_sweep(configs, "test") is None
    out = capsys.readouterr().out
    assert "4 combinations, 8 runs, 0 already done, 8 left" in out
    assert "predicted training time" in out
    assert "MiB" in out
    assert list(tmp_path.iterdir()) == []


def test_networks_trained_in_processes_of_their_own_are_kept(tracking: TrackingConfig) -> None:
    from safetensors.torch import load_file

    configs = grid(tracking, max_stack=4, save_models=True)
    result = swept(configs, workers=2)
    store = Store.open(tracking)
    logged = {run.run_id: run for run in store.backend.runs("run")}
    for config, run in zip(configs, result.runs, strict=True):
        path = store.backend.artifact(logged[run.run_id], "model.safetensors")
        (record,), stack = train([config], load(config.data), CPU)
        assert record.summary["final_test_loss"] == pytest.approx(run.summary["final_test_loss"], rel=1e-4)
        kept = load_file(path)
        assert kept.keys() == stack.export(0).state_dict().keys()


def test_two_stacks_at_a_time_leave_what_one_does(tracking: TrackingConfig) -> None:
    configs = grid(tracking, max_stack=2)
    one = swept(configs, workers=1)
    two = swept(in_sweep(configs, "b", rerun=True), workers=2)
    assert [run.summary for run in one.runs] == [run.summary for run in two.runs]


def test_a_run_too_large_for_the_memory_is_refused(tracking: TrackingConfig) -> None:
    with pytest.raises(ConfigError, match=r"^model.hidden=\[99000, 99000\]: must be smaller: a run takes about"):
        run_sweep([enormous(grid(tracking)[0])], "test")


def test_a_run_left_running_by_a_killed_process_is_closed(tracking: TrackingConfig) -> None:
    configs, store = grid(tracking), Store.open(tracking)
    tags = {"bnsweep.kind": "run", "bnsweep.identity": identity(configs[0])}
    left = store.client.create_run(store.experiment_id, tags=tags).info.run_id
    swept(configs[:1])
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

    def fails_once(self: Store, *arguments: object, **named: bool) -> list[str]:
        calls[0] += 1
        if calls[0] == 2:
            raise OSError("busy")
        return write(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "log_runs", fails_once)
    assert [run.status for run in swept(grid(tracking, max_stack=2)).runs] == ["finished"] * 8
    assert calls[0] == 5


def test_a_stack_larger_than_a_batch_is_logged_whole(tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteBackend, "batch", 3)
    configs = grid(tracking, save_models=True)
    result = swept(configs)
    assert [run.status for run in result.runs] == ["finished"] * 8
    runs = Store.open(tracking).load("a").runs
    assert list(runs["identity"]) == [identity(config) for config in configs]
    assert list(runs["run_id"]) == [run.run_id for run in result.runs]
    assert swept(in_sweep(configs, "b")).trained == 0, "every run kept its network"


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
    assert [run.status for run in swept(grid(tracking)).runs] == ["finished"] * 8
    store = Store.open(tracking)
    assert len(store.backend.runs("run", "FINISHED")) == 8
    assert len(store.backend.runs("run", "KILLED")) == 1


def test_settings_of_the_sweep_must_agree(tracking: TrackingConfig) -> None:
    configs = grid(tracking)
    configs[1] = replace(configs[1], tracking=TrackingConfig(experiment="another"))
    with pytest.raises(ConfigError, match="tracking: settings of the whole sweep must be the same"):
        run_sweep(configs, "test")


def test_a_saved_model_is_the_trained_network(tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file

    configs = grid(tracking, save_models=True)
    assert swept([replace(c, sweep=SweepConfig(id="before")) for c in configs]).trained == 8
    result = swept(configs)
    assert result.trained == 8, "a run that stands without its network is trained again where networks are kept"
    assert swept(configs).trained == 0
    config, run = configs[6], result.runs[6]
    path = Store.open(tracking).client.download_artifacts(run.run_id, "model.safetensors")
    model = build(config)
    model.load_state_dict(load_file(path))
    dataset = load(config.data)
    rows = split(dataset, config.data, config.seed).validation
    right = model.eval()(dataset.x_ND[rows]).argmax(1) == dataset.y_N[rows]
    assert right.double().mean().item() == pytest.approx(run.summary["final_val_accuracy"], abs=1e-9)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tracking.uri))
    check_mlflow_model(run.run_id, model, dataset.x_ND[rows])


def check_mlflow_model(run_id: str, network: torch.nn.Module, x_ND: torch.Tensor) -> None:
    """That MLflow's own functions find the network, and what it takes and gives."""
    import mlflow
    import mlflow.pytorch

    found = mlflow.pytorch.load_model(f"runs:/{run_id}/model")
    assert torch.equal(found(x_ND), network(x_ND))
    signature = mlflow.models.get_model_info(f"runs:/{run_id}/model").signature
    assert [spec.shape for spec in (*signature.inputs, *signature.outputs)] == [(-1, 64), (-1, 10)]
    assert int(mlflow.register_model(f"runs:/{run_id}/model", "mine").version) == 1
