"""Training that takes no time: a stack of each arm is trained, and the arm's other runs have nudged copies of its
records. What a sweep costs apart from training shows so, at numbers of runs that would train for hours."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnsweep.catalogue.tasks import TASKS
from bnsweep.config.identity import numbers
from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import DataKey, Dataset
from bnsweep.records import RunRecord
from bnsweep.runs import place
from bnsweep.runs.executors.base import Evaluated, Executor, StackTrainer, Trained
from bnsweep.runs.executors.local import LocalThread

NOISE = 0.02
"""How much a copy's numbers differ from the original's, as a share of them."""
SCORES = tuple(task.score for task in TASKS.values())


class Simulator(StackTrainer):
    """Trains the first run of each arm, and copies it."""

    def __init__(self, datasets: dict[DataKey, Dataset], device: torch.device) -> None:
        super().__init__(datasets, device, models=None)
        self._known: dict[frozenset[tuple[str, Any]], RunRecord] = {}

    def train(
        self,
        name: int,
        configs: Sequence[RunConfig],
        tell: Callable[[Evaluated], None],
        is_stopped: Callable[[], bool],
    ) -> Trained:
        arms = [frozenset(item for item in numbers(c).items() if item[0] not in ("seed", "data.seed")) for c in configs]
        new = {arm: config for arm, config in zip(arms, configs, strict=True) if arm not in self._known}
        if new:
            records = super().train(name, list(new.values()), tell, is_stopped).records
            self._known |= zip(new, records, strict=True)
        pairs = zip(arms, configs, strict=True)
        return Trained([nudged(self._known[arm], config.seed) for arm, config in pairs], [None] * len(configs), 0.0)


def nudged(record: RunRecord, seed: int) -> RunRecord:
    """A copy as another seed might have left it."""
    random = np.random.default_rng([seed, zlib.crc32(repr(sorted(record.summary.items())).encode())])

    def moved(name: str, values: Sequence[float]) -> list[float]:
        new = np.asarray(values) * (1 + NOISE * random.standard_normal(len(values)))
        return (np.minimum(new, 1) if name.endswith(SCORES) else new).tolist()  # type: ignore[no-any-return]

    kept = ("step", "epoch", "lr")
    history = {name: values if name in kept else moved(name, values) for name, values in record.history.items()}
    summary = {name: v if float(v).is_integer() else moved(name, [v])[0] for name, v in record.summary.items()}
    return replace(record, history=history, summary=summary)


def local_executor(
    workers: int,
    datasets: dict[DataKey, Dataset],
    device: torch.device,
    folder: Path,
    save_models: bool,
    checkpoints: object,
) -> Executor:
    return LocalThread(Simulator(datasets, device))


def install() -> None:
    """Sweeps of this process are simulated from now on."""
    place.local_executor = local_executor
