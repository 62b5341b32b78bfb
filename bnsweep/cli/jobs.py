"""From the jobs that Hydra hands over to the runs of a sweep."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bnsweep.cli.folders import check_job_folders
from bnsweep.cli.quick_runs import QuickRuns
from bnsweep.config.cells import excluded, refused_text
from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig
from bnsweep.config.tree import from_composed

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bnsweep.data.dataset import DataKey, Dataset
    from hydra_plugins.bnsweep.launcher import Jobs

SLOW_TO_COMPOSE = 1000
"""Jobs that take Hydra more than a few seconds, which should not pass in silence."""

SILENCE = 10.0
"""Seconds without a word while they are composed."""


def compose(configs: Jobs) -> list[RunConfig | ConfigError]:
    """The runs of a sweep's jobs, or what a rule says of a job, which is the end of the sweep unless such jobs are left
    out. Raises ConfigError for it, and for a folder that cannot be made."""
    from hydra_plugins.bnsweep.directory import job_folder

    runs: list[RunConfig | ConfigError] = []
    folders: list[Path] = []
    told, skips, by_number = time.monotonic(), configs[0].sweep.get("invalid") == "skip", numbered(configs[0])
    quick = QuickRuns(configs)
    for place in range(len(configs)):
        if len(configs) > SLOW_TO_COMPOSE and (not runs or time.monotonic() - told > SILENCE):
            told = time.monotonic()
            print(f"composing {len(configs)} jobs" + f", {len(runs)} so far" * bool(runs), flush=True)
        try:
            runs.append(quick.run(place))
        except ConfigError as error:
            if not skips:
                raise with_remedy(error, configs) from error
            runs.append(error.with_traceback(None))  # which would keep the job's config
        if place in (0, len(configs) - 1) or not by_number:
            config = configs[place]
            folders.append(job_folder(config) / (config.hydra.output_subdir or ""))
    check_job_folders(folders, len(configs))
    return runs


def with_remedy(error: ConfigError, configs: Jobs) -> ConfigError:
    """What a rule says of one job, with the way to train the others, where the first or the last is one of them."""
    for config in (configs[0], configs[len(configs) - 1]):
        with suppress(ConfigError):
            from_composed(config)
            return type(error)(f"{error}; sweep.invalid=skip leaves such jobs out")
    return error


def wanted(found: Sequence[RunConfig | ConfigError], datasets: dict[DataKey, Dataset]) -> dict[int, RunConfig]:
    """Job -> run, without those that the sweep leaves out, which is said. `datasets` gets the data that had to be read
    to know that. Raises ConfigError where none is left."""
    errors = {job: error for job, error in enumerate(found) if isinstance(error, ConfigError)}
    runs = {job: run for job, run in enumerate(found) if isinstance(run, RunConfig)}
    if not runs:
        raise next(iter(errors.values()))
    sweep = next(iter(runs.values())).sweep
    out = excluded(runs, sweep.exclude)
    runs = {job: run for job, run in runs.items() if job not in out}
    if sweep.invalid == "skip" and any(run.own_code or not run.data.known for run in runs.values()):
        from bnsweep.training.known import with_facts

        for job, run in list(runs.items()):
            try:
                (runs[job],) = with_facts([run], datasets)
            except ConfigError as error:
                if run.data.key not in datasets:  # the data themselves are refused
                    raise
                errors[job] = error
                del runs[job]
        if not runs:
            raise next(iter(errors.values()))
    lines = [f"sweep.exclude leaves out {len(out):,} of {len(found):,} jobs"] if out else []
    for line in [*lines, *refused_text([str(error) for error in errors.values()])]:
        print(line, flush=True)
    return runs


def numbered(config: DictConfig) -> bool:
    """Whether job folders are named as by default, by numbers in one folder. Then one can be made where another can,
    and reading all the names would take as long as composing the runs."""
    from omegaconf import OmegaConf

    names = OmegaConf.to_container(config.hydra.sweep)
    assert isinstance(names, dict)
    return names["subdir"] == "${hydra.job.num}" and set(re.findall(r"\$\{.*?\}", names["dir"])) <= {"${sweep.id}"}
