"""What is trained of a stack is on disk, and the same command goes on from there."""

from __future__ import annotations

import errno
import json
import multiprocessing
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from quick_runs import CPU, grid, in_sweep, swept
from stop_and_go import assert_same_record

from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.data import dataset as data
from bnsweep.records import RunRecord
from bnsweep.runs import checkpoints as module
from bnsweep.runs.checkpoints import Checkpoints, Keeper
from bnsweep.runs.dispatch import Dispatch, Listeners
from bnsweep.runs.executors.base import Evaluated, StackTrainer, Trained
from bnsweep.runs.executors.local import local_executor
from bnsweep.runs.executors.processes import prepare
from bnsweep.runs.interrupt import Interrupts
from bnsweep.runs.plan import describe, make_plan
from bnsweep.training.trainer import Training

FOLDER = Path("checkpoints")


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(grid()[0].data)


@pytest.fixture
def checkpoints() -> Checkpoints:
    return Checkpoints(FOLDER, CPU, 0.0)


def trainer(digits: data.Dataset, checkpoints: Checkpoints | None) -> StackTrainer:
    return StackTrainer({grid()[0].data.key: digits}, CPU, None, checkpoints)


def stop_after(steps: int, configs: Sequence[RunConfig], digits: data.Dataset, checkpoints: Checkpoints) -> None:
    """So many of those that are left, as Ctrl-C does."""
    taken = iter(range(steps + 1))
    with pytest.raises(InterruptedError):
        trainer(digits, checkpoints).train(0, configs, lambda _: None, lambda: next(taken) == steps)


