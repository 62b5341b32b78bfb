"""`python -m bnsweep.report`: the report of a tracked sweep, with the sweep command's way of writing settings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from bnsweep.catalogue.tasks import CLASSIFICATION, REGRESSION
from bnsweep.cli.entry import run_command
from bnsweep.cli.key_values import key_values
from bnsweep.cli.terminal import output_lost
from bnsweep.config.checks import ConfigError
from bnsweep.config.run import TrackingConfig
from bnsweep.report import compare_sweeps, report_sweep
from bnsweep.report.frame.figure_files import FigureFiles, listed
from bnsweep.report.frame.metrics import check_metric, default_metric, rankable
from bnsweep.store.address import default_experiment, origin

SWITCH = {"true": True, "false": False}
METRICS = "\n".join(
    f"  metric={default_metric(task).name:<23}{where}one of {', '.join(rankable(task))}"
    for task, where in ((CLASSIFICATION, ""), (REGRESSION, "of a regression: "))
)
HELP = f"""python -m bnsweep.report [KEY=VALUE ...]: rank a tracked sweep and write its report,
or set two sweeps side by side

  sweep=latest                  latest, or a sweep's id; A,B compares two (EXPERIMENT/ID: one of another experiment)
{METRICS}
  out=report                    folder for report.html, .md and .png, summary.json, table.tex and .md, and claims,
                                ranking, factors and runs as .csv, whose columns columns.csv explains; for
                                compare.html, .md, .csv and .json of two sweeps
  figures=svg,pdf,png           each figure as a file in out/figures, one column of a paper wide; one or several formats
  only=NAME                     of these figures only: one or several, by name or a part of it (figures=pdf only=flow)
  links=true                    whether the page leads to the runs in MLflow; false: for a page to be handed on
  tracking.uri=null             MLflow tracking URI; null: MLFLOW_TRACKING_URI, else mlflow.db in the working directory
  tracking.experiment=bnsweep   MLflow experiment; MLFLOW_EXPERIMENT_NAME gives another default
"""


@dataclass
class Request:
    sweep: str = "latest"
    metric: str | None = None
    """Null: the default of the sweep's task."""
    out: str = "report"
    tracking_uri: str | None = None
    tracking_experiment: str = field(default_factory=default_experiment)
    figures: str = ""
    only: str = ""
    links: str = "true"

    @property
    def figure_files(self) -> FigureFiles:
        return FigureFiles(listed(self.figures), listed(self.only))


def read_request(arguments: Sequence[str]) -> Request:
    """Raises ConfigError for anything but KEY=VALUE with a known key and a value in its range."""
    names = {f.name.replace("tracking_", "tracking."): f.name for f in fields(Request)}
    request = Request()
    for key, value in key_values(arguments, names, "the report"):
        setattr(request, names[key], None if (key, value) == ("tracking.uri", "null") else value)
    if request.metric is not None:
        check_metric(request.metric)
    if request.links not in SWITCH:
        raise ConfigError(f"links={request.links}: must be one of {', '.join(SWITCH)}")
    if request.figure_files.formats and "," in request.sweep:
        raise ConfigError(f"figures={request.figures}: must be of one sweep, and sweep={request.sweep} names several")
    return request


def write_or_compare() -> None:
    """What is asked for. Raises SystemExit where what it says reached nobody."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return
    request = read_request(arguments)
    tracking = TrackingConfig(request.tracking_uri, request.tracking_experiment)
    for line in origin(tracking):
        print(line, flush=True)
    if "," in request.sweep:
        print(compare_sweeps(tracking, request.sweep, Path(request.out), request.metric))
    else:
        out, figures, links = Path(request.out), request.figure_files, SWITCH[request.links]
        report_sweep(tracking, request.sweep, out, request.metric, figures=figures, links=links, beside=True).show()
    if output_lost():
        raise SystemExit(1)


def main() -> None:
    """Console entry: exit status 0, 1 for what was refused or was no longer read."""
    run_command("bnsweep.report", write_or_compare)
