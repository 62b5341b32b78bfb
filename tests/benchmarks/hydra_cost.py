"""What Hydra's basic launcher takes for a run in which nothing happens: it composes, makes a directory, writes YAML."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

CONF = Path(__file__).parents[2] / "conf"
APP = f"""
import hydra
from bnsweep.config.tree import register_schema
register_schema()
hydra.main(version_base="1.3", config_path={str(CONF)!r}, config_name="config")(lambda config: None)()
"""
RUNS = 11


def seconds_a_run() -> float | None:
    """Seconds of each further run of a sweep; None where Hydra is not installed or does not start."""
    if find_spec("hydra") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "app.py"
        script.write_text(APP, encoding="utf-8")

        def sweep(runs: int) -> float:
            overrides = ["hydra/launcher=basic", "hydra/sweeper=basic", f"seed=range(0,{runs})"]
            started = time.perf_counter()
            subprocess.run([sys.executable, str(script), "-m", *overrides], cwd=folder, check=True, capture_output=True)
            return time.perf_counter() - started

        try:
            return (sweep(RUNS) - sweep(1)) / (RUNS - 1)
        except subprocess.CalledProcessError:
            return None
