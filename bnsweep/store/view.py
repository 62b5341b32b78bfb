"""The ready-made comparison in MLflow's UI: what its Share button would store, written as an experiment tag.

The shape is the one of MLflow 3.17's front end: search facets, columns, `compareRunCharts`, `compareRunSections`. The
front end adds a section for every prefix of a metric name; the ones named here lie below ours, folded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from bnsweep.catalogue.tasks import CLASSIFICATION, TASKS, Task

HOST, PORT = "127.0.0.1", 5000
LOCAL = f"http://{HOST}:{PORT}"
"""Where `python -m bnsweep.ui` serves a store that has no address of its own."""
KEY = "bnsweep"
FACTORS = ("activation", "init", "lr.value", "bn", "seed")
"""Always shown as columns, before whatever else the sweep varies."""
SEEDS = "seeds"
"""The parameter of a mean run that says of how many runs it is the mean."""
UNTOLD = ("identity", "data.seed")
"""Not shown: the data's seed follows the run's."""
LOADED = 100
"""Runs that the UI loads at once; more are a click away."""
OURS = {
    "Factors and result": {"columns": 1, "cardHeight": 420},
    "Curves and learning rate": {"columns": 3, "cardHeight": 360},
}
"""Our sections, unfolded, above the ones of the front end."""
UNPREFIXED = "Model metrics"
"""The front end's name for the section of metrics without a prefix."""


def tag_key() -> str:
    """The experiment tag in which MLflow keeps the view."""
    return f"mlflow.sharedViewState.{KEY}"


def url(base: str, experiment_id: str) -> str:
    """The page of an experiment, in this view."""
    query = f"viewStateShareKey={KEY}&workflowType=machine_learning&compareRunsMode=CHART"
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def run_url(base: str, experiment_id: str, run_id: str) -> str:
    """The page of one run: parameters, metrics, artifacts."""
    return f"{base.rstrip('/')}/#/experiments/{quote(experiment_id, safe='')}/runs/{quote(run_id, safe='')}"


def compare_url(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """Several runs of an experiment side by side; the front end reads both lists as JSON."""
    runs, experiments = (quote(json.dumps(ids, separators=(",", ":"))) for ids in (list(run_ids), [experiment_id]))
    return f"{base.rstrip('/')}/#/compare-runs?runs={runs}&experiments={experiments}"


def varied(planned: Sequence[dict[str, Any]]) -> list[str]:
    """Factors of more than one value that every run has; the chart drops runs that lack one of its axes."""
    shared = [key for key in planned[0] if key not in UNTOLD and all(key in row for row in planned)]
    return [key for key in shared if len({row[key] for row in planned}) > 1]


def task_of(planned: Sequence[dict[str, Any]]) -> Task:
    return TASKS[planned[0].get("data.task", CLASSIFICATION.name)]


def results(task: Task) -> tuple[str, ...]:
    """The metrics shown as columns."""
    return f"final_val_{task.score}", f"final_test_{task.score}", "steps_to_tau"


def state(planned: Sequence[dict[str, Any]], prefixes: Sequence[str], search: str, means: bool = False) -> str:
    """JSON of the view of the planned runs, or of the `means` of their seeds, which `search` finds; `prefixes` are
    those of their metrics."""
    factors, task = varied(planned), task_of(planned)
    usual = [name for name in FACTORS if any(name in row for row in planned)]
    columns = [*usual, *(name for name in factors if name not in FACTORS)]
    if means:
        columns[columns.index("seed")] = SEEDS
    # Sorted by result, the first hundred would be one corner of a large grid; sorted by seed, complete replicates.
    order = {"orderByKey": f"metrics.`final_val_{task.score}`", "orderByAsc": False}
    if len(planned) > LOADED and not means:
        order = {"orderByKey": "params.`seed`", "orderByAsc": True}
    return json.dumps(
        {
            "searchFilter": search,
            **order,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
            "selectedColumns": [f"params.`{name}`" for name in columns]
            + [f"metrics.`{name}`" for name in results(task)],
            "runsHiddenMode": "SHOW_ALL",
            "isAccordionReordered": True,
            "compareRunSections": [
                *(section(name, display=True, **size) for name, size in OURS.items()),
                *(section(name or UNPREFIXED, display=False) for name in prefixes),
            ],
            "compareRunCharts": charts(factors, task.score),
        }
    )


def section(name: str, **more: Any) -> dict[str, Any]:
    """A heading of the page under which cards lie; `more` is `display`, and the size of its cards."""
    return {"uuid": name, "name": name, "isReordered": False, "deleted": False, "isGenerated": False, **more}


def charts(factors: list[str], score: str) -> list[dict[str, Any]]:
    """The cards of our sections: parallel coordinates of what varies, two curves, and the score against the rate."""
    result, course = OURS
    axes = [name for name in factors if name != "seed"]
    lr = {"key": "lr.value", "type": "PARAM"}
    best = {"key": f"final_val_{score}", "type": "METRIC"}
    cards = [
        (result, "PARALLEL", {"selectedParams": axes, "selectedMetrics": [best["key"]], "showAllRuns": True}),
        (course, "LINE", {"metricKey": f"val/{score}", **LINE}),
        (course, "LINE", {"metricKey": "train/loss", **LINE}),
        (course, "SCATTER", {"xaxis": lr, "yaxis": best}),
    ]
    return [
        {
            "uuid": f"bnsweep-{i}",
            "type": kind,
            "metricSectionId": place,
            "runsCountToCompare": LOADED,
            **CARD,
            **fields,
        }
        for i, (place, kind, fields) in enumerate(cards)
    ]


CARD = {"deleted": False, "isGenerated": False}
LINE: dict[str, Any] = {
    "lineSmoothness": 0,
    "xAxisKey": "step",
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "range": {},
    "selectedXAxisMetricKey": "",
    "ignoreOutliers": False,
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}
