"""`python -m bnsweep.experiments`: the named experiments, expected numbers beside ours."""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bnsweep.cli.arguments import check_override, read_override
from bnsweep.cli.entry import run_command
from bnsweep.config.checks import ConfigError, check, check_choice
from bnsweep.experiments.compose import FORMS, Experiment, Library
from bnsweep.experiments.selection import Run
from bnsweep.experiments.table import Result, Table, check_table, show, write
from bnsweep.experiments.verdicts import answer, unanswered
from bnsweep.records import FAILED
from bnsweep.report.frame.libraries import load_libraries
from bnsweep.store.environment import environment

if TYPE_CHECKING:
    from bnsweep.experiments.training import Laboratory

HELP = """python -m bnsweep.experiments [NAME ...] [KEY=VALUE ...]: expected numbers beside ours

  NAME              an experiment; all of them where none is named (--list says which)
  out=experiments   folder for experiments.md, .csv, .json and the figures; rows of others stay there
  form=auto         full; quick (the short form of those that have one); auto: full on a GPU, quick without
  KEY=VALUE         a setting of the runs, as for `python -m bnsweep`: data.root=FOLDER, seed=range(0,3)

Each expected number says whether it was published, is second-hand, or was computed for this project.
A number outside its tolerance is a result: the exit status is 1 only for what was refused or failed.
"""


@dataclass
class Request:
    names: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    out: str = "experiments"
    form: str = "auto"
    listing: bool = False


def read_request(arguments: Sequence[str]) -> Request:
    """Raises ConfigError for a form that is none, a flag, or what is given twice."""
    request, given = Request(), set[str]()
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if argument == "--list":
            request.listing = True
        elif argument.startswith("-"):
            raise ConfigError(f"{argument}: no such flag (--help says what there is)")
        elif key.lstrip("+") == "experiment":
            raise ConfigError(f"{argument}: must be the name alone, as in mean-field-chi")
        elif not equals and not argument.startswith("~"):
            request.names.append(argument)
        elif key in ("out", "form"):
            check(key not in given, key, value, "given once")
            given.add(key)
            setattr(request, key, value)
        else:
            request.overrides.append(argument)
    check_choice("form", request.form, FORMS)
    if not request.out:
        raise ConfigError("out=: must be the name of a folder")
    return request


def run(request: Request) -> Table:
    """Run what is asked for, and write the table after each experiment. Everything that can be refused is refused
    (ConfigError) before anything is trained or written."""
    library = Library(request.overrides)
    names = library.chosen(request.names)
    out = Path(request.out)
    check_table(out)
    experiments = [library.experiment(name, request.form) for name in names]
    from bnsweep.experiments.training import Laboratory

    table = Table([])
    configs = [config for experiment in experiments for config in experiment.configs]
    try:
        with Laboratory(configs, datasets=library.datasets) as laboratory:
            for place, experiment in enumerate(experiments, start=1):
                label = f"{experiment.name}{f' ({experiment.form})' if experiment.form else ''}"
                print(f"{place} of {len(experiments)}: {label}, {len(experiment.configs)} runs", flush=True)
                table.results.append(conduct(experiment, laboratory, out))
                write(table.results, out)
                print(f"{experiment.name}: {Table(table.results[-1:]).conclusion()}", flush=True)
    except ConfigError:
        if table.results:
            show(table)  # the numbers that could not be written
        raise
    except KeyboardInterrupt:
        over = f"{len(table.results)} of {len(experiments)} experiments are over"
        print(f"interrupted: {over}" + (f" and in {out / 'experiments.md'}" if table.results else ""), file=sys.stderr)
        raise SystemExit(130) from None
    return table


def conduct(experiment: Experiment, laboratory: Laboratory, out: Path) -> Result:
    """Train, measure, judge and draw one experiment."""
    load_libraries()
    from bnsweep.experiments.figures import draw
    from bnsweep.experiments.training import NotRun

    began, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    try:
        records = laboratory.train(experiment.configs)
    except NotRun as reason:
        return not_run(experiment, str(reason))
    result = not_run(experiment, "")
    result.started = started
    # Jobs that mean the same run share a record.
    runs = [Run(config, record) for config, record in zip(experiment.configs, records, strict=True)]
    runs = list({id(run.record): run for run in runs}.values())
    for place, expectation in enumerate(experiment.expectations):
        result.rows[place] = answer(expectation, runs, experiment.name, experiment.form, experiment.quick)
    result.runs = len(runs)
    result.statuses = dict(Counter(run.record.status for run in runs))
    result.failures = list(dict.fromkeys(run.record.reason for run in runs if run.record.status == FAILED))
    result.device = next((run.record.device for run in runs if run.record.device), "")
    try:
        drawn = draw(experiment.name, runs, out / experiment.name)
        result.figures = {path.relative_to(out).as_posix(): caption for path, caption in drawn.items()}
    except Exception as error:  # the numbers stand without it
        result.failures.append(f"no figure: {type(error).__name__}: {error}")
    result.seconds = time.perf_counter() - began
    return result


def not_run(experiment: Experiment, why: str) -> Result:
    e = experiment
    rows = [unanswered(expectation, e.name, e.form, why) for expectation in e.expectations]
    result = Result(e.name, e.purpose, e.source, e.notes, e.form, rows)
    result.environment = environment().as_dict()
    result.command = f"python -m bnsweep.experiments {shlex.join(sys.argv[1:])}".strip()
    return result


def answer_request() -> None:
    """What is asked for. Raises SystemExit where something failed."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return
    request = read_request(arguments)
    for text in request.overrides:
        check_override(text, read_override(text))
    if request.listing:
        print(Library(request.overrides).describe())
        return
    table = run(request)
    show(table)
    print(f"Written to {Path(request.out, 'experiments.md')}")
    if any(result.failures for result in table.results):
        raise SystemExit(1)


def main() -> None:
    """Console entry: exit status 0 whatever the numbers, 1 for what was refused or failed, 130 when interrupted."""
    run_command("bnsweep.experiments", answer_request, "interrupted")
