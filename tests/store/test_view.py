"""The comparison that a user opens: the state written for MLflow's UI, and the UI itself in a real browser."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from servers import mlflow_server
from store_runs import log_run

from bnsweep.catalogue.tasks import CLASSIFICATION
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import ActivationConfig, BnConfig, LrConfig
from bnsweep.config.identity import identity, numbers
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import DatasetInfo, RunRecord
from bnsweep.store import view as mlflow_view
from bnsweep.store.store import Manifest, Store, without_login
from tests.browser import CHROMIUM, Browser

# MLflow 3.17 declares a relation that sqlalchemy 2.1 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")


def grid() -> list[RunConfig]:
    factors = product(("sigmoid", "relu"), (0.01, 0.1), ("none", "before", "after"))
    return [RunConfig(activation=ActivationConfig(a), lr=LrConfig(lr), bn=BnConfig(bn)) for a, lr, bn in factors]


def record(score: float) -> RunRecord:
    steps = [0.0, 18.0, 36.0]
    history = {"step": steps, "epoch": [0.0, 1.0, 2.0]}
    history |= {name: [0.1, score / 2, score] for name in ("val/accuracy", "train/loss", "layer/1/std")}
    summary = {"final_val_accuracy": score, "final_test_accuracy": score, "steps_to_tau": 36.0}
    dataset = DatasetInfo("digits", "0123456789abcdef", "scikit-learn", 1797, 64, 10)
    return RunRecord("finished", history=history, summary=summary, seconds=0.1, device="cpu", dataset=dataset)


def fill(store: Store, sweep_id: str) -> list[RunConfig]:
    """A closed sweep of 12 runs with its view."""
    configs = grid()
    planned = [{"identity": identity(config), **numbers(config)} for config in configs]
    store.open_sweep(Manifest(sweep_id, "python -m bnsweep -m …", "2026-01-02T03:04:05+00:00", planned))
    for i, config in enumerate(configs):
        log_run(store, config, record(0.5 + i / 30), sweep_id)
    store.close_sweep(sweep_id, {"planned": len(configs)}, {})
    store.write_view(sweep_id)
    return configs


@dataclass(frozen=True)
class Server:
    url: str
    store: Store
    """The sweep that the server shows, written without it, as `make sweep` and `make ui` do."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    store = Store.open(TrackingConfig(uri=uri))
    fill(store, "local")
    with mlflow_server(home, uri) as url:
        yield Server(url, store)


def page(url: str, *wanted: str) -> str:
    """The page's DOM once every wanted text is in it, or when patience ends; wide enough for every column."""
    with closing(Browser()) as browser:
        browser.resize(3000, 1400)
        browser.open(url)
        return browser.wait_for(*wanted)


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium found; Debian: apt-get install chromium")


@pytest.mark.slow
@pytest.mark.browser
@needs_browser
def test_the_printed_url_opens_the_parallel_coordinates_of_the_factors(server: Server) -> None:
    axes = [f">{name}</text>" for name in ("activation", "lr.value", "bn", "final_val_accuracy")]
    dom = page(server.store.view_url(server.url), 'class="parcoords"', *axes)
    assert 'class="parcoords"' in dom
    assert [name for name in axes if name not in dom] == []
    assert [level for level in ("sigmoid", "relu", "none", "before", "after") if f">{level}</text>" not in dom] == []
    assert "Factors and result" in dom
    assert "sweep local" not in dom, "the sweep's own run is no run to compare"
    assert "relu xavier lr=0.1 bn=before seed=0" in dom


@pytest.mark.browser
@needs_browser
def test_the_table_has_the_factor_columns(server: Server) -> None:
    columns = [f"params.`{name}`" for name in mlflow_view.FACTORS]
    columns += [f"metrics.`{name}`" for name in mlflow_view.results(CLASSIFICATION)]
    wanted = [f'col-id="{name}"' for name in columns]
    dom = page(server.store.view_url(server.url).replace("=CHART", "=TABLE"), *wanted)
    assert [name for name in wanted if name not in dom] == []


