"""What workers in other places have in common: the same code as here, and what they say of themselves."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bnsweep import __version__
from bnsweep.config.checks import ConfigError
from bnsweep.runs.executors.base import NoWorker, Trained

ATTEMPTS = 3
"""Workers that a stack may lose before it is trained again by halves."""


class WrongWorker(NoWorker, ConfigError):
    """What workers run is not what runs here: no stack can be trained."""


def versions() -> dict[str, str]:
    """Of what makes the numbers of a run; builds of one torch for different devices count as the same."""
    return {"bnsweep": __version__, "torch": str(torch.__version__).partition("+")[0]}


@dataclass(frozen=True)
class Home:
    """What a worker is told of the process that sends it stacks."""

    versions: dict[str, str]
    paths: Sequence[str]
    """Where code of the user's is looked for."""

    @classmethod
    def here(cls) -> Home:
        return cls(versions(), [path or str(Path.cwd()) for path in sys.path])

    def join(self) -> str:
        """The worker finds the user's code where this process does, if it sees the same folders. Gives what is wrong
        with it, or nothing."""
        sys.path += [path for path in self.paths if path not in sys.path]
        return "; ".join(
            f"{name} is {own} there and {self.versions[name]} here"
            for name, own in versions().items()
            if own != self.versions[name]
        )


def at_host(trained: Trained) -> Trained:
    """The records say which machine trained them."""
    for record in trained.records:
        record.host = socket.gethostname()
    return trained


def wrong_worker(where: str, wrong: str) -> WrongWorker:
    return WrongWorker(f"{where}: must have the same versions as this process: {wrong}")
