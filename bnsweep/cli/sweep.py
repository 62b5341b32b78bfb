"""`python -m bnsweep`: one run, or a sweep with -m. Hydra reads the command line and conf/; the rest is elsewhere."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep.catalogue.tasks import Task
from bnsweep.cli.ahead import MANY, begun_ahead, report_ahead
from bnsweep.cli.arguments import check_arguments
from bnsweep.cli.clusters import cluster_of
from bnsweep.cli.entry import run_command
from bnsweep.cli.jobs import compose, wanted
from bnsweep.cli.messages import local_of, one_line, out_of_memory
from bnsweep.cli.next_commands import pages_command, report_command
from bnsweep.config.checks import ConfigError, printable
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.config.tree import check_typed, conf_folder, from_composed, register_schema
from bnsweep.records import STOPPED, Stopped

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bnsweep.cli.report_ahead import ReportAhead
    from bnsweep.data.dataset import DataKey, Dataset
    from bnsweep.runs.executors.base import Cluster
    from bnsweep.runs.ledger import RunResult, SweepResult
    from bnsweep.runs.seed_batches import Looking
    from bnsweep.runs.sweep import Planning
    from bnsweep.store.connect import Draft
    from hydra_plugins.bnsweep.launcher import Jobs

STARTED = time.perf_counter()


class RunFailed(RuntimeError):
    """A job that failed; its traceback is in the log already."""


def command() -> str:
    return "python -m bnsweep " + shlex.join(sys.argv[1:])


def value_of(result: RunResult) -> float | RunFailed:
    if result.status == STOPPED:
        return Stopped(result.objective)
    return RunFailed(result.reason) if result.status == "failed" else result.objective


class SweepBatches:
    """The sweep of one command, in the batches that Hydra's sweeper hands over: one, or as many as it likes."""

    def __init__(self) -> None:
        self.runs: list[RunConfig] = []
        self.results: list[SweepResult] = []
        """One a batch."""
        self.elsewhere: RunConfig | None = None
        """One of the jobs that another launcher runs, each by itself."""
        self.report: ReportAhead | None = None
        """A process that writes the report."""
        self.cluster: Cluster | None = None
        """Where stacks train, where it is not this machine."""

    def check(self, config: DictConfig) -> None:
        """Refuses (ConfigError) a job before another launcher runs the first, or a search begins."""
        check_sweeper(config)
        run = from_composed(config)
        if not str(config.hydra.launcher.get("_target_", "")).startswith("hydra_plugins.bnsweep."):
            self.elsewhere = run

    def run(self, configs: Jobs) -> list[object]:
        """All jobs of a batch as one computation; the stacked launcher calls this. What it returns of each is a float,
        RunFailed, or LEFT_OUT."""
        from hydra_plugins.bnsweep.launcher import LEFT_OUT

        if configs[0].hydra.sweeper.get("max_batch_size") is not None:
            rule = "left out: all runs are checked before any is trained (sweep.max_stack bounds how many train as one)"
            raise ConfigError(f"hydra.sweeper.max_batch_size={configs[0].hydra.sweeper.max_batch_size}: must be {rule}")
        check_sweeper(configs[0])
        with begun_ahead(configs) as draft:
            values = self._train(configs, draft)
        return [values.get(job, LEFT_OUT) for job in range(len(configs))]

    def _train(self, configs: Jobs, draft: Draft | None) -> dict[int, float | RunFailed]:
        """Job -> what became of it."""
        datasets: dict[DataKey, Dataset] = {}
        cells = wanted(compose(configs), datasets)
        begun, runs = time.perf_counter(), list(cells.values())
        self.cluster = self.cluster or cluster_of(configs[0])
        if len(runs) >= MANY:
            print(f"planning {len(runs):,} runs", flush=True)
        from bnsweep.runs.sweep import run_sweep

        looking, planning = (None, None) if self.runs else before_training(runs, configs.auto, configs.searched)
        if planning is not None and own_sweeper(configs[0]):
            planning = partial(self._last_said, planning)
        how: dict[str, Any] = {"datasets": datasets, "looking": looking, "planning": planning, "draft": draft}
        how |= {"searched": configs.searched, "before": self.results, "cluster": self.cluster}
        result = run_sweep(runs, command(), earlier=self.runs, **how)
        self.runs += runs
        if result is None:
            raise SystemExit(0)
        result.seconds |= {"start and compose": begun - STARTED, "sweep": time.perf_counter() - begun}
        self.results.append(result)
        if self.report is not None:
            self.report.begin(result)
        print(f"writing {len(result.runs)} job directories", flush=True)
        jobs = list(cells)
        reached = [jobs[place] for place in result.jobs[: len(result.runs)]]  # fewer where claims were decided early
        return dict(zip(reached, map(value_of, result.runs), strict=True))

    def _last_said(self, planning: Planning, runs: Sequence[RunConfig]) -> Sequence[str]:
        """What is said before training. Nothing here waits for the report's process, so it starts after that."""
        lines = planning(runs)
        self.report = report_ahead(runs)
        return lines

    def close(self) -> None:
        self._leave_cluster()
        if self.report is not None:
            self.report.close()

    def _leave_cluster(self) -> None:
        if self.cluster is not None:
            self.cluster.close()
            self.cluster = None

    def conclude(self) -> None:
        """The report, where it is, the way to the comparison, and where the time went. Raises ConfigError for a report
        that cannot be written any more."""
        self._leave_cluster()
        if self.elsewhere is not None:
            again = report_command(self.elsewhere.tracking, self.elsewhere.sweep.id)
            print(f"The report of these jobs: {again}")
        if not self.results:
            return
        last, began = self.results[-1], time.perf_counter()
        if last.sweep.report is not None:
            print("writing the report", flush=True)
            if self.report is None or not self.report.show():
                write_report(last)
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
        pages = pages_command(last.tracking)
        print(f"MLflow comparison: {f'{pages}, then ' if pages else ''}{last.view_url}")
        print(f"{ended - STARTED:.0f} s: " + ", ".join(f"{name} {value:.0f}" for name, value in split.items()))


