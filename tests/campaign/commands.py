"""The project's commands as a user starts them: real processes, what they print, and what they leave behind."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

REPO = Path(__file__).parents[2]
MARK = "BNSWEEP_CAMPAIGN"
"""Environment variable that every process of one command has inherited: what finds those that outlive it."""
UNWANTED = ("MLFLOW_", "HYDRA_", "OMP_", "MPL", "LC_", "PYTHONIOENCODING", "PYTHONUTF8")
"""Variables of whoever runs the campaign that would change what is tried."""


@dataclass
class Answer:
    """What a command left on the terminal."""

    code: int | None
    """Exit status, negative for the signal that ended it; None if it had to be killed when its time was up."""
    seconds: float
    out: str
    err: str
    silence: float = 0.0
    """Longest time without a line, in seconds."""

    def last_lines(self, count: int = 3) -> list[str]:
        return [line.strip()[:200] for line in (*self.out.splitlines()[-1:], *self.err.splitlines()[-count:])]

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.strip()]


@dataclass
class Command:
    """One command under way, in a process group of its own."""

    folder: Path
    arguments: Sequence[str | bytes]
    """Of python: `-m bnsweep …`."""
    variables: Mapping[str, str | None] = field(default_factory=dict)
    """None takes one away."""
    redirect: str = ""
    """What a shell would do with the command's output, such as `>/dev/full`."""

    def __post_init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self._began = time.monotonic()
        self._lines: dict[str, list[str]] = {"out": [], "err": []}
        self._told = [self._began]
        line: list[str | bytes] = [sys.executable, *self.arguments]
        if self.redirect:
            line = ["sh", "-c", f'"$@" {self.redirect}', "sh", *line]
        self.process = subprocess.Popen(
            line,
            cwd=self.folder,
            env=environment(self.variables, self.mark),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout and self.process.stderr
        pipes = (("out", self.process.stdout), ("err", self.process.stderr))
        self._readers = [threading.Thread(target=self._read, args=pipe, daemon=True) for pipe in pipes]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self._lines[name].append(line.decode("utf-8", "backslashreplace"))
                self._told.append(time.monotonic())

    def has_ended(self, within: float = 0.0) -> bool:
        """Waits that many seconds at most."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(within)
        return self.process.poll() is not None

    def says(self, text: str) -> bool:
        """Whether it has printed that, so far."""
        return any(text in line for lines in self._lines.values() for line in lines)

    def send(self, number: signal.Signals, to: str = "parent") -> None:
        """To the `parent` or to its whole process `group`; nothing if that is over."""
        with suppress(ProcessLookupError):
            (os.killpg if to == "group" else os.kill)(self.process.pid, number)

    def answer(self, limit: float) -> Answer:
        """Waits for the end; what is still there after `limit` seconds is killed."""
        in_time = self.has_ended(limit)
        if not in_time:
            end(self.mark)
        code = self.process.wait()
        seconds = time.monotonic() - self._began
        for reader in self._readers:
            reader.join(5)
        told = sorted([*self._told, time.monotonic()])
        silence = max(after - before for before, after in zip(told, told[1:], strict=False))
        out, err = ("".join(self._lines[name]) for name in ("out", "err"))
        return Answer(code if in_time else None, seconds, out, err, silence)


def environment(variables: Mapping[str, str | None], mark: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(UNWANTED)}
    path = os.pathsep.join(filter(None, (str(REPO), os.environ.get("PYTHONPATH"))))
    given = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", MARK: mark, **variables}
    return {name: value for name, value in (kept | given).items() if value is not None}


def run(folder: Path, *arguments: str | bytes, limit: float = 300.0, **variables: str | None) -> Answer:
    """`python -m …` from start to end."""
    return Command(folder, ("-m", *arguments), variables).answer(limit)


def alive(mark: str) -> list[int]:
    """Ids of the processes of one command that are still there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def parent_of(pid: int) -> int:
    """0 for a process that is over."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def end(mark: str) -> None:
    """Kills what is left of one command."""
    for pid in alive(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def orphans(mark: str, within: float = 20.0) -> list[str]:
    """Processes of a command that outlive it by that many seconds; they are killed."""
    deadline = time.monotonic() + within
    while (pids := alive(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    end(mark)
    return [f"process {pid} outlived its command by {within:.0f} s" for pid in pids]


TRACEBACK = re.compile(
    r"Traceback \(most recent call last\)|Fatal Python error|Exception ignored in|Segmentation fault"
)
OURS = re.compile(r"bnsweep|site-packages|multiprocessing|threading")


def tracebacks(answer: Answer) -> list[str]:
    """What a user must never see. A Ctrl-C that comes before Python has read a line of ours is Python's own affair."""
    faults = []
    for text in (answer.out, answer.err):
        last = (text.strip().splitlines() or [""])[-1]
        places = re.findall(r'^ *File "[^"]*"', text, re.MULTILINE)
        early = last == "KeyboardInterrupt" and places and not any(OURS.search(place) for place in places)
        if (found := TRACEBACK.search(text)) and not early:
            faults.append(f"{found[0]}: {last[:300]}")
    return faults


UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def raw_controls(answer: Answer) -> list[str]:
    """Characters that would act on the terminal in place of being seen there."""
    found = UNPRINTABLE.search(answer.out) or UNPRINTABLE.search(answer.err)
    return [f"a raw {found[0]!r} on the terminal"] if found else []


REFUSAL = re.compile(r"bnsweep(\.report|\.experiments)?: \S")


def not_one_line(answer: Answer) -> list[str]:
    """Of a command that refuses: exit status 1 and one line on stderr."""
    lines = answer.error_lines
    faults = [] if answer.code == 1 else [f"exit status {answer.code} in place of 1"]
    if len(lines) != 1 or not REFUSAL.match(lines[0]):
        faults.append(f"not one line `bnsweep: …` on stderr but {len(lines)}: {' | '.join(lines[:2])[:150]}")
    elif len(lines[0]) > 1500:
        faults.append(f"its line has {len(lines[0])} characters")
    return faults


def listing(folder: Path) -> dict[str, str]:
    """Everything below a folder, with what tells whether it changed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = "file" if path.is_file() else "folder"
        kept = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        found[os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")] = f"{kind} {kept}"
    return found


def changes(before: Mapping[str, str], after: Mapping[str, str], said: str) -> list[str]:
    """One line a kind of difference between two listings, as `said` (a command that must change nothing)."""
    new = [path for path in after if path not in before]
    gone = [path for path in before if path not in after]
    other = [path for path in after if path in before and after[path] != before[path]]
    names = (("left behind", new), ("removed", gone), ("changed", other))
    return [f"{said}: {what} {', '.join(paths[:5])}" for what, paths in names if paths]
