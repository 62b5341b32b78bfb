"""Whoever stops a command is heard at once, in one line, whatever it is doing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bnsweep.config.run import TrackingConfig
from bnsweep.runs.interrupt import SIGNALS, Interrupts, blocked_signals
from bnsweep.store.store import Store

REPO = Path(__file__).parents[2]
SWEEP = "bn=none,before seed=range(0,8) train=smoke sweep.max_stack=2"
DONE = "interrupted; the same command goes on from here\n"
STOPPING = "stopping once the runs in hand are logged; once more to stop at once\n"


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """In a group of its own, as a terminal does."""
    (folder / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "2", "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_line(process: subprocess.Popen[str], begins: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(begins):
            return
    pytest.fail(f"no line began with {begins!r}: {process.communicate()[1]}")


def ends_well(process: subprocess.Popen[str], folder: Path, said: set[str]) -> None:
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors in said
    assert list((folder / "tmp").iterdir()) == []


@pytest.mark.slow
def test_a_sweep_is_interrupted_at_any_moment_and_goes_on(empty_database: Path, tmp_path: Path) -> None:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    sweep = ("-m", "bnsweep", "-m", *SWEEP.split())

    with start(tmp_path, *sweep) as process:
        time.sleep(0.7)  # it imports
        os.kill(process.pid, signal.SIGTERM)
        ends_well(process, tmp_path, {DONE})

    with start(tmp_path, *sweep) as process:
        wait_for_line(process, "plan: ")  # its workers import, too
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        ends_well(process, tmp_path, {DONE, STOPPING + DONE})

    with start(tmp_path, *sweep) as process:
        wait_for_line(process, "ledger: ")  # all is trained: nothing is lost
        os.killpg(process.pid, signal.SIGHUP)
        ends_well(process, tmp_path, {DONE, STOPPING + DONE})

    assert len(Store.open(TrackingConfig(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")).done()) == 16


@pytest.mark.parametrize(
    ("command", "says"),
    [("bnsweep.report", "interrupted\n"), ("bnsweep.experiments", "interrupted; the experiments that were over are ")],
)
def test_every_command_is_interrupted_in_one_line(
    command: str, says: str, empty_database: Path, tmp_path: Path
) -> None:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    for heavy in ("hydra", "mlflow", "pandas", "torch"):  # found before the real ones: there it waits
        (tmp_path / f"{heavy}.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    with start(tmp_path, "-m", command) as process:
        wait_for_line(process, "here")
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors.count("\n")) == (130, 1)
    assert errors.startswith(says)


def test_what_nohup_has_a_process_ignore_stays_ignored(tmp_path: Path) -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from bnsweep.runs.interrupt import Interrupts, end_when_interrupted\n"
        "end_when_interrupted('interrupted'); os.kill(os.getpid(), signal.SIGHUP)\n"
        "with Interrupts() as interrupts:\n    os.kill(os.getpid(), signal.SIGHUP)\nprint(interrupts.pending)"
    )
    with start(tmp_path, "-c", code) as process:
        assert process.communicate(timeout=60) == ("False\n", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_asked_for_and_the_second_is_raised(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        interrupts.check()
        signal.raise_signal(number)
        assert interrupts.pending and capfd.readouterr().err == STOPPING
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) == before


def test_a_thread_takes_no_signals() -> None:
    found = []

    def enter() -> None:
        with Interrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]


def test_a_process_started_under_blocked_signals_never_gets_them() -> None:
    code = "import time; print('here', flush=True); time.sleep(0.3); print('there')"
    with blocked_signals():
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    for number in SIGNALS:
        process.send_signal(number)
    assert process.communicate(timeout=30)[0] == "there\n"
    assert process.returncode == 0
