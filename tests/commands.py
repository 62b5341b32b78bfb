"""The command in processes of its own, and what it leaves in a store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bnsweep.config.run import TrackingConfig
from bnsweep.store.store import Store

ROOT = Path(__file__).parents[1]


def start(
    folder: Path,
    *arguments: str,
    code: str = "",
    environment: dict[str, str] | None = None,
    module: str = "bnsweep",
) -> subprocess.Popen[str]:
    """`python -m bnsweep` in that folder, one stack at a time; `code` runs before it in its process."""
    command = ["-m", module, *arguments]
    if code:
        run = f"{code}\nimport runpy, sys; sys.argv[0] = 'bnsweep'; runpy.run_module('bnsweep', run_name='__main__')"
        command = ["-c", run, *arguments]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=variables | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: subprocess.Popen[str], status: int = 0) -> str:
    """Its output, once it has ended with that status."""
    said = process.communicate(timeout=300)[0]
    assert process.returncode == status, said
    return said


def counts(tracking: TrackingConfig) -> tuple[Counter[str], int]:
    """Status -> runs in the store, and how many of the finished ones differ."""
    runs = Store.open(tracking, create=False).backend.runs("run")
    different = {run.tags["bnsweep.identity"] for run in runs if run.status == "FINISHED"}
    return Counter(run.status for run in runs), len(different)
