"""Bad inputs: every setting and every group with every odd value, the other commands, variables, a user's files."""

from __future__ import annotations

import shutil
from collections import Counter
from functools import cache
from pathlib import Path
from random import Random
from threading import Lock

from tests.campaign.case import Case, Kind
from tests.campaign.commands import Answer, Command, changes, listing, not_one_line, orphans, raw_controls, tracebacks
from tests.campaign.families import FAMILIES, Input
from tests.campaign.sweeps import empty_database
from tests.campaign.values import Expected

LIMIT = 60.0
"""Seconds after which an answer no longer counts as one."""


class Inputs(Kind):
    name = "inputs"
    count = 420

    def __init__(self, seed: int, home: Path) -> None:
        super().__init__(seed, home)
        self._lock = Lock()
        self._tried: Counter[Expected] = Counter()
        self._broken: Counter[str] = Counter()
        self._slowest = dict.fromkeys(Expected, (0.0, ""))

    def prepare(self) -> None:
        self.database = empty_database(self.home)

    def case(self, number: int) -> Case:
        drawn = in_turn(self.seed)[number % len(in_turn(self.seed))]
        return Case(f"{drawn.label} ({drawn.expected.value}: {drawn.reason})", lambda folder: self.judge(drawn, folder))

    def judge(self, drawn: Input, home: Path) -> list[str]:
        """Runs it in `home`/here, with a TMPDIR of its own."""
        folder, temporary = home / "here", home / "tmp"
        folder.mkdir()
        temporary.mkdir()
        if drawn.with_store:
            shutil.copyfile(self.database, folder / "mlflow.db")
        drawn.lay_out(folder)
        before = listing(folder)
        command = Command(folder, drawn.arguments, {"TMPDIR": str(temporary), **drawn.variables}, drawn.redirect)
        answer = command.answer(LIMIT)
        faults = {
            "traceback": tracebacks(answer),
            "no answer": [f"no answer within {LIMIT:.0f} s"] if answer.code is None else [],
            "raw character": raw_controls(answer),
            "form": form(drawn, answer),
            "process left": orphans(command.mark, 10),
            "left in TMPDIR": changes(named_logs(temporary, answer), listing(temporary), "TMPDIR"),
        }
        if drawn.leaves:
            faults["missing"] = [f"{name} is missing" for name in drawn.leaves if not (folder / name).is_file()]
        elif answer.code != 0:
            faults["left behind"] = changes(before, listing(folder), "folder")
        self._note(drawn, answer, faults)
        found = [fault for some in faults.values() for fault in some]
        return [*found, *answer.last_lines()] if found else []

    def _note(self, drawn: Input, answer: Answer, faults: dict[str, list[str]]) -> None:
        with self._lock:
            self._tried[drawn.expected] += 1
            if drawn.expected == Expected.BAD:
                self._broken["exit 0"] += answer.code == 0
                for name, some in faults.items():
                    self._broken[name] += bool(some)
            self._slowest[drawn.expected] = max(self._slowest[drawn.expected], (answer.seconds, drawn.label))

    def remarks(self) -> list[str]:
        broken = ", ".join(f"{self._broken[name]} {name}" for name in ("traceback", "exit 0", "left behind", "form"))
        seconds, label = self._slowest[Expected.BAD]
        others = ", ".join(f"{self._tried[kind]} {kind.value}" for kind in (Expected.LEGAL, Expected.OPEN))
        return [
            f"{self._tried[Expected.BAD]} bad inputs: {broken}; slowest answer {seconds:.1f} s ({label[:100]})",
            f"beside them {others}",
        ]


def named_logs(temporary: Path, answer: Answer) -> dict[str, str]:
    """Logs that keep a traceback where the line says that they do."""
    return {name: kept for name, kept in listing(temporary).items() if str(temporary / name) in answer.err}


def form(drawn: Input, answer: Answer) -> list[str]:
    """What is wrong with the exit status and what goes with it."""
    if drawn.expected == Expected.BAD and answer.code == 0:
        return ["exit status 0"]
    if drawn.expected == Expected.LEGAL and answer.code != 0:
        return [f"exit status {answer.code} in place of 0"]
    if drawn.leaves:
        return [] if answer.code in (0, 1) else [f"exit status {answer.code}"]
    missing = [f"the output does not say {text!r}" for text in drawn.says if text not in answer.out + answer.err]
    return missing if answer.code == 0 else not_one_line(answer)


@cache
def members_of(family: str) -> tuple[Input, ...]:
    return tuple(FAMILIES[family]())


@cache
def in_turn(seed: int) -> list[Input]:
    """All inputs there are, shuffled by the seed within their families, and the families by turns according to how
    many each holds: any first part has some of each."""
    rows = []
    for name in FAMILIES:
        members = list(members_of(name))
        Random(f"{seed} {name}").shuffle(members)
        rows += [((place + 0.5) / len(members) ** 0.5, name, member) for place, member in enumerate(members)]
    return [member for _, _, member in sorted(rows, key=lambda row: row[:2])]
