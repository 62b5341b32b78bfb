"""A small part of the campaign, and that it finds what does not hold. `make campaign` is the rest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.campaign.case import Kind, try_all
from tests.campaign.commands import Answer, Command, orphans, tracebacks
from tests.campaign.disks import Disks
from tests.campaign.inputs import Inputs, form, in_turn
from tests.campaign.kills import Kills
from tests.campaign.servers import Databases, Servers
from tests.campaign.sweeps import ended_well
from tests.campaign.values import BAD_TEXTS, Expected, sort_value

SMALL: dict[type[Kind], tuple[int, ...]] = {Inputs: tuple(range(6)), Kills: (3,)}
"""What the default suite tries, by number."""


@pytest.fixture
def home(empty_database: Path, tmp_path: Path) -> Path:
    """With the database that the campaign would make there."""
    shutil.copyfile(empty_database, tmp_path / "empty.db")
    return tmp_path


def tried(kind: Kind, numbers: tuple[int, ...], capsys: pytest.CaptureFixture[str]) -> None:
    count = try_all(kind, numbers)
    assert count.held == count.tried == len(numbers), capsys.readouterr().out


@pytest.mark.slow
def test_some_bad_inputs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tried(Inputs(0, home), SMALL[Inputs], capsys)


@pytest.mark.slow
def test_some_kills(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = Kills(0, home, seeds=1, epochs=40, cold=False)
    if why := kind.missing():
        pytest.skip(why)
    tried(kind, SMALL[Kills], capsys)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Inputs, Kills, Disks, Servers, Databases], ids=lambda kind: kind.name)
def test_more_of_every_kind(kind: type[Kind], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = kind(1, home)
    if why := made.missing():
        pytest.skip(why)
    tried(made, tuple(range(made.count // 5)), capsys)


@pytest.mark.slow
def test_the_same_seed_draws_the_same_cases(tmp_path: Path) -> None:
    first, other = in_turn(3), in_turn(4)
    in_turn.cache_clear()
    assert first == in_turn(3)
    assert first != other
    kills = [[Kills(seed, tmp_path).case(number).label for number in range(30)] for seed in (3, 3, 4)]
    assert kills[0] == kills[1] != kills[2]


def test_any_first_part_has_some_of_every_family() -> None:
    drawn = in_turn(0)[:60]
    modules = {word for one in drawn for word in one.arguments if str(word).startswith("bnsweep")}
    assert modules == {"bnsweep", "bnsweep.report", "bnsweep.experiments"}
    assert any(one.files for one in drawn) and any(one.variables for one in drawn)
    assert sum(one.expected is Expected.BAD for one in drawn) > 40


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("lr.value", "-0.0", "BAD"),
        ("bn.eps", "-0.0", "LEGAL"),
        ("bn.eps", "nan", "BAD"),
        ("lr.value", "1e-400", "BAD"),
        ("bn.noise", BAD_TEXTS["400 digits"], "BAD"),
        ("train.epochs", "1.5", "BAD"),
        ("train.epochs", "0", "LEGAL"),
        ("train.epochs", str(10**13), "OPEN"),
        ("train.batch_size", str(10**13), "OPEN"),
        ("train.epochs", "null", "BAD"),
        ("train.steps", "null", "LEGAL"),
        ("model.hidden", "[1]", "LEGAL"),
        ("model.hidden", "[[3]]", "BAD"),
        ("model.hidden", "1,2", "BAD"),
        ("data.root", '"日本 é"', "LEGAL"),
        ("data.root", "josé", "BAD"),
        ("tracking.experiment", '""', "BAD"),
        ("data.root", '"\x1b[31mred"', "BAD"),
        ("seed", "???", "BAD"),
        ("seed", "${nope.x}", "BAD"),
        ("seed", "range(0,3)", "BAD"),
        ("sweep.rerun", "true", "LEGAL"),
        ("train.device", "true", "BAD"),
    ],
)
def test_what_may_be_is_decided_by_type_rule_and_reason(key: str, text: str, expected: str) -> None:
    assert sort_value(key, text).expected.name == expected


ENDS: dict[str, tuple[str, str]] = {
    "import sys; sys.exit('bnsweep: a=1: must be 2')": ("", ""),
    "import sys; sys.exit('must be 2')": ("not one line", "not one line"),
    "import sys; sys.exit('bnsweep: a\\nbnsweep: b')": ("", "not one line"),
    "import sys; print('bnsweep: a', file=sys.stderr); sys.exit(2)": ("exit status 2", "exit status 2"),
    "raise ValueError('a')": ("Traceback", "not one line"),
    "pass": ("", "exit status 0"),
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": ("exit status -9", "exit status -9"),
    "import time; time.sleep(60)": ("had not ended", "exit status None"),
}
"""What a command does -> what is found where it was disturbed, and where it must be refused."""


@pytest.mark.parametrize("code", ENDS)
def test_what_does_not_hold_is_found(code: str, tmp_path: Path) -> None:
    bad = next(one for one in in_turn(0) if one.expected is Expected.BAD and not one.leaves)
    answer = Command(tmp_path, ("-c", code)).answer(limit=3 if "sleep" in code else 60)
    for found, wanted in zip((ended_well(answer, (0, 1)), form(bad, answer)), ENDS[code], strict=True):
        assert wanted in " ".join(found)
        assert bool(found) == bool(wanted)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")
def test_a_process_that_outlives_its_command_is_found_and_ended(tmp_path: Path) -> None:
    child = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    command = Command(tmp_path, ("-c", child), redirect=">/dev/null 2>&1")
    command.answer(30)
    assert len(orphans(command.mark, 0.2)) == 1
    assert orphans(command.mark, 0.2) == []


def test_what_python_says_before_it_reads_ours_is_its_own() -> None:
    own = 'Traceback (most recent call last):\n  File "<frozen site>", line 1, in main\nKeyboardInterrupt\n'
    ours = own.replace("<frozen site>", "/x/bnsweep/__main__.py")
    assert tracebacks(Answer(1, 0.1, "", own)) == []
    assert tracebacks(Answer(1, 0.1, "", ours)) == ["Traceback (most recent call last): KeyboardInterrupt"]
