"""`python -m bnsweep`: one run, or a sweep with -m. Hydra reads the command line and conf/; the rest is elsewhere."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep.cli.messages import GROUP_VALUE, group_given_a_value, one_line
from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig
from bnsweep.config.secrets import check_no_secret
from bnsweep.config.tree import conf_folder, from_composed, register_schema

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bnsweep.runs.ledger import RunResult, SweepResult

STARTED = time.perf_counter()

SLOW_TO_COMPOSE = 1000
"""Jobs that take Hydra more than a few seconds, which should not pass in silence."""


class RunFailed(RuntimeError):
    """A job that failed; its traceback is in the log already."""


def command() -> str:
    return "python -m bnsweep " + shlex.join(sys.argv[1:])


def value_of(result: RunResult) -> float | RunFailed:
    return RunFailed(result.reason) if result.status == "failed" else result.objective


class SweepBatches:
    """The sweep of one command, in the batches that Hydra's sweeper hands over: one, or as many as it likes."""

    def __init__(self) -> None:
        self.runs: list[RunConfig] = []
        self.results: list[SweepResult] = []
        """One a batch."""

    def run(self, configs: Sequence[DictConfig]) -> list[float | RunFailed]:
        """All jobs of a batch as one computation; the stacked launcher calls this."""
        if len(configs) > SLOW_TO_COMPOSE:
            print(f"composing {len(configs)} jobs", flush=True)
        runs = [from_composed(config) for config in configs]
        if configs[0].hydra.sweeper.get("max_batch_size") is not None:
            rule = "left out: all runs are checked before any is trained (sweep.max_stack bounds how many train as one)"
            raise ConfigError(f"hydra.sweeper.max_batch_size={configs[0].hydra.sweeper.max_batch_size}: must be {rule}")
        from bnsweep.runs.sweep import run_sweep

        begun = time.perf_counter()
        result = run_sweep(runs, command(), earlier=self.runs)
        self.runs += runs
        if result is None:
            raise SystemExit(0)
        result.seconds |= {"start and compose": begun - STARTED, "sweep": time.perf_counter() - begun}
        self.results.append(result)
        print(f"writing {len(runs)} job directories", flush=True)
        return [value_of(run) for run in result.runs]

    def conclude(self) -> None:
        """The report, where it is, the way to the comparison, and where the time went."""
        if not self.results:
            return
        last, began = self.results[-1], time.perf_counter()
        if last.sweep.report is not None:
            from bnsweep.report import report_sweep

            print("writing the report", flush=True)
            report_sweep(last.tracking, last.sweep.id, Path(last.sweep.report), own_run=last.own_run).show()
        ended, start = time.perf_counter(), self.results[0].seconds["start and compose"]
        names = ("training", "logging", "sweep")
        training, logging, sweep = (sum(result.seconds[name] for result in self.results) for name in names)
        split = {
            "start and compose": start,
            "training": training,
            "logging beside it": logging,
            "rest of the sweep": sweep - max(training, logging),
            "job directories": began - STARTED - start - sweep,
            "report": ended - began,
        }
        print(f"MLflow comparison: make ui, then {last.view_url}")
        print(f"{ended - STARTED:.0f} s: " + ", ".join(f"{name} {value:.0f}" for name, value in split.items()))


def run_job(config: DictConfig) -> float:
    """One job in this process: a single run, or one of a sweep under Hydra's basic or joblib launcher."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from hydra.types import RunMode

    from hydra_plugins.bnsweep.overrides import check_duplicates

    hydra = HydraConfig.get()
    single = hydra.mode == RunMode.RUN
    try:
        check_duplicates(list(hydra.overrides.task))
        run = from_composed(config)
        from bnsweep.runs.sweep import run_sweep

        result = run_sweep([run], command(), keep_plan=single)
        if result is None:
            raise SystemExit(0)
    except (ConfigError, HydraException, SystemExit) as error:
        if single:
            discard(Path(hydra.runtime.output_dir))
        # As SystemExit it passes Hydra without a second message.
        raise error if isinstance(error, SystemExit) else SystemExit(f"bnsweep: {one_line(error)}") from None
    (own,) = result.runs
    if single:
        print(describe_run(own, result.tracking.experiment))
    value = value_of(own)
    if isinstance(value, RunFailed):
        raise value
    return value


def discard(folder: Path) -> None:
    """Remove what Hydra wrote for a run that was refused; nothing else that may lie in the folder."""
    for name in (".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "bnsweep.log"):
        (folder / name).unlink(missing_ok=True)
    for empty in (folder / ".hydra", folder, *folder.parents):
        if empty == Path.cwd() or (empty.is_dir() and any(empty.iterdir())):
            break
        if empty.is_dir():
            empty.rmdir()


def describe_run(result: RunResult, experiment: str) -> str:
    """`experiment`: MLflow's."""
    s = result.summary
    lines = [f"{result.status}{': ' + result.reason if result.reason else ''}"]
    if result.status == "finished":
        splits = (("train", "train"), ("validation", "val"), ("test", "test"))
        scores = [f"{name} {s[f'final_{key}_accuracy']:.4f}" for name, key in splits]
        lines.append(f"accuracy: {', '.join(scores)}")
    lines.append(f"run {result.run_id} in experiment {experiment}; `make ui` opens MLflow")
    return "\n".join(lines)


def main() -> Any:
    """Console entry: exit status 0, 1 for what was refused or failed, 130 when interrupted."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    register_schema()
    batches = SweepBatches()

    def task(config: DictConfig) -> float:
        return run_job(config)

    task.batched = batches.run  # type: ignore[attr-defined]
    full = os.environ.get("HYDRA_FULL_ERROR")
    # Hydra hands its errors on, so that each becomes one line here; unexpected ones keep their traceback.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        check_no_secret(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(task)()
        batches.conclude()
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        if full:
            raise
        raise SystemExit(f"bnsweep: {one_line(error)}") from None
    except ValueError as error:
        if not str(error).startswith(GROUP_VALUE):
            raise
        raise SystemExit(f"bnsweep: {group_given_a_value(sys.argv[1:])}") from None
    except RunFailed as error:
        batches.conclude()
        raise SystemExit(f"bnsweep: a run failed: {error}") from None
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