def train(configs: Sequence[RunConfig], digits: data.Dataset, checkpoints: Checkpoints | None) -> list[RunRecord]:
    return trainer(digits, checkpoints).train(0, configs, lambda _: None, lambda: False).records


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number a step that is taken: the members that take it."""
    found, real = list[int](), Training.run

    def run(self: Training, watch: object, tick: object, until: object) -> None:
        def counted() -> None:
            tick()  # type: ignore[operator]
            found.append(len(self.configs))

        real(self, watch, counted, until)  # type: ignore[arg-type]

    monkeypatch.setattr(Training, "run", run)
    return found


def test_a_stack_that_is_stopped_keeps_all_of_its_steps(digits: data.Dataset, checkpoints: Checkpoints) -> None:
    configs = grid()
    stop_after(6, configs, digits, checkpoints)  # between two evaluations
    (begun,) = checkpoints
    assert (begun.step, begun.identities) == (6, tuple(map(identity, configs)))
    undisturbed, told = train(configs, digits, None), list[Evaluated]()
    records = trainer(digits, checkpoints).train(0, configs, told.append, lambda: False).records
    for record, wanted in zip(records, undisturbed, strict=True):
        assert_same_record(record, wanted)
    assert [evaluated.step for evaluated in told] == [8], "what was evaluated before is not evaluated again"


def test_one_that_has_not_begun_leaves_nothing(digits: data.Dataset, checkpoints: Checkpoints) -> None:
    stop_after(0, grid(), digits, checkpoints)
    assert not FOLDER.exists()


def test_a_plan_has_the_stacks_as_they_were(digits: data.Dataset, checkpoints: Checkpoints) -> None:
    configs = grid(seeds=3)
    mixed = [configs[i] for i in (11, 0, 5, 3)]
    stop_after(6, mixed, digits, checkpoints)
    stop_after(3, configs[6:8], digits, checkpoints)
    plan = make_plan(configs, (), CPU, workers=1, checkpoints=checkpoints)
    assert [11, 0, 5, 3] in plan.stacks and [6, 7] in plan.stacks
    assert plan.begun == {11: 6, 6: 3}
    assert sorted(job for stack in plan.stacks for job in stack) == list(range(12))
    assert "stacks that go on from checkpoints: 1 from step 6 of 8, 1 from step 3 of 8\n" in describe(plan) + "\n"


def test_runs_that_are_done_meanwhile_are_left_out(digits: data.Dataset, checkpoints: Checkpoints) -> None:
    configs = grid()
    stop_after(6, configs, digits, checkpoints)
    done = {identity(config) for config in configs[:7:2]}
    plan = make_plan(configs, done, CPU, workers=1, checkpoints=checkpoints)
    assert plan.stacks == [[1, 3, 5, 7]] and plan.begun == {1: 6}
    (state,) = checkpoints.states([configs[job] for job in plan.stacks[0]])
    assert (state.step, len(state)) == (6, 4)


def test_a_stack_may_be_wanted_smaller(digits: data.Dataset, checkpoints: Checkpoints) -> None:
    stop_after(6, grid(), digits, checkpoints)
    plan = make_plan(grid(max_stack=3), (), CPU, workers=1, checkpoints=checkpoints)
    assert sorted(map(len, plan.stacks)) == [2, 3, 3] and set(plan.begun.values()) == {6}


def test_members_of_several_files_are_one_stack_where_they_stand_at_one_step(
    digits: data.Dataset, checkpoints: Checkpoints
) -> None:
    configs = grid()
    stop_after(6, configs[:3], digits, checkpoints)
    stop_after(6, configs[3:], digits, checkpoints)
    mixed = [configs[i] for i in (7, 1, 0, 4)]
    assert [len(state) for state in checkpoints.states(mixed)] == [1, 2, 1]
    stop_after(1, configs[:3], digits, checkpoints)
    assert checkpoints.states(mixed) == []
    records, undisturbed = train(mixed, digits, checkpoints), train(mixed, digits, None)
    for record, wanted in zip(records, undisturbed, strict=True):
        assert_same_record(record, wanted)


def test_a_checkpoint_of_other_code_is_left_alone(
    digits: data.Dataset, checkpoints: Checkpoints, tracking: TrackingConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = grid(tracking)
    stop_after(6, configs, digits, checkpoints)
    (file,) = FOLDER.iterdir()
    with safetensors.safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        tree = json.loads(opened.metadata()[module.KEY]) | {"fingerprint": "of yesterday"}
    other = file.with_name(f"{'0' * 16}-0.safetensors")
    safetensors.torch.save_file(tensors, other, {module.KEY: json.dumps(tree)})
    file.unlink()
    (FOLDER / "1.safetensors").write_bytes(b"no checkpoint at all")
    before = other.read_bytes()
    assert swept(configs).trained == 8
    assert other.read_bytes() == before and len(list(FOLDER.iterdir())) == 2
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "checkpoints" in line]
    says = "were made by other code or on another device: they are left as they are, and the runs begin anew"
    assert re.fullmatch(rf"checkpoints of 8 runs in \S+/checkpoints {says}", line)


def test_a_file_goes_once_all_of_its_runs_are_logged(digits: data.Dataset, checkpoints: Checkpoints) -> None:
    names = [identity(config) for config in grid()]
    stop_after(6, grid(), digits, checkpoints)
    part = FOLDER / f".{names[0]}-0.safetensors-1"
    part.write_text("of a process that was killed")
    checkpoints.remove(names[1:])
    assert len(list(checkpoints)) == 1 and part.exists()
    checkpoints.remove(names)
    assert not FOLDER.exists()


def interrupted(configs: list[RunConfig], monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """A sweep that is asked to stop after so many steps of its first stack."""
    real, steps = StackTrainer.train, iter(range(10**6))

    def stopped(self: StackTrainer, name: int, configs: Sequence[RunConfig], tell: object, *more: object) -> Trained:
        return real(self, name, configs, tell, lambda: next(steps) >= step, *more[1:])  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(StackTrainer, "train", stopped)
        patch.setattr(Dispatch, "_halve", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            swept(configs)


def test_a_sweep_goes_on_whatever_it_is_called_and_cleans_up(
    tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(grid(tracking), monkeypatch, step=6)
    assert len(list(FOLDER.iterdir())) == 1
    taken = count_steps(monkeypatch)
    result = swept(in_sweep(grid(tracking), "b"))
    assert result.trained == 8 and taken == [8, 8], "two steps of eight runs"
    assert "stacks that go on from checkpoints: 1 from step 6 of 8\n" in capsys.readouterr().out
    assert not FOLDER.exists()


def test_one_that_trains_again_begins_anew(tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(grid(tracking), monkeypatch, step=6)
    taken = count_steps(monkeypatch)
    assert swept(grid(tracking, rerun=True)).trained == 8
    assert taken == [8] * 8
    assert not FOLDER.exists()


def test_without_checkpoints_none_is_written(tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(grid(tracking, checkpoint_seconds=None), monkeypatch, step=6)
    assert not FOLDER.exists()


def test_halves_of_a_stack_whose_worker_is_lost_go_on(digits: data.Dataset, tmp_path: Path) -> None:
    configs = grid(epochs=150)
    checkpoints, records = Checkpoints(tmp_path / "checkpoints", CPU, 0.0), dict[int, RunRecord]()
    prepare()
    executor = local_executor(2, {configs[0].data.key: digits}, CPU, tmp_path, False, checkpoints)
    plan, killed, steps = make_plan(configs, (), CPU, workers=1), [], []
    real = executor.new_evaluations

    def watched():  # type: ignore[no-untyped-def]
        for evaluated in real():
            if not killed and evaluated.step > 100 and list(checkpoints):
                killed.append(max(begun.step for begun in checkpoints))
                multiprocessing.active_children()[0].kill()
            elif killed and len(steps) < 2 and evaluated.step:
                steps.append(evaluated.step)
            yield evaluated

    executor.new_evaluations = watched  # type: ignore[method-assign]

    def keep(jobs: Sequence[int], trained: Trained) -> None:
        records.update(zip(jobs, trained.records, strict=True))

    try:
        Dispatch(plan, executor, Interrupts(), Listeners(keep)).run()
    finally:
        executor.stop()
    assert killed and sorted(records) == list(range(8)) and {r.stack_size for r in records.values()} == {4}
    assert all(record.history["step"][-1] == 600 for record in records.values())
    undisturbed = train(configs, digits, None)
    for job, record in records.items():
        assert record.history["step"] == undisturbed[job].history["step"]
        assert record.summary["final_val_loss"] == pytest.approx(undisturbed[job].summary["final_val_loss"], rel=1e-2)


def test_a_full_disk_costs_no_run_and_is_said_once(
    digits: data.Dataset, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_state", full)
    configs = grid(max_stack=4)
    plan, records = make_plan(configs, (), CPU, workers=1), list[RunRecord]()
    executor = local_executor(1, {configs[0].data.key: digits}, CPU, Path(), False, checkpoints)
    Dispatch(plan, executor, Interrupts(), Listeners(lambda jobs, trained: records.extend(trained.records))).run()
    executor.stop()
    assert {record.status for record in records} == {"finished"} and len(plan.stacks) == 2
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("no checkpoint can be written ([Errno 28] No space left on device): training goes on")
    assert not FOLDER.exists()


def test_they_take_less_than_a_hundredth_of_the_time(digits: data.Dataset) -> None:
    seconds = iter([0.0, 10.0, 12.0, 12.0, 311.9, 312.1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.time, "monotonic", lambda: next(seconds))
        patch.setattr(Checkpoints, "write", lambda *_: None)
        keeper = Keeper(Checkpoints(FOLDER, CPU, 60.0), grid())
        keeper.write(lambda: None)  # type: ignore[arg-type, return-value]  # from second 10 to second 12
        assert [keeper.is_due for _ in range(3)] == [False, False, True]


def test_another_device_has_another_fingerprint(digits: data.Dataset, checkpoints: Checkpoints) -> None:
    stop_after(6, grid(), digits, checkpoints)
    other = replace(checkpoints, device=torch.device("meta"))
    assert list(other) == [] and other.strange([identity(grid()[0])]) == 1
