"""Runs that were trained and are kept nowhere but here, in the form in which a report reads a sweep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from bnsweep.config.run import RunConfig
from bnsweep.inference import Look
from bnsweep.records import RunRecord
from bnsweep.store.backend import KeptRun
from bnsweep.store.encode import new_run, record_text
from bnsweep.store.environment import environment
from bnsweep.store.sweep_data import SweepFrame, SweepInfo, describe, iso, table


class FrameInMemory(SweepFrame):
    """Of records instead of a store."""

    records: dict[str, RunRecord]

    def read(self, run_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        for run_id in run_ids:
            yield json.loads(record_text(self.records[run_id]))


def frame_of(
    planned: Sequence[dict[str, Any]],
    runs: Sequence[tuple[RunConfig, RunRecord]],
    sweep: str,
    command: str,
    seconds: dict[str, float],
    looks: Sequence[Look] = (),
) -> FrameInMemory:
    """`planned`: rows of a Manifest, of which `runs` were trained. The id of a run is its identity."""
    kept: dict[str, KeptRun] = {}
    records: dict[str, RunRecord] = {}
    for config, record in runs:
        new = new_run(config, record, sweep)
        run_id, data = new.tags["bnsweep.identity"], [asdict(record.dataset)] if record.dataset else []
        single = {name: value for name, value, _ in new.metrics if "/" not in name and name not in ("epoch", "lr")}
        kept[run_id] = KeptRun(run_id, new.status, new.start, "", new.tags, new.params, single, data)
        records[run_id] = record
    created = iso(min((run.start for run in kept.values()), default=0))
    manifest = {"id": sweep, "command": command, "created": created, "looks": looks}
    about: SweepInfo = describe({**manifest, "environment": environment().as_dict()}, None, list(kept.values()))
    about = SweepInfo(**{**vars(about), "seconds": seconds})
    frame = FrameInMemory(about, table(list(planned), kept), None, kept)  # type: ignore[arg-type]  # it asks no backend
    frame.records = records
    return frame
