"""What no interpreter shows: Triton compiles the kernels of a real training step for a GPU, which need not be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import interpreted  # noqa: F401
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_kernels_of_a_step_fit_into_a_gpus_registers(tmp_path: Path) -> None:
    environment = {n: v for n, v in os.environ.items() if n != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.benchmarks.kernel_registers"]
    run = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in run.stdout.splitlines()[4:]]
    assert {name for name, *_ in rows} == {
        "rows_forward",
        "rows_backward",
        "blend_kernel",
        "rows_evaluate",
        "dropout_kernel",
        "cross_entropy_kernel",
        "totals_kernel",
        "descent_kernel",
        "update_kernel",
    }
    assert [row for row in rows if row[1].startswith("float32") and row[4] != "0"] == []
