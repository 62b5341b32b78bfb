"""Strategies stop runs by their scores alone; what they stop or let go on has the numbers that it would have had."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from members import changed
from quick_runs import CPU, grid, in_sweep, swept
from stop_and_go import assert_same_record
from test_checkpoints import interrupted

from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.data import dataset as data
from bnsweep.records import DIVERGED, FINISHED, STOPPED, RunRecord
from bnsweep.runs import strategies
from bnsweep.runs.executors import base
from bnsweep.runs.ledger import SweepResult
from bnsweep.runs.outbox import Outbox
from bnsweep.runs.seed_batches import Looking
from bnsweep.runs.strategies import Plateau, rung_steps
from bnsweep.runs.sweep import run_sweep
from bnsweep.training.trainer import train

HALVING = {"strategy": "halving", "factor": 2}
PLATEAU = {"strategy": "plateau", "patience": 3}


def runs(tracking: TrackingConfig | None = None, **sweep: object) -> list[RunConfig]:
    """4 arms by 2 learning rates by 2 seeds, 12 evaluations each."""
    configs = grid(tracking, epochs=12, **sweep)
    return [changed(config, {"lr.value": rate}) for rate in (0.02, 0.3) for config in configs]


@pytest.fixture(scope="module")
def whole() -> dict[str, RunRecord]:
    """The same runs to their ends, as one stack."""
    configs = runs()
    records, _ = train(configs, data.load(configs[0].data), CPU)
    return dict(zip(map(identity, configs), records, strict=True))


def kept(configs: list[RunConfig], monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> dict[str, RunRecord]:
    """By identity, what a sweep logs."""
    found, put = dict[str, RunRecord](), Outbox.put

    def noted(self: Outbox, jobs: Sequence[int], some: Sequence[RunConfig], trained: base.Trained) -> None:
        found.update(zip(map(identity, some), trained.records, strict=True))
        put(self, jobs, some, trained)

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "put", noted)
        swept(configs, workers)
    return found


def stops_at(record: RunRecord, patience: int) -> int | None:
    """Step at which this curve has no better value in so many evaluations; written as it reads."""
    scores, steps = record.history["val/accuracy"], record.history["step"]
    for i in range(len(scores) - 1):
        best = max(range(i + 1), key=lambda at: (scores[at], -at))
        if i - best == patience:
            return int(steps[i])
    return None


def assert_same_up_to_its_end(record: RunRecord, wanted: RunRecord, rel: float = 1e-4) -> None:
    number = len(record.history["step"])
    assert record.history["step"] == wanted.history["step"][:number]
    for name in ("train/loss", "val/loss", "val/accuracy"):
        assert record.history[name] == pytest.approx(wanted.history[name][:number], rel=rel), name


def statuses(records: dict[str, RunRecord]) -> dict[str, tuple[str, int | None, str]]:
    return {name: (record.status, record.stopped_step, record.reason) for name, record in records.items()}


def test_a_curve_stalls_after_so_many_evaluations_without_a_better_value() -> None:
    plateau = Plateau(2, 3)
    curves = [(0.1, 0.5, math.nan), (0.2, 0.4, math.nan), (0.2, 0.5, 0.1), (0.3, 0.9, 0.1), (0.3, 0.9, 0.1)]
    found = [plateau.stalled(scores, 10 * i) for i, scores in enumerate(curves)]
    assert found == [{}, {}, {1: 0}, {}, {2: 20}]


@pytest.mark.parametrize("worth", [-1.0, 1e9], ids=["in smaller and smaller stacks", "in one stack"])
def test_plateau_stops_each_run_by_its_own_curve(
    worth: float, whole: dict[str, RunRecord], tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "WORTH", worth)
    monkeypatch.setattr(base, "FROZEN_SHARE", 0.1)
    records = kept(runs(tracking, **PLATEAU), monkeypatch)
    ends = {name: stops_at(record, 3) for name, record in whole.items()}
    assert 3 < sum(end is not None for end in ends.values()) < 16, "some stop, and some do not"
    assert {name: record.stopped_step for name, record in records.items()} == ends
    sizes = {record.stack_size for record in records.values()}
    assert sizes == {16} if worth > 0 else len(sizes) > 3
    for name, record in records.items():
        assert_same_up_to_its_end(record, whole[name])
        if ends[name] is None:
            assert record.status == FINISHED and (worth < 0 or record.stack_size == 16)
    (reason, *_) = [record.reason for record in records.values() if record.status == STOPPED]
    assert reason.startswith("stopped at step ") and ": no better validation accuracy since step " in reason


def test_frozen_members_change_no_bit_of_the_others(
    whole: dict[str, RunRecord], tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "WORTH", 1e9)
    records = kept(runs(tracking, **PLATEAU), monkeypatch)
    ended = [name for name, record in records.items() if record.status == FINISHED]
    assert ended
    for name in ended:
        assert_same_record(records[name], whole[name])


def test_a_stopped_run_says_nothing_that_only_a_whole_one_can(
    whole: dict[str, RunRecord], tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = kept(runs(tracking, **PLATEAU), monkeypatch)
    name, record = next((name, record) for name, record in records.items() if record.status == STOPPED)
    gone = {"steps_to_tau", "tau_reached", "total_steps", "auc"}
    assert gone <= whole[name].summary.keys() and not gone & record.summary.keys()
    assert record.summary["final_val_accuracy"] == record.history["val/accuracy"][-1]
    assert [*record.histograms] == ["start"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [PLATEAU, HALVING], ids=["plateau", "halving"])
def test_decisions_do_not_depend_on_stacks_or_workers(
    strategy: dict[str, object], tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "WORTH", -1.0)
    monkeypatch.setattr(base, "FROZEN_SHARE", 0.1)
    found = [kept(runs(tracking, **strategy, rerun=True), monkeypatch)]
    found.append(kept(in_sweep(runs(tracking, **strategy, rerun=True, max_stack=3), "b"), monkeypatch))
    found.append(kept(in_sweep(runs(tracking, **strategy, rerun=True), "c"), monkeypatch, workers=2))
    assert statuses(found[0]) == statuses(found[1]) == statuses(found[2])


@pytest.mark.parametrize("strategy", [PLATEAU, HALVING], ids=["plateau", "halving"])
@pytest.mark.parametrize("step", [6, 20, 40])
def test_a_sweep_that_is_cut_short_comes_to_the_same_decisions(
    strategy: dict[str, object], step: int, tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "WORTH", -1.0)
    monkeypatch.setattr(base, "FROZEN_SHARE", 0.1)
    undisturbed = kept(in_sweep(runs(tracking, **strategy), "whole"), monkeypatch)
    found, put = dict[str, RunRecord](), Outbox.put

    def noted(self: Outbox, jobs: Sequence[int], some: Sequence[RunConfig], trained: base.Trained) -> None:
        found.update(zip(map(identity, some), trained.records, strict=True))
        put(self, jobs, some, trained)

    other = TrackingConfig(uri=tracking.uri, experiment="other")
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "put", noted)
        interrupted(runs(other, **strategy), monkeypatch, step)
        swept(runs(other, **strategy))
    assert statuses(found) == statuses(undisturbed)
    for name, record in found.items():
        assert_same_record(record, undisturbed[name])
    assert not Path("checkpoints").exists()


def expected_survivors(whole: dict[str, RunRecord], configs: list[RunConfig]) -> list[set[str]]:
    """Identities that go on after each rung, by the curves of whole runs; written as it reads."""
    names, left = [], {identity(config): config for config in configs}
    for step in rung_steps(configs[0]):
        arms: dict[object, list[str]] = {}
        for name, config in left.items():
            arms.setdefault((config.activation, config.bn, config.lr), []).append(name)
        at = whole[next(iter(left))].history["step"].index(step)
        means = {arm: sum(whole[n].history["val/accuracy"][at] for n in of) / len(of) for arm, of in arms.items()}
        best = sorted(arms, key=lambda arm: -means[arm])[: math.ceil(len(arms) / configs[0].sweep.factor)]
        left = {name: left[name] for arm in best for name in arms[arm]}
        names.append({*left})
    return names


def test_halving_lets_the_best_arms_go_on(
    whole: dict[str, RunRecord],
    tracking: TrackingConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    configs = runs(tracking, **HALVING)
    assert rung_steps(configs[0]) == [12, 24]
    records, (first, second) = kept(configs, monkeypatch), expected_survivors(whole, configs)
    assert (len(first), len(second)) == (8, 4)
    for name, record in records.items():
        rung = 3 if name in second else 2 if name in first else 1
        assert (record.status, record.stopped_step) == ((STOPPED, 12 * rung), (FINISHED, None))[rung == 3][:2] or (
            rung < 3 and record.stopped_step == (12, 24)[rung - 1] and record.status == STOPPED
        )
        assert_same_up_to_its_end(record, whole[name])
        assert record.stack_size == (16, 8, 4)[rung - 1]
        if rung < 3:
            start = f"stopped at rung {rung} (step {(12, 24)[rung - 1]} of 48): arm "
            assert (
                record.reason.startswith(start)
                and f"of {(8, 4)[rung - 1]} by mean validation accuracy" in record.reason
            )
    out = capsys.readouterr().out
    assert "rung 1 of 2: 4 of 8 combinations go on\nrung 2 of 2: 2 of 4 combinations go on\n" in out
    assert "ledger: 16 planned, 4 finished, 0 diverged, 12 stopped, 0 failed (16 trained now)" in out
    assert "favours what learns fast: large learning rates, BN" in out
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize("strategy", [PLATEAU, HALVING], ids=["plateau", "halving"])
def test_the_same_sweep_again_trains_nothing_and_another_what_was_stopped(
    strategy: dict[str, object], tracking: TrackingConfig
) -> None:
    first = swept(runs(tracking, **strategy))
    again = swept(in_sweep(runs(tracking, **strategy), "b"))
    assert (first.trained, again.trained) == (16, 0)
    assert [(r.status, r.run_id) for r in again.runs] == [(r.status, r.run_id) for r in first.runs]
    stopped = sum(run.status == STOPPED for run in first.runs)
    rest = swept(in_sweep(runs(tracking, strategy="none"), "c"))
    assert 0 < stopped == rest.trained and {run.status for run in rest.runs} == {FINISHED}


def test_another_patience_trains_again_what_it_would_not_have_stopped_there(tracking: TrackingConfig) -> None:
    first = swept(runs(tracking, **PLATEAU))
    other: SweepResult = swept(in_sweep(runs(tracking, strategy="plateau", patience=4), "b"))
    assert other.trained == sum(run.status == STOPPED for run in first.runs)


def test_arms_of_which_runs_diverge_stand_last(tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = runs(tracking, **HALVING)
    lost = [
        i for i, c in enumerate(configs) if c.activation.name == "relu" and c.lr.value > 0.1 and c.placement == "none"
    ]
    for i in lost[:1]:
        configs[i] = changed(configs[i], {"lr.value": 1e30})
    for i in lost[1:]:
        configs[i] = changed(configs[i], {"lr.value": 1e30, "seed": 9})
    records = kept(configs, monkeypatch)
    for i in lost:
        assert records[identity(configs[i])].status == DIVERGED
    assert sum(record.status == FINISHED for record in records.values()) == 4


def test_what_halving_cannot_do_is_refused_before_anything_is_trained(tracking: TrackingConfig) -> None:
    few = r"^sweep\.rungs=2 with sweep\.factor=2: must be so few that each has an evaluation of its own before the last"
    with pytest.raises(ConfigError, match=few):
        run_sweep(grid(tracking, epochs=2, **HALVING), "test")
    looking = Looking((), lambda frame: False)
    with pytest.raises(ConfigError, match=r"^sweep\.strategy=halving: must be none or plateau with seed=auto, as "):
        run_sweep(runs(tracking, **HALVING), "test", looking=looking)
    with pytest.raises(ConfigError, match=r"^sweep\.strategy=halving: must be none or plateau outside of a tracked"):
        run_sweep(runs(tracking, **HALVING), "test", keep_plan=False)
    with pytest.raises(ConfigError, match=r"^sweep\.checkpoint_seconds=null: must be a number with sweep\.strategy="):
        runs(tracking, **HALVING, checkpoint_seconds=None)
    with pytest.raises(ConfigError, match=r"^sweep\.shard=1/2: must be null with sweep\.strategy=halving, which comp"):
        runs(tracking, **HALVING, shard="1/2")


def test_rungs_lie_at_the_first_evaluation_from_their_share_on() -> None:
    (config, *_) = grid(epochs=30, strategy="halving")
    assert config.total_steps == 120 and rung_steps(config) == [16, 40]
    assert strategies.price(config.sweep)[0].startswith("sweep.strategy=halving: one combination in 3 goes on")