@pytest.mark.slow
@pytest.mark.browser
@needs_browser
def test_the_seeds_of_a_combination_are_one_line(server: Server) -> None:
    store = Store.open(TrackingConfig(uri=server.store.uri, experiment="seeds"))
    configs = [replace(config, seed=seed) for config in grid() for seed in range(11)]
    own = store.open_sweep(Manifest.of(configs, "seeds", "…"))
    store.log_runs([(config, record(0.5 + config.seed / 30), None) for config in configs], "seeds")
    store.write_view("seeds", own)
    wanted = ("relu xavier lr=0.1 bn=before, mean of 11", 'class="parcoords"')
    dom = page(store.view_url(server.url), *wanted)
    assert [text for text in wanted if text not in dom] == []
    assert "seed=0" not in dom, "132 runs"


@pytest.mark.slow
@pytest.mark.browser
@needs_browser
def test_the_links_of_a_report_open_a_run_and_a_comparison_of_two(server: Server) -> None:
    frame = server.store.load("local")
    assert frame.info.ui == mlflow_view.LOCAL
    experiment, ids = frame.info.experiment_id, list(frame.runs["run_id"][:2])
    name = "sigmoid xavier lr=0.01 bn={} seed=0"
    dom = page(mlflow_view.run_url(server.url, experiment, ids[0]), name.format("none"), "final_val_accuracy")
    assert name.format("none") in dom
    assert "final_val_accuracy" in dom
    names = [name.format(bn) for bn in ("none", "before")]
    dom = page(mlflow_view.compare_url(server.url, experiment, ids), *names, "Comparing 2 Runs")
    assert [text for text in names if text not in dom] == []
    assert name.format("after") not in dom


def test_links_are_percent_encoded_and_the_lists_are_read_back_as_json() -> None:
    address = mlflow_view.compare_url("http://host:5000/", "1", ["a", "b c", 'd"&e=#'])
    assert not set(address) & set(' "[]<>')
    base, _, query = address.partition("/#/compare-runs?")
    parts = {key: json.loads(values[0]) for key, values in parse_qs(query).items()}
    assert (base, parts) == ("http://host:5000", {"runs": ["a", "b c", 'd"&e=#'], "experiments": ["1"]})
    assert mlflow_view.run_url("http://host", "1", "a/b") == "http://host/#/experiments/1/runs/a%2Fb"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:p@ss@host:5000/mlflow/", "https://host:5000/mlflow/"),
        ("postgresql+psycopg://me:secret@host/runs", "postgresql+psycopg://host/runs"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://host", "http://host"),
    ],
)
def test_what_a_report_says_of_the_store_has_no_password(uri: str, shown: str) -> None:
    assert without_login(uri) == shown


def test_a_tracking_server_holds_a_sweep_as_well_as_a_file_does(server: Server) -> None:
    store = Store.open(TrackingConfig(uri=server.url, experiment="served"))
    configs = fill(store, "served")
    assert store.done().keys() == {identity(config) for config in configs}
    assert store.view_url().startswith(f"{server.url}/#/experiments/{store.experiment_id}/runs?")
    served, local = (
        Store.open(TrackingConfig(uri=server.url, experiment="served"), create=False).load(),
        server.store.load(),
    )
    assert served.runs.drop(columns="run_id").equals(local.runs.drop(columns="run_id"))
    names = ["val/accuracy", "layer/1/std"]
    assert served.history(names)["value"].equals(local.history(names)["value"])
    assert served.info.data == local.info.data
    assert (served.info.ui, local.info.ui) == (server.url, mlflow_view.LOCAL)
    points = store.client.get_metric_history(served.runs["run_id"][0], "layer/1/std")
    assert [(m.step, m.value) for m in points] == [(0, 0.1), (18, 0.25), (36, 0.5)]


@pytest.mark.slow
def test_a_tracking_server_takes_the_report_of_a_sweep(server: Server, tmp_path: Path) -> None:
    store = Store.open(TrackingConfig(uri=server.url, experiment="reported"))
    fill(store, "s")
    report = tmp_path / "report.html"
    for text in ("old", "new"):
        report.write_text(f"<p>{text}", encoding="utf-8")
        assert store.attach("s", [report])
    [own] = store.backend.runs("sweep")
    assert [file.path for file in store.client.list_artifacts(own.run_id, "report")] == ["report/report.html"]
    assert Path(store.client.download_artifacts(own.run_id, "report/report.html")).read_text() == "<p>new"
    assert len(store.backend.runs("run", tag=("bnsweep.view", "=", "s"))) == len(grid())


def rows(count: int) -> list[dict[str, object]]:
    return [
        {"identity": str(i), "init": "he", "lr.value": i / 10, "bn": ("none", "after")[i % 2]} for i in range(count)
    ]