def before_training(
    runs: Sequence[RunConfig], auto: bool, searched: Sequence[str] = ()
) -> tuple[Looking | None, Planning | None]:
    """When a sweep with `seed=auto` is looked at, and what is said of the claims of a sweep that gets a report.
    `searched`: settings whose values a sampler chooses. Raises ConfigError."""
    from bnsweep.cli.planning import looking_for, planning

    sweep, tracking = runs[0].sweep, runs[0].tracking
    if auto and sweep.report is None:
        raise ConfigError(
            "sweep.report=null: must be a folder with seed=auto: seeds are added until a report is decided"
        )
    looking = looking_for(sweep.max_seeds) if auto else None
    said = sweep.report is not None and len(runs) > 1
    return looking, partial(planning, tracking=tracking, auto=auto, searched=searched) if said else None


def own_sweeper(config: DictConfig) -> bool:
    return str(config.hydra.sweeper.get("_target_", "")).endswith(".StackedSweeper")


def check_sweeper(config: DictConfig) -> None:
    """Refuses what only our own sweeper does where another makes the jobs."""
    if own_sweeper(config):
        return
    for name, unset in (("exclude", []), ("zip", []), ("invalid", "refuse"), ("shard", None)):
        if config.sweep[name] != unset:
            raise ConfigError(f"sweep.{name}: must be left out with another sweeper than hydra/sweeper=stacked")
    if (direction := config.hydra.sweeper.get("direction")) not in (None, "maximize"):
        says = "maximize: what is searched by is the final validation score, 0 of a run that diverged"
        raise ConfigError(f"hydra.sweeper.direction={direction}: must be {says}")


def write_report(result: SweepResult) -> None:
    from bnsweep.report import report_sweep

    sweep, tracking = result.sweep, result.tracking
    try:
        report_sweep(tracking, sweep.id, Path(sweep.report or ""), own_run=result.own_run).show()
    except (OSError, ConfigError) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        again = "all runs are logged, and `python -m bnsweep.report` writes it again"
        raise ConfigError(f"the report was not written ({reason}); {again}") from error


