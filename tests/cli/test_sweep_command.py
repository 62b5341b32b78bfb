"""The command line: what it answers, and one clear line for what it refuses, before anything is trained or written."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bnsweep.cli import report
from bnsweep.cli import sweep as entry
from bnsweep.cli.report_ahead import ReportAhead
from bnsweep.config.checks import ConfigError
from bnsweep.config.run import TrackingConfig
from bnsweep.config.sweep import SweepConfig
from bnsweep.runs.ledger import SweepResult
from bnsweep.store.store import Store

REPO = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hydra_restore_singletons: Any) -> Path:
    """An empty working directory, and Hydra as in a new process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    return tmp_path


def refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "argv", ["bnsweep", *arguments])
    with pytest.raises(SystemExit) as stop:
        entry.main()
    return str(stop.value)


ANYWHERE = [
    ("activation=foo", "bnsweep: In 'config': Could not find 'activation/foo' Available options in 'activation': elu"),
    ("lr=-1", "bnsweep: lr=-1: lr takes the name of a choice; a number goes to a field, as in lr.value=0.1"),
    ("lr.valu=1", "bnsweep: lr.valu: no such setting (choices: lr.value"),
    ("+lr.valu=1", "bnsweep: lr.valu: no such setting (did you mean lr.value"),
    ("+unknown=1", "bnsweep: unknown: no such setting (did you mean activation, init"),
    ("bn=none bn=before", "bnsweep: bn=none bn=before: bn must be given once"),
    ("train.epochs=x", "bnsweep: train.epochs=x: must be an integer"),
    ("train.epochs=-1", "bnsweep: train.epochs=-1: must be >= 0"),
    ("data.validation=1437", "bnsweep: data.validation=1437: must be at least 10 and less than the 1437 samples"),
    ("seed=-1", "bnsweep: seed=-1: must be between 0 and"),
    ("train.device=tpu", "bnsweep: train.device=tpu: must be one of auto, cpu, cuda"),
    ("sweep.id=a/b", "bnsweep: sweep.id=a/b: must be letters, digits"),
    ("tracking.experiment=''", "bnsweep: tracking.experiment='': must be a name"),
    ("data=mnist data.root=/proc/none", "bnsweep: /proc: must be a writable folder to download mnist into"),
    ("tracking.uri=ftp://somewhere", "bnsweep: tracking.uri=ftp://somewhere: must be sqlite:///PATH"),
    ("tracking.uri=http://127.0.0.1:9", "must be a reachable MLflow server"),
]
"""What a sweep refuses in another place of the code than one run. Rules of settings are asked in the place of
`train.epochs=-1` (tests/config)."""


