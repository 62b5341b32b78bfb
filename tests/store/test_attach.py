"""A sweep's report is kept with the sweep's own run in MLflow, and never at the cost of anything else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from store_runs import log_run

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import BnConfig
from bnsweep.config.identity import identity, numbers
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import DatasetInfo, RunRecord
from bnsweep.report import report_sweep
from bnsweep.report.frame.figure_files import FigureFiles
from bnsweep.store import view as mlflow_view
from bnsweep.store.client import ClientBackend
from bnsweep.store.connect import client_of
from bnsweep.store.store import Manifest, Store

# MLflow 3.17 declares a relation that sqlalchemy 2.1 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")


@pytest.fixture
def tracking(empty_database: Path, tmp_path: Path) -> TrackingConfig:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(empty_database, home / "mlflow.db")
    return TrackingConfig(uri=f"sqlite:///{home / 'mlflow.db'}")


@pytest.fixture(params=["straight", "public"])
def store(tracking: TrackingConfig, request: pytest.FixtureRequest) -> Store:
    """Written straight into the tables, and through MLflow's public API."""
    store = Store.open(tracking)
    if request.param == "public":
        return replace(store, backend=ClientBackend(store.client, store.experiment_id))
    return store


def swept(store: Store, sweep_id: str = "s", planned: bool = True) -> str:
    """Two arms of two seeds; returns the id of the sweep's own run."""
    configs = [RunConfig(bn=BnConfig(bn), seed=seed) for bn, seed in product(("none", "before"), (0, 1))]
    rows = [{"identity": identity(config), **numbers(config)} for config in configs]
    own = store.open_sweep(Manifest(sweep_id, "…", "2026-01-02T03:04:05+00:00", rows)) if planned else ""
    dataset = DatasetInfo("digits", "0123456789abcdef", "scikit-learn", 1797, 64, 10)
    for i, config in enumerate(configs):
        score = 0.5 + i / 10
        history = {"step": [0.0, 9.0], "epoch": [0.0, 1.0], "val/accuracy": [0.1, score], "val/loss": [2.3, 1.0]}
        summary = {"final_val_accuracy": score, "auc": score / 2}
        record = RunRecord("finished", history=history, summary=summary, seconds=0.1, device="cpu", dataset=dataset)
        log_run(store, config, record, sweep_id)
    if planned:
        store.close_sweep(sweep_id, {"planned": 4}, {})
        store.write_view(sweep_id)
    return own


