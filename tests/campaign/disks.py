"""Disks that fill up while a sweep runs: a small tmpfs in the place of one of its folders, then one with room."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from tests.campaign.case import Case, Kind
from tests.campaign.commands import orphans
from tests.campaign.sweeps import LIMIT, Sweep, again, ended_well, finished, sweep_of, undisturbed

PLACES = {
    ".": "everything",
    "mlartifacts": "the artifacts",
    "multirun": "the job directories",
    "report": "the report",
    "TMPDIR": "TMPDIR",
}
ROOM = "256m"
PAGE = 4


def mount(folder: Path, size: str, *options: str) -> str:
    """Why it is not mounted; empty if it is."""
    line = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(folder)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


@dataclass(frozen=True)
class Disk:
    place: str
    """Of PLACES."""
    kilobytes: int
    cold: bool
    """Whether the database must be made first."""
    workers: int
    save_models: bool

    @property
    def label(self) -> str:
        models = ", models saved" if self.save_models else ""
        where = "an empty folder" if self.cold else "a folder with a database"
        return f"{self.kilobytes} kB for {PLACES[self.place]} in {where}, {self.workers} threads{models}"


class Disks(Kind):
    name = "disks"
    count = 30

    def __init__(self, seed: int, home: Path, seeds: int = 4, epochs: int = 40) -> None:
        super().__init__(seed, home)
        self.runs = 4 * seeds
        self.sweep = sweep_of(seeds, epochs)
        self._needs: dict[str, int] = {}

    def missing(self) -> str:
        with tempfile.TemporaryDirectory(prefix="bnc-") as folder:
            if why := mount(Path(folder), "64k"):
                return f"no tmpfs can be mounted here ({why})"
            unmount(Path(folder))
        return ""

    def prepare(self) -> None:
        self.sweep = undisturbed(self.sweep, self.home / self.name)
        left = self.home / self.name / "cold"
        self._needs = {place: kilobytes(left / place) for place in PLACES if place != "TMPDIR"} | {"TMPDIR": 1024}

    def case(self, number: int) -> Case:
        place = list(PLACES)[number % len(PLACES)]
        disk = drawn(place, self._needs[place], self.draw(number))
        return Case(disk.label, lambda folder: fill(self.sweep, self.runs, disk, folder))


def drawn(place: str, need: int, random: Random) -> Disk:
    """From nothing to a bit more than is needed, as often little as much."""
    size = int(PAGE * (1.1 * need / PAGE) ** random.random())
    saves = place == "TMPDIR" or random.random() < 0.2
    return Disk(place, size, random.random() < 0.5, random.choice((1, 2)), saves)


def kilobytes(folder: Path) -> int:
    """That the files of a folder take, in pages."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(-(-size // 1024 // PAGE) * PAGE for size in sizes)


def fill(sweep: Sweep, runs: int, disk: Disk, home: Path) -> list[str]:
    """Faults of a sweep whose disk has that size, and of the same command once there is room."""
    folder, temporary = home / "here", home / "tmp"
    folder.mkdir()
    temporary.mkdir()
    mounted = temporary if disk.place == "TMPDIR" else folder / disk.place
    mounted.mkdir(exist_ok=True)
    if why := mount(mounted, f"{disk.kilobytes}k", "nr_inodes=0"):
        return [f"the campaign could not mount a tmpfs: {why}"]
    try:
        if not disk.cold and not (disk.place == "." and disk.kilobytes < 600):
            assert sweep.database is not None
            shutil.copyfile(sweep.database, folder / "mlflow.db")
        more = ["sweep.save_models=true"] if disk.save_models else []
        threads = {"OMP_NUM_THREADS": str(disk.workers)}
        command = sweep.start(folder, temporary, *more, **threads)
        answer = command.answer(LIMIT)
        faults = ended_well(answer, (0, 1)) + orphans(command.mark)
        mount(mounted, ROOM, "remount")
        faults += again(sweep, folder, temporary, *more, **threads)
        return faults or finished(replace(sweep, names=sweep.names | {disk.place} - {".", "TMPDIR"}), folder, runs)
    finally:
        unmount(mounted)
