"""What is done with the runs of a sweep: how they are trained and kept, and which are left out or stopped."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import Any

from bnsweep.config.checks import NOT_NEGATIVE, SHARD, TEXT, OneOf, Rule, at_least, check, or_null
from bnsweep.config.fields import Checked, setting

SWEEP_ID = Rule(
    lambda text: re.fullmatch(r"(?!latest$)[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", text) is not None,
    "letters, digits, '_', '-' and '.', at most 100, a letter or digit first, and not latest",
)
INVALID = ("refuse", "skip")
STRATEGIES = ("none", "halving", "plateau")
ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
"""32 that are not taken for one another."""


def new_sweep_id() -> str:
    """The time and six random letters: sweeps that start in one second, on two machines even, have two ids."""
    return time.strftime("%Y%m%d-%H%M%S-") + "".join(ID_LETTERS[byte % 32] for byte in os.urandom(6))


@dataclass(frozen=True)
class SweepConfig(Checked, group="sweep"):
    id: str = setting("single", SWEEP_ID)
    """Names the sweep in MLflow and the report; the default is its start time and six letters."""
    rerun: bool = setting(False)
    """Train again the runs that have a result."""
    dry_run: bool = setting(False)
    """Print the plan and train nothing."""
    max_stack: int | None = setting(None, or_null(at_least(1)))
    """Most runs trained as one; null: what memory and cache suggest."""
    checkpoint_seconds: float | None = setting(60.0, or_null(NOT_NEGATIVE))
    """Least seconds between two checkpoints of a stack that trains, which the same command goes on from; null: none."""
    strategy: str = setting("none", OneOf(STRATEGIES))
    """What stops runs before their last step: `halving` drops, at each rung, all but the best combinations by mean
    validation score; `plateau` a run whose validation score rises no more."""
    factor: int = setting(3, at_least(2))
    """Of halving: one combination in so many goes on at each rung."""
    rungs: int = setting(2, at_least(1))
    """Of halving: how often combinations are dropped; with a factor of 3, at 1/9 and 1/3 of the steps."""
    patience: int = setting(5, at_least(1))
    """Of plateau: evaluations without a better validation score that stop a run."""
    shard: str | None = setting(None, or_null(SHARD))
    """Which share of the sweep this machine trains, as in 2/5. All machines get the same command and `sweep.id`."""
    max_seeds: int = setting(30, at_least(1))
    """Most seeds of a sweep with `seed=auto`, which adds seeds until the claims of its report are decided."""
    report: str | None = setting("report", or_null(TEXT))
    """Folder the report is written to when a multirun ends; null: none."""
    exclude: tuple[Any, ...] = setting(())
    """Cells that are left out of the grid, each by settings and values, as in [{bn: none, init: he}]; a list of values
    stands for any of them."""
    zip: tuple[Any, ...] = setting(())
    """Settings whose values go together, the first with the first, as in [[lr.value, train.batch_size]]."""
    invalid: str = setting("refuse", OneOf(INVALID))
    """What is done about cells that a rule refuses: the sweep is refused, or with skip they are left out."""
    save_models: bool = setting(False)
    """Keep each trained network among its run's artifacts: as `model.safetensors`, and as the MLflow Model `model`.
    That costs some seconds a sweep, and 20 ms and 0.1 MB a run of the note's network."""
    system_metrics: bool = setting(False)
    """Keep how busy the machine is (processors, memory, disk, network, GPUs) with the sweep's own run in MLflow. Needs
    psutil; MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL is the seconds between two readings, by default 10."""

    def check_together(self) -> None:
        if self.strategy == "halving":
            says = "a number with sweep.strategy=halving: rungs begin at checkpoints"
            check(self.checkpoint_seconds is not None, "sweep.checkpoint_seconds", "null", says)
            says = "null with sweep.strategy=halving, which compares the combinations of the whole sweep"
            check(self.shard is None, "sweep.shard", self.shard, says)
