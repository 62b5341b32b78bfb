"""Trained runs that no store has taken yet, on disk: one folder a run, in the folder where a sweep was started."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bnsweep.records import DatasetInfo
from bnsweep.store.backend import NewRun
from bnsweep.store.encode import copy_into

FOLDER = "kept-runs"


@dataclass(frozen=True)
class KeptRuns:
    """Those that are meant for one experiment of one store."""

    folder: Path
    uri: str
    """As it may be shown."""
    experiment: str

    def add(self, run: NewRun) -> Path:
        """The run's folder, which appears whole or not at all; raises OSError."""
        target = self.folder / f"{run.tags['bnsweep.identity']}-{run.start}"
        if target.exists():
            return target
        part = self.folder / f".{target.name}"
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir(parents=True)
            for file in run.files:
                copy_into(part, file)
            plain = asdict(replace(run, files=())) | {"files": [file.name for file in run.files]}
            text = json.dumps({"uri": self.uri, "experiment": self.experiment, "run": plain}, allow_nan=False)
            (part / "run.json").write_text(text, encoding="utf-8")
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            self._remove_if_empty()
            raise
        return target

    def __iter__(self) -> Iterator[tuple[Path, NewRun]]:
        """Each run and its folder. One that cannot be read is said and left as it is."""
        for file in sorted(self.folder.glob("[!.]*/run.json")):
            try:
                tree = json.loads(file.read_text(encoding="utf-8"))
                if (tree["uri"], tree["experiment"]) == (self.uri, self.experiment):
                    yield file.parent, run_of(tree["run"], file.parent)
            except (OSError, ValueError, KeyError, TypeError) as error:
                print(f"{file}: must be a kept run; left as it is ({type(error).__name__}: {error})")

    def remove(self, run: Path) -> None:
        """Once the store has it."""
        shutil.rmtree(run, ignore_errors=True)
        self._remove_if_empty()

    def remove_halves(self, identities: Collection[str]) -> None:
        """What a process that was killed as it wrote one of these runs left."""
        for part in self.folder.glob(".*-*"):
            if part.name[1:].partition("-")[0] in identities:
                self.remove(part)

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            self.folder.rmdir()


def run_of(tree: dict[str, Any], folder: Path) -> NewRun:
    """What `asdict` gave, as it was."""
    dataset = None if tree["dataset"] is None else DatasetInfo(**tree["dataset"])
    metrics = [(name, value, step) for name, value, step in tree["metrics"]]
    return NewRun(**tree | {"dataset": dataset, "metrics": metrics, "files": [folder / name for name in tree["files"]]})
