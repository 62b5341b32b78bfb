"""`python -m tests.benchmarks.scale`: what sweeps of more and more runs cost apart from training, in a real store.

A size is a command, `python -m bnsweep -m …` of 54 cells and as many seeds as it takes, in a fresh folder; then the
same command again, which finds all runs done; then the report alone. Training is simulated (`simulated.py`).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from bnsweep.store.environment import environment
from tests.commands import start

GRID = (
    "activation=sigmoid,relu",
    "init=normal,xavier,he",
    "lr=small,medium,large",
    "bn=none,before,after",
)
CELLS = 54
SIMULATED = "from tests.benchmarks import simulated; simulated.install()"
TICKS = os.sysconf("SC_CLK_TCK")
EVERY = 0.5
"""Seconds between two looks at a command's processes."""


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    p.add_argument("--runs", type=sizes, default=[1000, 10_000], metavar="N,N", help="default: 1000,10000")
    p.add_argument("--trained", action="store_true", help="train for real, with a worker a core")
    p.add_argument("--folder", type=Path, help="where the sweeps' folders stay; by default they are removed")
    return p.parse_args(words)


def sizes(text: str) -> list[int]:
    found = [int(word) for word in text.split(",")]
    if min(found) < CELLS:
        raise argparse.ArgumentTypeError(f"{text!r}: must be {CELLS} runs or more each")
    return found


@dataclass
class Watch:
    """A command's processes while it runs."""

    pid: int
    peak: int = 0
    """Bytes that they held together at most, shared pages counted once."""
    ticks: dict[int, int] = field(default_factory=dict)
    """By process, of its processor time when it was last seen."""

    def look(self) -> None:
        held = 0
        for pid in descendants(self.pid):
            try:
                stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                memory = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            except OSError:  # it has ended
                continue
            self.ticks[pid] = int(stat[11]) + int(stat[12])
            held += 1024 * sum(int(kib) for kib in re.findall(r"^Pss: +(\d+)", memory, re.MULTILINE))
        self.peak = max(self.peak, held)

    @property
    def seconds(self) -> float:
        """Of processor time."""
        return sum(self.ticks.values()) / TICKS


def descendants(pid: int) -> list[int]:
    """This process and all under it."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [one for child in path.read_text(encoding="ascii").split() for one in descendants(int(child))]
        except OSError:
            continue
    return found


@dataclass(frozen=True)
class Cost:
    """Of a command."""

    wall: float
    cpu: float
    peak: int
    said: str


def measure(process: subprocess.Popen[str]) -> Cost:
    """Waits for its end. Raises RuntimeError with its output where it failed."""
    watch, began, over = Watch(process.pid), time.perf_counter(), threading.Event()

    def look() -> None:
        while not over.wait(EVERY):
            watch.look()

    thread = threading.Thread(target=look)
    thread.start()
    said = process.communicate()[0]
    wall = time.perf_counter() - began
    over.set()
    thread.join()
    if process.returncode:
        raise RuntimeError(said)
    return Cost(wall, watch.seconds, watch.peak, said)


def bytes_in(path: Path) -> int:
    """What a file, or all files of a folder, take on the disk."""
    files = [path] if path.is_file() else [Path(root, name) for root, _, names in os.walk(path) for name in names]
    return sum(512 * file.stat().st_blocks for file in files)


@dataclass(frozen=True)
class Size:
    """What a sweep of so many runs cost and left."""

    runs: int
    sweep: Cost
    again: Cost
    report: Cost
    disk: dict[str, int]
    page: int
    """Bytes of report.html."""


def measure_size(runs: int, folder: Path, trained: bool) -> Size:
    seeds = -(-runs // CELLS)
    sweep = ["-m", *GRID, f"seed=range(0,{seeds})"]
    where = {"OMP_NUM_THREADS": ""} if trained else {}
    first, again = (
        measure(start(folder, *sweep, code="" if trained else SIMULATED, environment=where)) for _ in range(2)
    )
    report = measure(start(folder, module="bnsweep.report"))
    disk = {name: bytes_in(folder / name) for name in ("mlflow.db", "mlartifacts", "multirun", "report")}
    return Size(seeds * CELLS, first, again, report, disk, (folder / "report/report.html").stat().st_size)


def markdown(found: list[Size]) -> str:
    """A row a size, with what each further run cost."""
    columns = ["runs", "sweep s", "CPU s", "CPU ms a further run", "peak MiB", "again s", "CPU s", "report s", "CPU s"]
    columns += ["peak MiB", "KB a run: database", "artifacts", "job directories", "report.html MB"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for before, size in zip([None, *found], found, strict=False):
        cost = "—"
        if before is not None:
            cost = f"{1000 * (size.sweep.cpu - before.sweep.cpu) / (size.runs - before.runs):.1f}"
        each = [f"{size.disk[name] / size.runs / 1000:.1f}" for name in ("mlflow.db", "mlartifacts", "multirun")]
        row = [f"{size.runs:,}", f"{size.sweep.wall:.0f}", f"{size.sweep.cpu:.0f}", cost, mib(size.sweep.peak)]
        row += [f"{size.again.wall:.0f}", f"{size.again.cpu:.0f}"]
        row += [f"{size.report.wall:.0f}", f"{size.report.cpu:.0f}", mib(size.report.peak), *each]
        lines.append(f"| {' | '.join([*row, f'{size.page / 1e6:.1f}'])} |")
    return "\n".join(lines)


def mib(count: int) -> str:
    return f"{count / 2**20:,.0f}"


def main() -> None:
    options = arguments()
    print(f"{environment().hardware}; load average {os.getloadavg()[0]:.1f}", flush=True)
    found: list[Size] = []
    with tempfile.TemporaryDirectory() as temporary:
        for runs in options.runs:
            folder = Path(options.folder or temporary, str(runs))
            folder.mkdir(parents=True)
            found.append(measure_size(runs, folder, options.trained))
            print(f"{runs:,} runs: {found[-1].sweep.said.strip().splitlines()[-1]}", flush=True)
    print(f"\n{markdown(found)}")


if __name__ == "__main__":
    main()
