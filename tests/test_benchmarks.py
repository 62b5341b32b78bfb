"""The benchmark tells right arms from wrong ones and writes what it measured. Nothing here asserts a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bnsweep.config.groups import PROBES, LrConfig
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import TrackingConfig
from bnsweep.runs.plan import step_flops
from bnsweep.store.store import Store
from tests.benchmarks import probes, roofline, scale
from tests.benchmarks.__main__ import arguments
from tests.benchmarks.arm import Arm
from tests.benchmarks.arm_single import Single, Tuning
from tests.benchmarks.arms import ARMS, make
from tests.benchmarks.bench import Budget, Result, measure
from tests.benchmarks.gate import NUDGE, NUDGES, check, judge_passes, losses, reference
from tests.benchmarks.report import Table, document, sentences
from tests.benchmarks.session import CutOff, Failed, ProcessSession, Session
from tests.benchmarks.work import Spec, Work, adversarial_member, lecture_member, make_config
from tests.plain_loop import nudge

ROOT = Path(__file__).parents[1]
SPEC = Spec(members=6, steps=4, root="nowhere")
ONCE = Budget(repeats=1, seconds=0.0)
SETTINGS = {"c": {"tuning": Tuning()}, "d": {"tuning": Tuning()}, "e": {"threads": 1}}


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def trained(arm: Arm) -> Arm:
    for number in range(2):
        arm.epoch(number)
    return arm


@pytest.mark.parametrize("kind", ["lecture", "adversarial"])
@pytest.mark.parametrize("key", ["b", "c", "e", "ours", "own", "ours-adam"])
def test_arms_pass_the_gate(key: str, kind: str) -> None:
    work = Work(replace(SPEC, kind=kind, optimizer=ARMS[key].optimizer))
    verdict = check(trained(make(key, work, **SETTINGS.get(key, {}))), passes=2)
    assert verdict.reason == ""
    if kind == "adversarial":
        assert verdict.by_status > 0


def test_the_usual_loop_passes_the_gate() -> None:
    assert check(trained(make("a", Work(SPEC))), passes=2).reason == ""


@pytest.mark.parametrize("key", ["a", "c", "e", "h", "ours", "own"])
def test_arms_pass_the_gate_with_convolutions(key: str) -> None:
    settings = {"c": {"tuning": Tuning(channels_last=True)}, "e": {"threads": 1}, "h": {"threads": 1}}
    arm = make(key, Work(replace(SPEC, members=4, kind="conv")), **settings.get(key, {}))
    assert check(trained(arm), passes=2).reason == ""


def test_an_arm_says_which_members_it_does_not_train() -> None:
    refused = measure(SPEC, ["h"], ONCE, where=Session)[0].refused
    assert refused == "not run: its network is convolutional; arm g has HFTA's own operators for the MLP"


class WrongRate(Single):
    """One member trains at a slightly different learning rate."""

    def __init__(self, work: Work) -> None:
        super().__init__(work, Tuning())
        group = self.loops[0].optimizer.param_groups[0]
        group["lr"] *= 1.05


class WrongOrder(Single):
    """Sees the epochs in another order."""

    def epoch(self, number: int) -> None:
        super().epoch(1 - number)


class NoRunningStatistics(Single):
    """Trains rightly, but would not evaluate so."""

    def __init__(self, work: Work) -> None:
        super().__init__(work, Tuning())

    def epoch(self, number: int) -> None:
        super().epoch(number)
        for module in self.loops[0].model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.reset_running_stats()


@pytest.mark.parametrize("wrong", [WrongRate, NoRunningStatistics])
def test_the_gate_refuses_a_wrong_arm(wrong: type[Arm], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARMS, "wrong", wrong)
    result = measure(SPEC, ["wrong"], ONCE, where=Session)[0]
    assert result.refused.startswith("refused: loss of member 0 is ")
    assert result.seconds == []
    table = Table([result], roofline.Peaks(1e9, "", 1e9, 1e9, 1e-6))
    assert "- (c) best single-run loop. K = 6: refused: loss of member 0" in document({"wrong": table}, {})
    assert table.numbers(result)["ms_per_model_epoch"] is None


def test_the_gate_refuses_an_arm_that_shuffles_otherwise() -> None:
    assert check(trained(WrongOrder(Work(SPEC), Tuning())), passes=2).reason


def test_the_gate_compares_diverging_members_by_status() -> None:
    work = Work(replace(SPEC, kind="adversarial"))
    right = make("ours", work)
    work.configs[0] = replace(work.configs[0], lr=LrConfig(0.01))
    assert "member 0 diverged, in the plain loop it finished" in check(trained(right), passes=2).reason


def one_member(hidden: list[int], lr: float, steps: int = SPEC.steps) -> Work:
    work = Work(replace(SPEC, members=1, steps=steps))
    work.configs = [make_config(work.spec, ("relu", "he", lr, "after"), ModelConfig(hidden), seed=0, data_seed=0)]
    return work


class NudgedMost(Single):
    """Rounds otherwise: from the nudged weights that move the loss most."""

    def __init__(self, work: Work) -> None:
        super().__init__(work, Tuning())
        config = work.configs[0]
        off = [abs(reference(work, config, 2, n) - reference(work, config, 2)) for n in range(NUDGES + 1)]
        nudge(self.loops[0].model, off.index(max(off)), NUDGE)


def test_a_sensitive_member_is_compared_with_nudged_loops() -> None:
    """Alone, too: on another processor an arm may have no other member to show."""
    verdict = check(trained(NudgedMost(one_member([50, 30, 50, 30], lr=0.1))), passes=2)
    assert (verdict.reason, verdict.sensitive) == ("", 1)
    wrong = check(trained(WrongRate(one_member([50, 30, 50, 30], lr=0.1))), passes=2)
    assert wrong.reason.startswith("loss of member 0 is ")


def test_a_member_that_nudges_move_without_bound_is_not_compared() -> None:
    verdict = check(trained(NudgedMost(one_member([50, 30, 50, 30, 50, 30, 50, 30], lr=1.0))), passes=2)
    assert verdict.reason == "only 0 of 1 members can be compared by their loss"


def test_members_that_are_chaotic_in_the_end_are_compared_before() -> None:
    arm, found = NudgedMost(one_member([50, 30, 50, 30, 50, 30, 50, 30], lr=3.0, steps=1)), []
    for number in range(2):
        arm.epoch(number)
        found.append(losses(arm))
    verdict = judge_passes(arm.work, 1, found)
    assert (verdict.after, verdict.reason) == (1, "")
    assert judge_passes(arm.work, 1, [[found[0][0] + 1], found[1]]).reason.startswith("loss of member 0 is ")


class Broken(Single):
    """Fails after its warm-up."""

    def __init__(self, work: Work) -> None:
        super().__init__(work, Tuning())

    def epoch(self, number: int) -> None:
        assert number < 2, "too late"
        super().epoch(number)


def test_an_arm_that_fails_is_a_line_and_costs_no_other_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARMS, "broken", Broken)
    broken, b = measure(SPEC, ["broken", "b"], ONCE, where=Session)
    assert broken.refused.startswith("failed: AssertionError: too late") and len(b.seconds) == 1
    text = document({"one": Table([broken, b], roofline.Peaks(1e9, "", 1e9, 1e9, 1e-6))}, {})
    assert "K = 6: failed: AssertionError: too late" in text


def test_an_arm_whose_time_is_up_keeps_the_repeats_that_it_has() -> None:
    (result,) = measure(SPEC, ["c"], Budget(repeats=3, seconds=0.0, limit=0.0), dict(SETTINGS), where=Session)
    assert (result.refused, len(result.seconds)) == ("", 1)


def test_sentences_say_how_many_times_as_fast_as_each_peer() -> None:
    def result(key: str, members: int, seconds: float) -> Result:
        return Result(Spec(members), key, ARMS[key].label, trained=members, seconds=[seconds])

    found = [result("d", 8, 4.0), result("ours", 1, 1.0), result("ours", 8, 2.0), result("f", 8, 1.0)]
    one, eight = sentences(Table(found, roofline.Peaks(1e12, "", 1e12, 1e12, 1e-6))).splitlines()
    assert one == "- K = 1: (ours) bnsweep takes 7,812 ms a model-epoch, 0.083 % of the GEMM peak."
    assert eight.endswith("peak, 2 times as fast as one process a core of it (d); but 2 times as long as JAX (f).")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--members 0", "stack sizes must be >= 1"),
        ("--arms x", "'x' is no arm (choices: a, b, "),
        ("--repeats 0", "'0' must be an integer >= 1"),
        ("--limit 0.5", "'0.5' must be an integer >= 1"),
        ("--seconds no", "invalid float value: 'no'"),
        ("--adversarial --model conv", "--adversarial is of --model mlp"),
    ],
)
def test_options_that_mean_nothing_are_refused(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(words.split())
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_processes_of_arms_that_die_hang_or_raise() -> None:
    spec = replace(SPEC, members=2)
    killed, stopped, wrong = (ProcessSession("c", spec, s) for s in (SETTINGS["c"], SETTINGS["c"], {"tuning": "?"}))
    assert killed.begin(60).trained == stopped.begin(60).trained == 2
    assert killed.train([1], 60) > 0 and len(killed.losses(60)) == 2
    os.kill(killed.process.pid, signal.SIGKILL)
    with pytest.raises(Failed, match=r"^its process ended \(SIGKILL\), as it does for want of memory$"):
        killed.train([2], 60)
    os.kill(stopped.process.pid, signal.SIGSTOP)
    with pytest.raises(CutOff):
        stopped.train([1], 0.2)
    assert stopped.process.exitcode == -signal.SIGKILL
    with pytest.raises(Failed, match="AttributeError: 'str' object has no attribute") as error:
        wrong.begin(60)
    assert "arm_single.py" in error.value.__notes__[0]
    wrong.close()
    assert wrong.process.exitcode == 0
    (cut,) = measure(spec, ["c"], Budget(limit=0.0), dict(SETTINGS))
    assert cut.refused == "cut off: not over within 0 s (--limit)"


def test_the_adversarial_members_are_what_they_say() -> None:
    """Denormal or vanished gradients, several data seeds, and sizes that no vector length divides."""
    spec = replace(SPEC, members=36, kind="adversarial")
    configs = [adversarial_member(i, spec) for i in range(36)]
    assert len({c.data_seed for c in configs}) == 6
    assert all(h % 16 for h in configs[0].model.hidden)
    work = Work(spec)
    loop = Single(work, Tuning(), members=[1]).loops[1]
    loop.epoch(0)
    size = loop.model.linear1.weight.grad.abs().max().item()
    assert size < torch.finfo(torch.float32).tiny


def test_members_mix_what_a_sweep_varies() -> None:
    configs = [lecture_member(i, SPEC) for i in range(8)]
    assert len({c.activation.name for c in configs}) == 2
    assert len({c.bn.placement for c in configs}) == 3
    assert len({c.lr.value for c in configs}) == 3
    assert (configs[0].activation.name, configs[0].init.name, configs[0].bn.placement) == ("relu", "xavier", "before")


def test_the_roofline_counts_the_seed_network() -> None:
    config = lecture_member(0, SPEC)
    assert step_flops(config) == 108_416
    peaks = roofline.Peaks(gemm=1e12, gemm_shape="", layer1=1e12, copy=1e13, launch=1e-6)
    assert roofline.floor(peaks, config, 1, 1).binds == "launches"
    many = roofline.floor(peaks, config, 1000, 1)
    assert many.binds == "FLOPs"
    assert many.seconds == pytest.approx(1000 * 108_416 * 60_000 / 1e12)


@pytest.mark.slow
def test_a_smoke_run_writes_table_and_numbers(tmp_path: Path) -> None:
    words = f"--quick --members 1,4 --arms b,c,g,ours --steps 4 --data nowhere --out {tmp_path}"
    command = [sys.executable, "-m", "tests.benchmarks", *words.split()]
    environ = {name: value for name, value in os.environ.items() if name != "HFTA_PATH"}
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    text = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert text in run.stdout
    assert "synthetic rows" in text and "as the best single loop (c)" in text
    content = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    lecture, adversarial = content["tables"].values()
    rows = {(row["spec"]["members"], row["key"]): row for row in lecture}
    assert rows.keys() == {(4, "b"), *((k, key) for k in (1, 4) for key in ("c", "g", "ours"))}
    assert "| any | (b) " in text
    assert rows[4, "g"]["refused"].startswith("not run: no HFTA given")
    for row in (rows[4, "c"], rows[4, "ours"], *adversarial):
        assert len(row["seconds"]) == 2 and row["ms_per_model_epoch"] > 0 and row["verdict"]["reason"] == ""
    assert rows[4, "ours"]["times_c"] > 0
    assert content["facts"]["load average before"]


def test_the_cost_of_probes_is_a_share_of_the_same_training_without_them() -> None:
    case = probes.cases(epochs=1)[0]
    dataset = case.load()
    for name in PROBES:
        case.seconds[name] += [case.run(name, torch.device("cpu"), dataset), (2.0, 1.0 + PROBES.index(name))]
    assert case.cost("off", 1) == [0, 0] and case.cost("full", 1)[1] == 2
    assert [row.split("|")[2:4] for row in case.rows(1)] == [[" off ", " 0 "], [" light ", " 2 "], [" full ", " 2 "]]


@pytest.mark.slow
def test_what_many_runs_cost_is_measured_of_simulated_sweeps_in_a_real_store(tmp_path: Path) -> None:
    size = scale.measure_size(60, tmp_path, trained=False)
    assert "108 planned, 108 finished" in size.sweep.said and "(108 trained now)" in size.sweep.said
    assert "108 already done, 0 left" in size.again.said
    runs = Store.open(TrackingConfig(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"), create=False).load().runs
    assert runs["final_val_accuracy"].nunique() > 54 and runs["final_val_accuracy"].between(0, 1).all()
    assert size.sweep.peak > 100 * 2**20 and size.sweep.cpu > 1 and all(size.disk.values()) and size.page > 10_000
    assert scale.markdown([size]).count("|") == 45
