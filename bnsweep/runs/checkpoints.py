"""States of stacks in flight, on disk: a file a stack, in the folder where a sweep was started.

Whatever ends a sweep, the same command goes on inside its stacks, with the bits that they would have had.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

import bnsweep
from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig
from bnsweep.config.sweep import SweepConfig
from bnsweep.training.device import describe_device
from bnsweep.training.record import Evaluation
from bnsweep.training.state import State

FOLDER = "checkpoints"
KEY = "bnsweep"
"""Of what a file says about itself."""
SAID = {"identities", "fingerprint", "written", "step"}
"""Of it, what tells whether and by whom the file can be used."""
SPARE = 150
"""Times as long as one took to write there is none: they take less than 1 % of the time, also where one takes longer
than the one before."""


@dataclass(frozen=True)
class Begun:
    """What a file holds."""

    file: Path
    identities: tuple[str, ...]
    """Of its runs, in order."""
    step: int
    written: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Checkpoints:
    """Those that this code can go on from on this device. Others are neither read nor touched."""

    folder: Path
    device: torch.device
    seconds: float
    """Between two of a stack, at least."""
    since: float = 0.0
    """Those that were written before count for nothing: seconds since 1970."""
    elsewhere: bool = False
    """Whether workers elsewhere write them, on machines of which nothing is known here: all count then, and a worker
    uses those that it can go on from."""
    stops: str = ""
    """What stops members, by which a stack's state is another."""

    def at(self, device: torch.device) -> Checkpoints:
        """As a worker that trains on this device has them."""
        return replace(self, device=device, elsewhere=False)

    def __iter__(self) -> Iterator[Begun]:
        """The furthest first."""
        found = (begun for begun in self._own() if begun.written >= self.since)
        return iter(sorted(found, key=lambda begun: (-begun.step, begun.file)))

    def _own(self) -> Iterator[Begun]:
        of = "" if self.elsewhere else fingerprint(self.device, self.stops)
        for file, tree in self._trees():
            if self.elsewhere or tree["fingerprint"] == of:
                yield Begun(file, tuple(tree["identities"]), tree["step"], tree["written"])

    def _trees(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """What each file says about itself. One that is no checkpoint is passed over."""
        from safetensors import SafetensorError, safe_open

        for file in sorted(self.folder.glob("[!.]*.safetensors")):
            with suppress(OSError, SafetensorError, ValueError, KeyError, TypeError):
                with safe_open(file, "pt") as opened:
                    tree = json.loads(opened.metadata()[KEY])
                if SAID <= tree.keys():
                    yield file, tree

    def strange(self, wanted: Collection[str]) -> int:
        """How many of these runs have a checkpoint of other code or of another device."""
        if self.elsewhere:
            return 0
        of = fingerprint(self.device, self.stops)
        return len({name for _, t in self._trees() if t["fingerprint"] != of for name in t["identities"]} & {*wanted})

    def states(self, configs: Sequence[RunConfig]) -> list[State]:
        """To go on from with these runs as one stack: states of one step, which hold them one after the other in their
        order. Empty where no step has one of each."""
        from safetensors import SafetensorError

        names = [identity(config) for config in configs]
        at: dict[int, dict[str, Begun]] = {}
        for begun in self:
            for name in begun.identities:
                at.setdefault(begun.step, {}).setdefault(name, begun)
        whole = next((found for found in at.values() if found.keys() >= {*names}), None)
        if whole is None:
            return []
        try:
            files = {file: read_state(file) for file in {whole[name].file for name in names}}
        except (OSError, SafetensorError):  # another process has removed it
            return []
        parts = groupby(names, key=lambda name: whole[name])
        return [files[begun.file].of([*map(begun.identities.index, part)]) for begun, part in parts]

    def write(self, state: State, names: Sequence[str]) -> None:
        """Of the runs of these identities, beside the one before, which it then replaces. Raises OSError."""
        from safetensors import SafetensorError

        of = fingerprint(self.device, self.stops)
        name = f"{names[0]}-{digest(' '.join([*names, of]))[:8]}.safetensors"
        tree = {"identities": names, "fingerprint": of, "written": time.time()}
        part = self.folder / f".{name}-{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_state(state, part, tree)
            part.rename(self.folder / name)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                part.unlink()  # what was written of it takes the room of the next
            self._remove_if_empty()
            raise OSError(str(error)) from error

    def remove(self, done: Collection[str]) -> None:
        """The files whose runs are all done, and what a process left that was killed as it wrote one of theirs."""
        if not self.folder.exists():
            return
        for begun in self._own():
            if {*begun.identities} <= {*done}:
                begun.file.unlink(missing_ok=True)
        for part in self.folder.glob(".*.safetensors-*"):
            if part.name[1:].partition("-")[0] in done:
                part.unlink(missing_ok=True)
        self._remove_if_empty()

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            self.folder.rmdir()


def steps_of(checkpoints: Iterable[Begun]) -> dict[str, int]:
    """By identity, the step from which a run can go on."""
    found: dict[str, int] = {}
    for begun in checkpoints:
        found |= {name: max(begun.step, found.get(name, 0)) for name in begun.identities}
    return found


def begun_stacks(
    by_shape: dict[tuple[object, ...], list[int]],
    identities: Sequence[str],
    checkpoints: Iterable[Begun],
    most: int | None,
) -> list[list[int]]:
    """Stacks that go on from checkpoints, the furthest first: the runs that are left of those that one holds, in its
    order; of `most` runs at the most. They are taken out of `by_shape`."""
    job_of = {identities[job]: job for jobs in by_shape.values() for job in jobs}
    found = []
    for begun in checkpoints:
        jobs = [job_of.pop(name) for name in begun.identities if name in job_of]
        size = most or max(1, len(jobs))
        found += [jobs[first : first + size] for first in range(0, len(jobs), size)]
    for key, jobs in [*by_shape.items()]:
        by_shape[key] = [job for job in jobs if identities[job] in job_of]
        if not by_shape[key]:
            del by_shape[key]
    return found


@dataclass
class Keeper:
    """Writes the checkpoints of one stack: when one is due, and when its training is stopped."""

    checkpoints: Checkpoints
    configs: Sequence[RunConfig]
    why: str = ""
    """Why one could not be written."""
    _due: float = field(init=False)

    def __post_init__(self) -> None:
        self._names = [identity(config) for config in self.configs]
        self._due = time.monotonic() + self.checkpoints.seconds

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def write(self, take: Callable[[], State], places: Sequence[int] | None = None) -> bool:
        """`take` gives the state, of all runs or of those at some places. A disk that has no room costs no run; whether
        it had."""
        started, names = time.monotonic(), self._names
        self.why = ""
        try:
            self.checkpoints.write(take(), names if places is None else [names[place] for place in places])
        except OSError as error:
            self.why = str(error)
        ended = time.monotonic()
        self._due = ended + max(self.checkpoints.seconds, SPARE * (ended - started))
        return not self.why


def checkpoints_of(sweep: SweepConfig, device: torch.device, elsewhere: bool = False) -> Checkpoints | None:
    """Those of stacks in flight, where the command was started. One that trains all runs again begins anew."""
    if sweep.checkpoint_seconds is None:
        return None
    since, stops = time.time() if sweep.rerun else 0.0, f"{sweep.patience}" if sweep.strategy == "plateau" else ""
    return Checkpoints(Path(FOLDER).absolute(), device, sweep.checkpoint_seconds, since, elsewhere, stops)


def tidy(checkpoints: Checkpoints, over: Collection[str], wanted: Collection[str]) -> None:
    """Remove the checkpoints of runs that are over, and say how many others are of no use."""
    checkpoints.remove(over)
    strange = checkpoints.strange({*wanted} - {*over})
    if strange:
        says = "were made by other code or on another device: they are left as they are, and the runs begin anew"
        print(f"checkpoints of {strange} runs in {checkpoints.folder} {says}", flush=True)


def write_state(state: State, file: Path, tree: dict[str, Any]) -> None:
    """`tree`: what the file says about itself besides. Raises OSError and SafetensorError."""
    from safetensors.torch import save_file

    names = [*dict.fromkeys(name for e in state.evaluations for name in e.values)]
    nothing = [float("nan")] * len(state)
    table = [[e.values.get(name, nothing) for name in names] for e in state.evaluations]
    tensors = {f"state.{name}": tensor for name, tensor in state.tensors.items()}
    tensors["evaluations.values"] = torch.tensor(table, dtype=torch.float64)
    tensors["evaluations.diverged"] = torch.tensor([e.diverged for e in state.evaluations])
    for i, e in enumerate(state.evaluations):
        tensors |= {f"counts.{i}.{n}": torch.tensor(layer) for n, layer in enumerate(e.counts)}
    says = {
        "step": state.step,
        "seconds": state.seconds,
        "names": names,
        "steps": [e.step for e in state.evaluations],
        "epochs": [e.epoch for e in state.evaluations],
        "layers": [len(e.counts) for e in state.evaluations],
    }
    save_file(tensors, file, {KEY: json.dumps(tree | says)})


def read_state(file: Path) -> State:
    """As it was written, bit for bit. Raises OSError and SafetensorError."""
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        tree = json.loads(opened.metadata()[KEY])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no dict
    values, diverged = tensors["evaluations.values"].tolist(), tensors["evaluations.diverged"].tolist()
    moments = zip(tree["epochs"], tree["steps"], values, diverged, tree["layers"], strict=True)
    evaluations = [
        Evaluation(epoch, step, dict(zip(tree["names"], rows, strict=True)), lost, counts)
        for i, (epoch, step, rows, lost, layers) in enumerate(moments)
        for counts in [[tensors[f"counts.{i}.{n}"].tolist() for n in range(layers)]]
    ]
    kept = {name.partition(".")[2]: t for name, t in tensors.items() if name.startswith("state.")}
    return State(tree["step"], kept, evaluations, tree["seconds"])


@cache
def fingerprint(device: torch.device, stops: str = "") -> str:
    """16 hex digits of what must agree, besides a run's identity, for the same bits: this package's code, torch, and
    what computes."""
    package = Path(bnsweep.__file__).parent
    code = {str(file.relative_to(package)): file.read_text(encoding="utf-8") for file in package.rglob("*.py")}
    machine = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else ""
    return digest(json.dumps([sorted(code.items()), torch.__version__, describe_device(device), machine, stops]))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