def task(config: DictConfig) -> float:
    """What Hydra calls for a single run, and for each of a sweep under its basic or joblib launcher."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    single = hydra.mode == RunMode.RUN
    # Under hydra.job.chdir, too, paths are of where the command was started; Hydra goes back by itself.
    os.chdir(hydra.runtime.cwd)
    try:
        return run_job(config, single)
    except SystemExit:
        discard(hydra, Path(hydra.runtime.output_dir))
        raise
    except Exception as error:
        if isinstance(error, RunFailed) and not single:
            raise
        if one_line(error, sys.argv[1:]) is not None or out_of_memory(error):
            discard(hydra, Path(hydra.runtime.output_dir))
        raise Stop(error) from None


def run_job(config: DictConfig, single: bool) -> float:
    """One job in this process. Raises SystemExit after a dry run."""
    from hydra.core.hydra_config import HydraConfig

    from hydra_plugins.bnsweep.overrides import check_duplicates

    typed = [str(text) for text in HydraConfig.get().overrides.task]
    check_duplicates(typed)
    check_typed(typed)
    run = from_composed(config)
    check_alone(run)
    from bnsweep.runs.new_database import database_ahead

    with database_ahead(run.tracking, run.sweep.dry_run) as draft:
        from bnsweep.runs.sweep import run_sweep

        result = run_sweep([run], command(), keep_plan=single, draft=draft)
    if result is None:
        raise SystemExit(0)
    (own,) = result.runs
    if single:
        print(describe_run(own, run.task, result.tracking))
    value = value_of(own)
    if isinstance(value, RunFailed):
        raise value
    return value


def check_alone(run: RunConfig) -> None:
    """Refuses what makes sense for a sweep whose jobs are known together."""
    for name in ("exclude", "zip", "shard"):
        if getattr(run.sweep, name):
            raise ConfigError(
                f"sweep.{name}: must be left out of a single run, and with hydra/launcher=basic or joblib"
            )
    if run.sweep.invalid != "refuse":
        raise ConfigError(
            f"sweep.invalid={run.sweep.invalid}: must be refuse for a single run, and with other launchers"
        )


class Stop(SystemExit):
    """Carries an error through Hydra, which would print a message of its own and go on to the next job."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"bnsweep: {error}")
        self.error = error


def discard(hydra: Any, folder: Path) -> None:
    """Remove what Hydra wrote into the folder of a job that was refused; nothing else that may lie there. `hydra`: the
    node of the job's config."""
    inner = folder / (hydra.output_subdir or "")
    files = [inner / f"{name}.yaml" for name in ("config", "hydra", "overrides")] if hydra.output_subdir else []
    for path in (*files, folder / f"{hydra.job.name}.log"):
        with suppress(OSError):
            path.unlink()
    for empty in dict.fromkeys((inner, folder, *folder.parents)):
        if empty == Path.cwd() or (empty.is_dir() and any(empty.iterdir())):
            break
        if empty.is_dir():
            empty.rmdir()


def describe_run(result: RunResult, task: Task, tracking: TrackingConfig) -> str:
    """What became of a single run, and where it is."""
    s, pages = result.summary, pages_command(tracking)
    why = result.reason.removeprefix(f"{result.status} ")  # a stopped run's begins so
    lines = [f"{result.status}{': ' + printable(why) if why else ''}"]
    if result.status in ("finished", "stopped"):
        splits = (("train", "train"), ("validation", "val"), ("test", "test"))
        scores = [f"{name} {s[f'final_{key}_{task.score}']:.4f}" for name, key in splits]
        lines.append(f"{task.title}: {', '.join(scores)}")
    opened = f"; `{pages}` opens MLflow" if pages else ""
    lines.append(f"run {result.run_id} in experiment {tracking.experiment}{opened}")
    return "\n".join(lines)


def failed(error: RunFailed) -> str:
    return f"bnsweep: a run failed: {printable(str(error))}"


def run_hydra() -> None:
    """Hydra reads the command line, and calls back for a run or a batch of them."""
    import hydra

    from hydra_plugins.bnsweep.spaced import register_functions

    register_functions()
    check_arguments(sys.argv[1:])
    register_schema()
    batches = SweepBatches()
    task.batched, task.check = batches.run, batches.check  # type: ignore[attr-defined]
    # Hydra hands its errors on, so that each becomes one line.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(task)()
        batches.conclude()
    except Stop as stop:
        if isinstance(stop.error, RunFailed):
            raise SystemExit(failed(stop.error)) from None
        raise stop.error from stop.error.__cause__
    except RunFailed as error:
        batches.conclude()
        raise SystemExit(failed(error)) from None
    except Exception as error:
        config, folder = local_of(error, "run_job", "config"), local_of(error, "run_job", "output_dir")
        if folder is None or batches.results:
            raise
        # Hydra could not make the folder of a single run, or write there.
        discard(config.hydra, Path(folder).absolute())
        if isinstance(error, OSError):
            says = f"a folder that can be written ({error.strerror}: {error.filename}); hydra.run.dir names it"
            raise ConfigError(f"{folder}: must be {says}") from error
        raise
    finally:
        batches.close()


def main() -> None:
    """Console entry: exit status 0, 1 for what was refused or failed, 130 when interrupted."""
    run_command("bnsweep", run_hydra, "interrupted; the same command goes on from here")
