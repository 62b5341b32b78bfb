"""A sweep that is killed inside its stacks repeats what was trained since the last checkpoint, and no more."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from commands import end, start

SWEEP = "-m activation=sigmoid,relu bn=none,before seed=range(0,4) sweep.max_stack=8 sweep.id=a"
NOTED = """
import time
from bnsweep.runs import checkpoints
from bnsweep.training.trainer import Training
checkpoints.SPARE = 1
def noted(self, watch, tick, until=None, run=Training.run):
    def seen(evaluation):
        with open("steps.txt", "a") as file:
            print(time.time(), self.configs[0].seed, evaluation.step, file=file)
        watch(evaluation)
    with open("steps.txt", "a") as file:
        print(time.time(), self.configs[0].seed, self.step, file=file)
    run(self, seen, tick, until)
Training.run = noted
"""
"""When each stack, known by its first seed, was at which step. Checkpoints may take more of so short a time."""


@dataclass(frozen=True)
class Seen:
    """A line of what is noted."""

    time: float
    stack: int
    step: int


def seen(folder: Path) -> list[Seen]:
    file = folder / "steps.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return [Seen(float(at), int(stack), int(step)) for at, stack, step in map(str.split, lines)]


def undisturbed(folder: Path, database: Path, *settings: str) -> tuple[str, float]:
    """Its ranking, and how long it trained."""
    folder.mkdir()
    shutil.copyfile(database, folder / "mlflow.db")
    end(start(folder, *SWEEP.split(), *settings, code=NOTED))
    found = seen(folder)
    return (folder / "report/ranking.csv").read_text(), found[-1].time - found[0].time


def killed(folder: Path, seconds: float, *settings: str) -> bool:
    """Whether the command, which goes on from where it was, is killed so long after it trains; it ends otherwise."""
    before = len(seen(folder))
    with start(folder, *SWEEP.split(), *settings, code=NOTED) as process:
        while process.poll() is None and len(seen(folder)) == before:
            time.sleep(0.01)
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        was_killed = process.poll() is None
        process.kill()
        said = process.communicate()[0]
    assert was_killed or process.returncode == 0, said
    return was_killed


def repeated(found: list[Seen]) -> list[float]:
    """For each time that a stack went on, the seconds that it had trained since it was where it goes on from."""
    lost, at = [], dict[tuple[int, int], float]()
    for before, now in pairwise(found):
        at[before.stack, before.step] = before.time
        if before.stack == now.stack and now.step <= before.step:
            lost.append(before.time - at[now.stack, now.step])
    return lost


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_inside_its_stacks(empty_database: Path, tmp_path: Path) -> None:
    settings = "train.epochs=150", "data.subset=400", "sweep.checkpoint_seconds=0"
    ranking, seconds = undisturbed(tmp_path / "whole", empty_database, *settings)
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copyfile(empty_database, cut / "mlflow.db")
    assert killed(cut, 0.75 * seconds, *settings)
    assert list((cut / "checkpoints").iterdir())
    said = end(start(cut, *SWEEP.split(), *settings, code=NOTED))
    assert "stacks that go on from checkpoints: 1 from step " in said
    assert (cut / "report/ranking.csv").read_text() == ranking
    assert not (cut / "checkpoints").exists()


@pytest.mark.slow
def test_twenty_kills_repeat_no_more_than_the_time_between_checkpoints(
    empty_database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interval, random = 0.25, Random(18)
    settings = "train.epochs=1000", "data.subset=400", f"sweep.checkpoint_seconds={interval}"
    ranking, seconds = undisturbed(tmp_path / "whole", empty_database, *settings)
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copyfile(empty_database, cut / "mlflow.db")
    kills = 0
    while kills < 20 and killed(cut, random.uniform(0.0, seconds / 20), *settings):
        kills += 1
    end(start(cut, *SWEEP.split(), *settings, code=NOTED))
    assert (cut / "report/ranking.csv").read_text() == ranking
    assert not (cut / "checkpoints").exists()
    lost = repeated(seen(cut))
    beyond = sum(max(0.0, each - interval) for each in lost)
    with capsys.disabled():
        print(
            f"\n{kills} kills in {seconds:.1f} s of training repeat {sum(lost):.1f} s, {max(lost):.2f} s at the most;"
        )
        print(f"{beyond / seconds:.2%} of the training is beyond the {interval} s between checkpoints", end="")
    assert kills == 20 and beyond <= 0.02 * seconds