def files(folder: Path, **texts: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def attached(store: Store, run_id: str) -> dict[str, str]:
    listed = [file.path for file in store.client.list_artifacts(run_id, "report")]
    return {
        path.removeprefix("report/"): Path(store.client.download_artifacts(run_id, path)).read_text(encoding="utf-8")
        for path in listed
    }


def test_the_newest_report_stands_in_place_of_an_earlier_one(store: Store, tmp_path: Path) -> None:
    own = swept(store)
    assert store.attach("s", files(tmp_path / "one", page="old", gone="old"))
    assert attached(store, own) == {"page": "old", "gone": "old"}
    assert store.attach("s", files(tmp_path / "two", page="new", more="new"))
    assert attached(store, own) == {"page": "new", "more": "new"}
    assert {file.path for file in store.client.list_artifacts(own)} == {"sweep.json", "report"}
    folder = tmp_path / "home" / "mlartifacts" / own
    assert [path.name for path in folder.iterdir()] == ["artifacts"], "nothing is left lying beside"


def test_the_comparison_and_the_sweep_are_as_before(store: Store, tmp_path: Path) -> None:
    def shown() -> set[str]:
        state = json.loads(store.client.get_experiment(store.experiment_id).tags[mlflow_view.tag_key()])
        found = store.client.search_runs([store.experiment_id], state["searchFilter"])
        assert {run.data.tags["bnsweep.kind"] for run in found} == {"mean"}
        return {run.info.run_id for run in found}

    own = swept(store)
    before, compared = store.load("s"), shown()
    tags = dict(store.client.get_run(own).data.tags)
    store.attach("s", files(tmp_path / "one", page="new"))
    assert shown() == compared
    after = store.client.get_run(own)
    assert (after.data.tags, after.info.status) == (tags, "FINISHED")
    assert store.load("s").runs.equals(before.runs)


def test_a_sweep_launched_as_one_process_a_run_has_nowhere_to_keep_it(store: Store, tmp_path: Path) -> None:
    swept(store, "apart", planned=False)
    before = set(tmp_path.rglob("*"))
    assert store.attach("apart", []) is False
    assert set(tmp_path.rglob("*")) == before


def test_what_fails_on_the_way_leaves_the_earlier_report(store: Store, tmp_path: Path) -> None:
    own = swept(store)
    store.attach("s", files(tmp_path / "one", page="old"))
    with pytest.raises(ConfigError, match=r"tracking.uri=sqlite.*: must be a store that takes files .*No such file"):
        store.attach("s", [*files(tmp_path / "two", page="new"), tmp_path / "missing"])
    assert attached(store, own) == {"page": "old"}
    assert [path.name for path in (tmp_path / "home" / "mlartifacts" / own).iterdir()] == ["artifacts"]


def test_a_dead_server_is_one_line_and_soon(tmp_path: Path) -> None:
    uri = "http://me:secret@127.0.0.1:9"
    store = Store(uri, "bnsweep", ClientBackend(client_of(uri), "1"))
    with pytest.raises(ConfigError, match=r"^tracking.uri=http://127.0.0.1:9: must be .*Connection refused\)$"):
        store.attach("s", files(tmp_path, page="new"))


def test_the_report_of_a_sweep_is_attached_whole(tracking: TrackingConfig, tmp_path: Path) -> None:
    store = Store.open(tracking)
    own = swept(store)
    out = tmp_path / "report"
    out.mkdir()
    (out / "notes of mine").write_text("not part of a report", encoding="utf-8")
    assert report_sweep(tracking, out=out).html == out / "report.html"
    kept = tmp_path / "home" / "mlartifacts" / own / "artifacts" / "report"
    written = {path.name for path in out.iterdir()} - {"notes of mine"}
    assert {path.name for path in kept.iterdir()} == written
    assert {"report.html", "report.md", "ranking.csv", "summary.json"} <= written
    for name in written:
        assert (kept / name).read_bytes() == (out / name).read_bytes()
    before = (kept / "report.html").read_bytes()
    drawn = report_sweep(tracking, out=tmp_path / "drawn", figures=FigureFiles(("pdf",), ("forest",))).figures
    assert [path.name for path in drawn] == ["forest.pdf"] and drawn[0].parent.name == "figures"
    assert {path.name for path in kept.iterdir()} == written, "figures for a paper stay in their folder"
    report_sweep(tracking, out=tmp_path / "by auc", metric="auc")
    assert (kept / "report.html").read_bytes() == before, "a look by another metric is not the sweep's report"


FULL_DISK = """
import resource, sys
from pathlib import Path
import bnsweep.report, bnsweep.store.encode as encode
from bnsweep.config.run import TrackingConfig

copy = encode.shutil.copyfile
def until_full(*paths):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    return copy(*paths)
encode.shutil.copyfile = until_full
bnsweep.report.report_sweep(TrackingConfig(sys.argv[1]), out=Path(sys.argv[2])).show()
"""


def test_a_full_disk_does_not_lose_the_report(tracking: TrackingConfig, tmp_path: Path) -> None:
    """The disk takes the report, and no more than 2 kB a file from there on."""
    pytest.importorskip("resource")
    own = swept(Store.open(tracking))
    command = [sys.executable, "-c", FULL_DISK, str(tracking.uri), str(tmp_path / "report")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (tmp_path / "report" / "report.html").stat().st_size > 2000
    *_, report, note = said.splitlines()
    assert report == f"Report: {tmp_path / 'report' / 'report.html'}"
    assert note.startswith(f"Not attached to MLflow: tracking.uri={tracking.uri}: must be a store that takes files")
    assert "File too large" in note
    assert not (tmp_path / "home" / "mlartifacts" / own / "artifacts" / "report").exists()