def test_axes_are_the_factors_that_vary_and_that_every_run_has() -> None:
    planned = rows(4)
    planned[0]["init.std"] = 0.01
    planned[1]["init.std"] = 0.02
    view = json.loads(mlflow_view.state(planned, ["", "val"], "…"))
    parallel = next(card for card in view["compareRunCharts"] if card["type"] == "PARALLEL")
    assert parallel["selectedParams"] == ["lr.value", "bn"]
    assert parallel["selectedMetrics"] == ["final_val_accuracy"]


def test_more_runs_than_the_ui_loads_are_shown_replicate_by_replicate() -> None:
    few, many = (json.loads(mlflow_view.state(rows(n), [], "…")) for n in (100, 101))
    assert (few["orderByKey"], few["orderByAsc"]) == ("metrics.`final_val_accuracy`", False)
    assert (many["orderByKey"], many["orderByAsc"]) == ("params.`seed`", True)


def test_every_chart_lies_in_a_section_and_the_state_fits_a_tag() -> None:
    prefixes = ["", "test", "train", "val", *(f"layer/{i}" for i in range(1, 30))]
    text = mlflow_view.state(rows(540), prefixes, "…")
    view = json.loads(text)
    sections = {section["uuid"] for section in view["compareRunSections"]}
    assert {card["metricSectionId"] for card in view["compareRunCharts"]} <= sections
    assert len(text) < 20_000


def test_the_view_of_a_resumed_sweep_finds_the_runs_of_the_earlier_one(server: Server) -> None:
    store = Store.open(TrackingConfig(uri=server.store.uri, experiment="resumed"))
    configs = grid()[:3]
    for config, sweep_id in zip(configs, ("first", "second", "other"), strict=True):
        log_run(store, config, record(0.5), sweep_id)
    planned = [{"identity": identity(config), **numbers(config)} for config in configs[:2]]
    store.open_sweep(Manifest("second", "…", "2026-01-02T03:04:05+00:00", planned))
    store.write_view("second")
    state = json.loads(store.client.get_experiment(store.experiment_id).tags[mlflow_view.tag_key()])
    found = store.client.search_runs([store.experiment_id], state["searchFilter"])
    assert {run.data.tags["bnsweep.identity"] for run in found} == {identity(config) for config in configs[:2]}


@pytest.mark.slow
def test_a_password_from_the_environment_is_written_nowhere(server: Server, tmp_path: Path) -> None:
    shown = server.url.replace("//", "//me:***@")
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    here |= {"MLFLOW_TRACKING_URI": shown.replace("***", "hunter2"), "MLFLOW_EXPERIMENT_NAME": "secret"}
    command = [sys.executable, "-m", "bnsweep", "-m", "data=digits", "data.subset=100", "train=smoke", "bn=none,before"]
    said = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, check=True, timeout=300)
    assert said.stdout.splitlines()[:2] == [
        f"tracking.uri: from MLFLOW_TRACKING_URI, {shown}",
        "tracking.experiment: from MLFLOW_EXPERIMENT_NAME, secret",
    ]
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    served = {path: path.read_bytes() for path in Path(server.store.uri[10:]).parent.rglob("*") if path.is_file()}
    assert {"report.html", "report.md", "summary.json", "config.yaml"} <= {path.name for path in written}
    assert {"sweep.json", "config.yaml", "mlflow.db", "log"} <= {path.name for path in served}
    assert [path for path, content in (written | served).items() if b"hunter2" in content] == []
    assert "hunter2" not in said.stdout + said.stderr
    assert "View run" not in said.stdout + said.stderr, "MLflow's own lines, one a run"


def test_a_token_in_a_query_is_in_no_error(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"/\?token=\*\*\*: must be a reachable MLflow server") as caught:
        Store.open(TrackingConfig(f"{server.url}/?token=hunter2"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.slow
def test_files_of_a_server_do_not_stay_on_this_machine(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = Store.open(TrackingConfig(uri=server.url, experiment="read"))
    configs = fill(store, "s")
    assert len(store.load("s").history(["val/accuracy"])) == 3 * len(configs)
    assert [path.name for path in tmp_path.rglob("record.json")] == ["record.json"] * len(configs)
    del store
    gc.collect()
    assert list(tmp_path.iterdir()) == []
