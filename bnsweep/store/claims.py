"""Who trains what just now: of sweeps that want the same run, one trains it and the others wait for it.

A sweep that is under way has a run of kind `claim` in the experiment. Its tags say what the sweep wants to train, and
that its process lives; it is removed when the sweep ends. Whose turn it is follows Lamport's bakery: a sweep writes its
claim, draws a number above all that it sees, and waits for those with smaller ones and those that have not drawn yet.
This holds on any store, whatever machines the sweeps are on.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bnsweep.config.checks import check
from bnsweep.store.backend import RUNNING, Backend, KeptRun, NewRun
from bnsweep.store.encode import milliseconds

CLAIM = "claim"
"""The kind of its run."""
ALIVE, TURN, WANTED, PLANNED = "bnsweep.alive", "bnsweep.turn", "bnsweep.wanted.", "bnsweep.planned"
OWNER = "bnsweep.claim"
"""By this tag a sweep's own run names its claim."""
CHUNK = 250
"""Identities in one tag: MLflow's tags hold 5000 characters."""
BEAT = 10.0
"""Seconds between two signs of life."""
DEAD = 40.0
"""Seconds without one after which a sweep on another machine counts as ended."""
POLL = 1.0
"""Seconds between two looks at the sweeps ahead, at least."""
LINE = 10.0
"""Seconds between two lines that say what is waited for."""


@dataclass(frozen=True)
class ProcessMark:
    """A process, such that others can see whether it lives."""

    host: str
    place: str
    """Which machine, since it started, and which of its spaces of process numbers; empty where it cannot be told."""
    pid: int
    started: str
    """In the machine's own ticks: a number is used again."""

    @classmethod
    def own(cls) -> ProcessMark:
        pid = os.getpid()
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            place = f"{boot} {Path('/proc/self/ns/pid').readlink()}"
        except OSError:
            place = ""
        return cls(socket.gethostname(), place, pid, start_of(pid))

    @property
    def is_gone(self) -> bool | None:
        """None where only its signs of life can tell. This very process has one sweep at a time: what another left
        here is over."""
        own = ProcessMark.own()
        if not self.place or self.place != own.place:
            return None
        if self == own:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # of another user, whose processes /proc may hide
            if not Path(f"/proc/{self.pid}").exists():
                return None
        return start_of(self.pid) != self.started


def start_of(pid: int) -> str:
    """When a process of this machine started; empty where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


@dataclass(frozen=True)
class Other:
    """Another sweep's claim."""

    run: KeptRun

    @property
    def sweep(self) -> str:
        return self.run.tags["bnsweep.sweep_id"]

    @property
    def process(self) -> ProcessMark:
        return ProcessMark(**json.loads(self.run.tags[ALIVE])["process"])

    @property
    def last_sign(self) -> int:
        """When it last showed that it lives, in milliseconds since 1970."""
        return int(json.loads(self.run.tags[ALIVE]).get("time", 0))

    @property
    def turn(self) -> tuple[int, str]:
        """A claim that has not drawn its number yet comes before all."""
        return int(self.run.tags.get(TURN) or 0), self.run.run_id

    @property
    def wanted(self) -> set[str]:
        """Identities."""
        return {name for key, text in self.run.tags.items() if key.startswith(WANTED) for name in text.split()}

    @property
    def planned(self) -> str:
        """By this the sweep's runs are told from those of another, whatever share of them it wants."""
        return self.run.tags.get(PLANNED) or digest(self.wanted)


