"""A small sweep, and what must be true of its folder and its store once it is over, whatever happened on the way."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bnsweep.config.run import TrackingConfig
from bnsweep.store.store import Store
from tests.campaign.commands import Answer, Command, listing, not_one_line, orphans, raw_controls, tracebacks

LIMIT = 300.0
"""Seconds that the small sweep may take on a busy machine."""


@dataclass(frozen=True)
class Sweep:
    """The command, and what an undisturbed one leaves."""

    words: tuple[str, ...]
    """What follows `python -m bnsweep`."""
    ranking: bytes = b""
    names: frozenset[str] = frozenset()
    """In its folder."""
    seconds: float = 0.0
    database: Path | None = None
    """An empty one of MLflow's, to copy where its creation is not what is tried."""
    cold_seconds: float = 0.0
    """Where the database had to be made."""

    def start(self, folder: Path, temporary: Path, *words: str, **variables: str | None) -> Command:
        return Command(folder, ("-m", "bnsweep", *self.words, *words), {"TMPDIR": str(temporary), **variables})


def sweep_of(seeds: int, epochs: int, *more: str) -> Sweep:
    """Stacks of four runs, one a seed."""
    grid = ("-m", "activation=sigmoid,relu", "bn=none,before", f"seed=range(0,{seeds})")
    return Sweep((*grid, f"train.epochs={epochs}", "data.subset=120", "sweep.max_stack=4", *more))


def empty_database(home: Path) -> Path:
    """One of MLflow's, made unless it is there: its migrations take seconds."""
    path = home / "empty.db"
    if not path.exists():
        Store.open(TrackingConfig(uri=f"sqlite:///{path}", experiment="of the campaign"))
    return path


def undisturbed(sweep: Sweep, home: Path, cold: bool = True) -> Sweep:
    """The same with what it leaves in a folder with a database and, for `cold`, in an empty one too."""
    home.mkdir()
    database = empty_database(home.parent)
    seconds = {}
    for name in ("warm", "cold")[: 1 + cold]:
        folder, temporary = home / name, home / "tmp"
        folder.mkdir()
        temporary.mkdir(exist_ok=True)
        if name == "warm":
            (folder / "mlflow.db").write_bytes(database.read_bytes())
        answer = sweep.start(folder, temporary).answer(LIMIT)
        assert answer.code == 0, answer
        seconds[name] = answer.seconds
    ranking = (home / "warm/report/ranking.csv").read_bytes()
    assert not cold or ranking == (home / "cold/report/ranking.csv").read_bytes()
    return Sweep(sweep.words, ranking, names_in(home / "warm"), seconds["warm"], database, seconds.get("cold", 0.0))


def names_in(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir())


def again(sweep: Sweep, folder: Path, temporary: Path, *words: str, **variables: str | None) -> list[str]:
    """Faults of the same command, which must finish what is left and clean up."""
    command = sweep.start(folder, temporary, *words, **variables)
    answer = command.answer(LIMIT)
    if answer.code != 0:
        return [f"the same command ended with {answer.code}", *answer.last_lines()]
    faults = [*tracebacks(answer), *raw_controls(answer), *orphans(command.mark, 10)]
    left = list(listing(temporary))
    return faults + ([f"left in TMPDIR: {', '.join(left[:4])}"] if left else [])


def finished(sweep: Sweep, folder: Path, runs: int, uri: str | None = None, experiment: str = "bnsweep") -> list[str]:
    """Faults of what a finished sweep has left; `uri`: a store elsewhere."""
    ranking = folder / "report/ranking.csv"
    if not ranking.is_file():
        return ["there is no ranking.csv"]
    faults = [] if ranking.read_bytes() == sweep.ranking else ["ranking.csv differs from that of an undisturbed sweep"]
    if uri is None:
        names = names_in(folder)
        faults += [f"the folder holds {', '.join(sorted(names ^ sweep.names))}"] if names != sweep.names else []
    store = Store.open(TrackingConfig(uri or f"sqlite:///{folder / 'mlflow.db'}", experiment), create=False)
    found = store.client.search_runs([store.experiment_id], max_results=5000)
    trained = [run for run in found if run.data.tags.get("bnsweep.kind") == "run"]
    counts = Counter(run.data.tags["bnsweep.identity"] for run in trained if run.info.status == "FINISHED")
    doubled = sum(number > 1 for number in counts.values())
    running = sum(run.info.status == "RUNNING" for run in found)
    faults += [f"{len(counts)} runs have a result in place of {runs}"] if len(counts) != runs else []
    faults += [f"{doubled} runs were logged twice"] if doubled else []
    return faults + ([f"{running} runs are still RUNNING"] if running else [])


def left_running(folder: Path) -> list[str]:
    """Faults of a store that a sweep has left, however it ended."""
    path = folder / "mlflow.db"
    if not path.is_file():
        return []
    with closing(sqlite3.connect(path)) as db:
        made = db.execute("select 1 from sqlite_master where name = 'runs'").fetchone()
        kept = "select status from runs where lifecycle_stage = 'active'"
        running = sum(status == "RUNNING" for (status,) in (db.execute(kept) if made else ()))
    return [f"{running} runs are still RUNNING"] if running else []


def ended_well(answer: Answer, codes: Sequence[int]) -> list[str]:
    """Faults of a command that was disturbed: a traceback, or an end in more than a line. `codes`: the exit statuses
    that fit the disturbance; 1 wants its line."""
    faults = [*tracebacks(answer), *raw_controls(answer)]
    if "Traceback" in answer.err and not faults:
        return []  # Python's own, before it has read a line of ours
    if answer.code is None:
        return [*faults, f"it had not ended after {answer.seconds:.0f} s", *answer.last_lines()]
    if answer.code not in codes:
        faults.append(f"exit status {answer.code}, wanted {' or '.join(map(str, codes))}")
    elif answer.code == 1:
        last = Answer(1, answer.seconds, answer.out, "\n".join(answer.error_lines[-1:]))
        faults += not_one_line(last)
    return faults + answer.last_lines() if faults else []