@pytest.mark.parametrize(
    ("flags", "arguments", "says"),
    [
        *(([], *case) for case in ANYWHERE),
        *((["-m"] if "activation=" in case[0] else ["-m", "activation=sigmoid,tanh"], *case) for case in ANYWHERE),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    flags: list[str], arguments: str, says: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    message = refused([*flags, *arguments.split()], monkeypatch)
    assert says in message
    assert "\n" not in message
    assert list(elsewhere.iterdir()) == []
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("hydra.sweeper.max_batch_size=1", "must be left out: all runs are checked before any is trained"),
        ("seed=range(0,0)", "bnsweep: no jobs: an override sweeps over an empty range or list"),
        ("sweep.report=/dev/null/x", "bnsweep: sweep.report=/dev/null/x: must be a folder that can be written"),
        ("bn=before bn.eps=-1", "bnsweep: bn.eps=-1.0: must be a finite number >= 0"),
        ("model.hidden=[2000000,2000000]", "must be smaller: the network would have 4000148000000 weights"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_it_starts(
    arguments: str, says: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refused(["-m", "activation=sigmoid,tanh", *arguments.split()], monkeypatch)
    assert says in message and "\n" not in message
    assert list(elsewhere.iterdir()) == []


def test_a_failed_run_ends_in_a_failing_status_and_a_report(
    swept: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    shutil.copytree(swept[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")

    def broken(*_: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("bnsweep.runs.executors.base.Training", broken)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # one stack at a time trains in this process
    arguments = ["-m", "activation=relu", "bn=none,after", "seed=0", "train=smoke"]
    assert refused(arguments, monkeypatch) == "bnsweep: a run failed: RuntimeError: no such luck"
    out = capsys.readouterr().out
    assert "2 planned, 1 finished, 0 diverged, 1 failed (1 trained now)" in out
    assert "Report: " in out


def test_a_sweep_adds_seeds_and_its_report_says_so(
    swept: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """By a file of the user's own."""
    shutil.copytree(swept[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    (tmp_path / "own/experiment").mkdir(parents=True)
    params = "bn: before,after\n      seed: auto\n"
    text = f"# @package _global_\nsweep:\n  max_seeds: 10\nhydra:\n  sweeper:\n    params:\n      {params}"
    (tmp_path / "own/experiment/mine.yaml").write_text(text)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ["--config-dir", str(tmp_path / "own"), "-m", "+experiment=mine", "train=smoke", "sweep.id=added"]
    monkeypatch.setattr(sys, "argv", ["bnsweep", *arguments])
    entry.main()
    out = capsys.readouterr().out
    assert "seed=auto: a look at the claims after 8 and 10 seeds; 16 runs at the least, 20 at the most" in out
    seeds = 8 if "8 seeds: 1 of 1 claims decided; no more seeds are needed" in out else 10
    assert "Seeds were added until claims were decided: looks after 8" in out
    folders = sorted(int(path.name) for path in Path("multirun/added").iterdir() if path.is_dir())
    assert folders == list(range(2 * seeds))
    frame = Store.open(TrackingConfig(f"sqlite:///{Path('mlflow.db').resolve()}")).load("added")
    assert len(frame.runs) == 2 * seeds and (frame.runs["status"] == "finished").all()


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a CUDA device here")
def test_cuda_is_refused_where_there_is_none(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "train.device=cuda: no CUDA device was found" in refused(["train.device=cuda"], monkeypatch)
    assert list(elsewhere.iterdir()) == []


def test_damaged_data_is_refused(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = elsewhere / "data/MNIST/raw"
    raw.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{part}-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01" + bytes(20)))
    message = refused(["data=mnist"], monkeypatch)
    assert "train-images-idx3-ubyte.gz" in message
    assert "\n" not in message
    assert {p.name for p in elsewhere.iterdir()} == {"data"}


def test_a_file_that_is_no_database_is_refused_and_kept(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "notes.txt").write_text("no database")
    message = refused([f"tracking.uri=sqlite:///{elsewhere}/notes.txt"], monkeypatch)
    assert "must be a sqlite database" in message
    assert [(p.name, p.read_text()) for p in elsewhere.iterdir()] == [("notes.txt", "no database")]


def test_an_unexpected_error_is_one_line_and_its_traceback_is_kept(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(entry, "from_composed", broken)
    message = refused([], monkeypatch)
    found = re.fullmatch(r"bnsweep: unexpected ValueError: a bug \(traceback in (.*)\)", message)
    assert found is not None, message
    log = Path(found[1])
    assert log.parts[-3] == "outputs" and log.name == "bnsweep.log"
    assert "in broken\n" in log.read_text() and "ValueError: a bug" in log.read_text()


def test_who_asks_for_full_errors_gets_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["bnsweep", "lr.value=-1"])
    with pytest.raises(ConfigError, match="must be a finite number > 0"):
        entry.main()


def run(folder: Path, *arguments: str, command: tuple[str, ...] = (sys.executable, "-m", "bnsweep")) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    line = [*command, *arguments]
    done = subprocess.run(line, check=False, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_help_and_cfg_answer_without_torch_or_mlflow(elsewhere: Path) -> None:
    spy = "import sys, runpy; sys.argv = ['bnsweep', '{}']; "
    spy += "import contextlib\nwith contextlib.suppress(SystemExit): runpy.run_module('bnsweep', run_name='__main__')\n"
    spy += "print('HEAVY', {{'torch', 'mlflow', 'pandas'}} & set(sys.modules))"
    text = run(elsewhere, spy.format("--help"), command=(sys.executable, "-c"))
    assert "activation: elu, gelu, identity, leaky_relu, relu, selu, sigmoid, silu, tanh" in text
    assert text.endswith("HEAVY set()\n")
    text = run(elsewhere, spy.format("--cfg=job"), command=(sys.executable, "-c"))
    assert "batch_size: 64" in text
    assert text.endswith("HEAVY set()\n")
    assert list(elsewhere.iterdir()) == []


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small sweep by the command line, in a folder that is not the checkout."""
    folder = tmp_path_factory.mktemp("swept")
    return folder, run(folder, "-m", "activation=sigmoid,relu", "bn=none,before", "seed=range(0,5)", "train=smoke")


def test_a_sweep_prints_its_answer(swept: tuple[Path, str]) -> None:
    folder, text = swept
    assert "plan: 4 combinations, 20 runs, 0 already done, 20 left" in text
    assert "20 planned, 20 finished, 0 diverged, 0 failed (20 trained now)" in text
    assert "final validation accuracy" in text
    assert f"Report: {folder / 'report/report.html'}" in text
    assert "viewStateShareKey=" in text
    assert {p.name for p in (folder / "report").iterdir()} == {
        *("claims.csv", "factors.csv", "ranking.csv", "runs.csv"),
        *("columns.csv", "report.html", "report.md", "report.png", "summary.json", "table.md", "table.tex"),
    }


def test_every_job_has_its_directory(swept: tuple[Path, str]) -> None:
    folder, _ = swept
    jobs = sorted(folder.glob("multirun/*/*/.hydra/overrides.yaml"), key=lambda p: int(p.parts[-3]))
    assert len(jobs) == 20
    assert "seed=0" in jobs[3].read_text() and "seed=1" in jobs[4].read_text(), "all arms of a seed first"


def test_one_run_prints_its_result_and_is_not_trained_twice(
    swept: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(swept[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setattr(sys, "argv", ["bnsweep", "train=smoke", "bn=before", "seed=2"])
    entry.main()
    text = capsys.readouterr().out
    assert "1 already done" in text
    assert "accuracy: train 0." in text


def test_the_report_can_be_written_again(
    swept: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = swept
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["bnsweep.report", f"out={tmp_path / 'again'}"])
    report.main()
    assert (tmp_path / "again/ranking.csv").read_text() == (folder / "report/ranking.csv").read_text()


def result_in(folder: Path, name: str) -> SweepResult:
    tracking = TrackingConfig(f"sqlite:///{folder / 'mlflow.db'}")
    return SweepResult(SweepConfig(id=name, report="another"), tracking, [], 0)


def test_a_process_of_its_own_writes_the_same_report(
    swept: tuple[Path, str], elsewhere: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(swept[0], elsewhere / "copy")
    with closing(ReportAhead()) as ahead:
        (multirun,) = (elsewhere / "copy/multirun").iterdir()
        ahead.begin(result_in(elsewhere / "copy", multirun.name))
        shown = ahead.show()
    text = capfd.readouterr().out
    assert shown and text.rstrip().endswith(f"Report: {elsewhere / 'another/report.html'}")
    assert text.splitlines()[:4] == swept[1][swept[1].index("Sweep ") :].splitlines()[:4]
    for path in (swept[0] / "report").glob("*.csv"):
        assert (elsewhere / "another" / path.name).read_bytes() == path.read_bytes()


def test_where_that_fails_the_sweep_writes_it(elsewhere: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for sweep in ([], [result_in(elsewhere, "unknown")]):
        with closing(ReportAhead()) as ahead:
            for result in sweep:
                ahead.begin(result)
            assert not ahead.show()
    assert capfd.readouterr() == ("", "") and list(elsewhere.iterdir()) == []


def test_a_long_sweep_begins_what_it_will_need(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is trained here: the store has a file in its way."""
    began: list[str] = []
    monkeypatch.setattr("bnsweep.store.environment.cores", lambda: 2)
    monkeypatch.setattr("bnsweep.cli.ahead.begin_workers", began.append)
    (elsewhere / "mlflow.db").write_text("no database")
    for seeds in (99, 100):
        monkeypatch.setenv("HYDRA_FULL_ERROR", "")
        assert "mlflow.db" in refused(["-m", f"seed=range(0,{seeds})", "train.device=cpu"], monkeypatch)
    assert began == ["cpu"] and "planning 100 runs" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_other_launchers_run_one_process_a_run(launcher: str, swept: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(swept[0], folder)
    run(folder, "-m", f"hydra/launcher={launcher}", "bn=none,after", "seed=7", "train=smoke", "sweep.id=one")
    frame = Store.open(TrackingConfig(f"sqlite:///{folder / 'mlflow.db'}")).load("one")
    assert sorted(frame.runs["bn"]) == ["after", "none"]
    assert (frame.runs["status"] == "finished").all()