@dataclass
class Claim:
    """This sweep's."""

    backend: Backend
    run_id: str
    wanted: set[str]
    planned: str
    turn: int = 0
    seen: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Claim -> its last sign of life, and when it was seen first."""
    hangs: bool = False
    """Whether a write may still come to the store: what it leaves RUNNING can be said when the process has ended."""
    is_over: bool = False
    """Whether it is removed, and nothing of the sweep is RUNNING."""

    def draw(self) -> None:
        """Takes the number after those that others hold."""
        self.turn = 1 + max((other.turn[0] for other in self.others()), default=0)
        self.backend.tag_runs([self.run_id], TURN, str(self.turn))

    def others(self) -> list[Other]:
        """Sweeps under way, this one left out; claims whose sweep has ended without removing them are removed."""
        found, now = [], milliseconds()
        for run in self.backend.runs(CLAIM):
            other = Other(run)
            if run.run_id == self.run_id or ALIVE not in run.tags:
                continue
            if self._is_gone(other):
                with suppress(Exception):  # another sweep may have been quicker
                    conclude(self.backend, other, now)
            else:
                found.append(other)
        return found

    def under_way(self) -> set[str]:
        """Ids of the other sweeps."""
        return {other.sweep for other in self.others()}

    def shards_under_way(self, sweep_id: str) -> int:
        """Other processes that have a share of this sweep."""
        return len({other.process for other in self.others() if other.sweep == sweep_id})

    def ahead(self) -> list[Other]:
        """Sweeps under way that came before this one."""
        return [other for other in self.others() if other.turn < (self.turn, self.run_id)]

    def _is_gone(self, other: Other) -> bool:
        known = other.process.is_gone
        if known is not None:
            return known
        sign = other.run.tags[ALIVE]
        before, since = self.seen.get(other.run.run_id, ("", 0.0))
        if sign != before:
            self.seen[other.run.run_id] = sign, time.monotonic()
            return False
        return time.monotonic() - since > DEAD


@contextmanager
def claimed(
    backend: Backend, raw: Backend, wanted: Collection[str], sweep_id: str, planned: Collection[str] = ()
) -> Iterator[Claim]:
    """Claims runs until the end of the block. `raw`: the same backend, but without patience. `planned`: all runs of the
    sweep, where it wants a share of them."""
    names, whole = sorted(set(wanted)), digest(planned or wanted)
    tags = {"bnsweep.kind": CLAIM, "bnsweep.sweep_id": sweep_id, ALIVE: sign_of_life(0), TURN: "", PLANNED: whole}
    tags |= {f"{WANTED}{i}": " ".join(names[i : i + CHUNK]) for i in range(0, len(names), CHUNK)}
    now = milliseconds()
    (run_id,) = backend.create([NewRun(f"sweep {sweep_id}, under way", "KILLED", now, now, tags)])
    ended = threading.Event()
    beats = threading.Thread(target=beat, args=(raw, run_id, ended), daemon=True)
    beats.start()
    claim = Claim(backend, run_id, set(names), whole)
    try:
        claim.draw()
        yield claim
    finally:
        ended.set()
        claim.is_over = not claim.hangs and concluded_soon(raw, run_id)


def digest(identities: Collection[str]) -> str:
    return hashlib.sha256(" ".join(sorted(set(identities))).encode()).hexdigest()[:16]


def sign_of_life(count: int) -> str:
    return json.dumps({"process": vars(ProcessMark.own()), "beat": count, "time": milliseconds()})


def beat(backend: Backend, run_id: str, ended: threading.Event) -> None:
    """Signs of life, for sweeps on other machines; those on this one look at the process."""
    count = 0
    while not ended.wait(BEAT):
        count += 1
        with suppress(Exception):  # a store that is away gets the next one
            backend.tag_runs([run_id], ALIVE, sign_of_life(count))


def concluded_soon(backend: Backend, run_id: str) -> bool:
    """Whether the store takes the end of a claim at once; the end of this process ends the claim anyway."""
    done = threading.Event()

    def work() -> None:
        with suppress(Exception):
            conclude_claim(backend, run_id, milliseconds())
            done.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(5)
    return done.is_set()


def conclude_claim(backend: Backend, run_id: str, ended: int) -> None:
    """The end of the sweep of that claim, unless somebody was quicker."""
    for run in backend.runs(CLAIM):
        if run.run_id == run_id:
            conclude(backend, Other(run), ended)


def conclude(backend: Backend, claim: Other, ended: int) -> None:
    """The end of a sweep, then: what it has left RUNNING is KILLED, and its claim removed."""
    runs = backend.runs("run", RUNNING, tag=("bnsweep.sweep_id", "=", claim.sweep))
    runs = [run for run in runs if run.tags.get("bnsweep.identity") in claim.wanted]
    runs += backend.runs("sweep", RUNNING, tag=(OWNER, "=", claim.run.run_id))
    # What began later is of the next command over these runs.
    if left := [run.run_id for run in runs if run.start <= ended]:
        backend.kill(left)
    backend.remove(claim.run.run_id)


def living(backend: Backend) -> set[str]:
    """Ids of the sweeps under way, as far as one look can tell."""
    return {other.sweep for run in backend.runs(CLAIM) if ALIVE in run.tags for other in [Other(run)] if lives(other)}


def lives(other: Other) -> bool:
    if other.process == ProcessMark.own():
        return True
    known = other.process.is_gone
    return milliseconds() - other.last_sign < 1000 * DEAD if known is None else not known


def wait_alone(claim: Claim) -> None:
    """Returns once nobody who claimed any of the same is ahead."""
    while any(other.wanted & claim.wanted for other in claim.ahead()):
        time.sleep(POLL)


def check_same_sweep(claim: Claim, sweep_id: str) -> None:
    """Refuses (ConfigError) the id of a sweep under way that trains other runs."""
    for other in claim.ahead():
        if other.sweep == sweep_id:
            says = f"another: a sweep of this id is under way with other runs ({where(other)})"
            check(other.planned == claim.planned, "sweep.id", sweep_id, says)


def wait_for_turn(claim: Claim, left: Callable[[], set[str]]) -> None:
    """Returns once no sweep ahead is still to train anything that is `left` to train here."""
    began, told = time.monotonic(), 0.0
    while True:
        asked = time.monotonic()
        ahead = claim.ahead()
        rest = left() if any(other.wanted & claim.wanted for other in ahead) else set()
        blocking = [other for other in ahead if other.wanted & rest]
        if not blocking:
            return
        if time.monotonic() - told > LINE:
            told = time.monotonic()
            shared = set.union(*(other.wanted & rest for other in blocking))
            names = ", ".join(f"{other.sweep} ({where(other)})" for other in blocking)
            gone = f" since {told - began:.0f} s" if told - began > 1 else ""
            print(f"waiting{gone} for sweep {names}: it trains {len(shared)} of the {len(rest)} runs left", flush=True)
        time.sleep(max(POLL, 3 * (time.monotonic() - asked)))


def where(other: Other) -> str:
    return f"process {other.process.pid} on {other.process.host}"
