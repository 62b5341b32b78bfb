"""Trained runs on their way into the store, by a thread of its own: training goes on while the store does not answer.

As soon as the store is seen to be away, what is not logged yet is kept on disk, too, so that whatever ends the process
costs no trained run: the same command logs it.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bnsweep.config.checks import ConfigError, printable
from bnsweep.config.run import RunConfig
from bnsweep.records import RunRecord
from bnsweep.runs.executors.base import Trained
from bnsweep.runs.under_way import UnderWay
from bnsweep.store.address import reason_of
from bnsweep.store.encode import milliseconds, new_run
from bnsweep.store.store import Opened, Store

log = logging.getLogger(__name__)

MOST = 1000
"""Runs that may wait while the store answers; training then waits for it, rather than fill the memory."""

OnLogged = Callable[[Sequence[int], Sequence[RunRecord], Sequence[str]], None]
"""Told of the jobs, records and run ids of what has been logged, in the outbox's thread."""


@dataclass
class Batch:
    """What is logged at once."""

    jobs: Sequence[int]
    runs: list[tuple[RunConfig, RunRecord, Path | None]]
    ended: int
    """Milliseconds since 1970."""
    opened: Sequence[Opened | None]
    """What the store has of each."""
    kept: list[Path] = field(default_factory=list)
    """Where they lie on disk."""


class Outbox:
    """Logs runs in the order they come."""

    def __init__(self, store: Store, sweep_id: str, on_logged: OnLogged, watched: Callable[[], None]) -> None:
        """`watched`: called before a run is in the store that is not over."""
        self.store, self.sweep_id, self.on_logged = store, sweep_id, on_logged
        self.under_way = UnderWay(store, sweep_id, lambda: self.left > 0, watched)
        self._seconds = 0.0
        self.error: Exception | None = None
        """What ended it."""
        self._waiting = deque[Batch]()
        self._closing = False
        self._changed = threading.Condition()
        self._exports = True
        self._thread = threading.Thread(target=self._work, daemon=True)
        store.patience.say_kept = lambda: f"{text}, " if (text := self.keep()) else ""
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Spent logging."""
        return self._seconds + self.under_way.seconds

    @property
    def left(self) -> int:
        """Runs not logged yet."""
        return sum(len(batch.jobs) for batch in tuple(self._waiting))

    def put(self, jobs: Sequence[int], configs: Sequence[RunConfig], trained: Trained) -> None:
        """Returns before they are logged."""
        runs, ended = list(zip(configs, trained.records, trained.models, strict=True)), milliseconds()
        opened, step = self.under_way.release(jobs), self.store.batch
        parts = [slice(i, i + step) for i in range(0, len(jobs), step)]
        with self._changed:
            self._waiting += [Batch(jobs[part], runs[part], ended, opened[part]) for part in parts]
            self._changed.notify()

    def check(self) -> None:
        """Raises what ended the logging."""
        if self.error is not None:
            raise self.error

    @property
    def is_full(self) -> bool:
        """Whether training had better wait."""
        return self.left > MOST and not self.store.patience.is_away and self.error is None

    def _work(self) -> None:
        try:
            while batch := self._next():
                started = time.perf_counter()
                run_ids = self._log(batch)
                self.on_logged(batch.jobs, [record for _, record, _ in batch.runs], run_ids)
                self._seconds += time.perf_counter() - started
                self._finish(batch)
        except Exception as error:
            self.error = error

    def _next(self) -> Batch | None:
        """The one to log now; None once there is to be no more."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return self._waiting[0] if self._waiting else None

    def _log(self, batch: Batch) -> list[str]:
        """Tries twice what the store does not wait for by itself."""
        for config, _, model in batch.runs:
            if model is not None and self._exports:
                self._exports = export(config, model)
        if any(batch.opened):
            self.under_way.settle()
        try:
            return self.store.log_runs(batch.runs, self.sweep_id, batch.ended, batch.opened)
        except ConfigError:
            raise
        except Exception:
            log.debug("logging %d runs failed; trying once more", len(batch.runs), exc_info=True)
            return self.store.log_runs(batch.runs, self.sweep_id, batch.ended, batch.opened, again=True)

    def _finish(self, batch: Batch) -> None:
        """The store has its own copies."""
        with self._changed:
            self._waiting.popleft()
            for folder in batch.kept:
                self.store.kept.remove(folder)
            for _, _, model in batch.runs:
                if model is not None:
                    shutil.rmtree(model.parent, ignore_errors=True)

    def keep(self) -> str:
        """Writes what is not logged to disk, and says where it is, in words; empty where there is nothing."""
        with self._changed:
            why = ""
            for batch in self._waiting:
                try:
                    for place in range(len(batch.kept), len(batch.runs)):
                        (config, record, model), one = batch.runs[place], batch.opened[place]
                        run = new_run(config, record, self.sweep_id, model, batch.ended, one.start if one else None)
                        batch.kept.append(self.store.kept.add(run))
                except OSError as error:
                    why = reason_of(error)
                    break
            count = self.left
        if not count:
            return ""
        runs = f"{count} trained run{'s' * (count > 1)} {'are' if count > 1 else 'is'}"
        where = self.store.kept.folder
        if why:
            return f"{runs} in memory only, as {where} takes no files ({why})"
        return f"{runs} kept in {where} until this command logs them"

    def close(self, is_urgent: Callable[[], bool]) -> None:
        """Returns when all is logged, and raises what kept it from that: one line that says where the runs are. Where
        it `is_urgent`, a store that is away is not waited for."""
        self.under_way.close()
        with self._changed:
            self._closing = True
            self._changed.notify()
        while self._thread.is_alive():
            self._thread.join(0.1)
            if is_urgent() and self.store.patience.is_away:
                self.store.patience.stop()
        if self.error is None:
            return
        safe = self.keep()
        if isinstance(self.error, ConfigError):
            reason = str(self.error)
        else:
            log.debug("logging failed", exc_info=self.error)
            says = "must be a store that takes the runs"
            reason = f"tracking.uri={self.store.patience.uri}: {says} ({reason_of(self.error)})"
        raise ConfigError(
            f"{reason}; {safe or 'all trained runs are logged'}; the same command goes on"
        ) from self.error


def export(config: RunConfig, model: Path) -> bool:
    """Writes an MLflow Model beside a network in its file; says why where it cannot, which costs no run."""
    from safetensors.torch import load_file

    from bnsweep.nets.plain import build
    from bnsweep.store.models import save_model

    try:
        network = build(config)
        network.load_state_dict(load_file(model))
        save_model(network.eval(), model.parent, config)
    except Exception as error:  # a disk, or a class that cannot be pickled
        print(f"networks have no MLflow Model, only {model.name} ({printable(reason_of(error))})", flush=True)
        return False
    return True
