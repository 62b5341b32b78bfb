"""What is written to MLflow is what comes back, whatever happens in between."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from store_runs import log_run

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import ActivationConfig, BnConfig, LrConfig
from bnsweep.config.identity import identity, numbers
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.config.tree import from_tree
from bnsweep.records import DatasetInfo, RunRecord
from bnsweep.store.backend import NewRun
from bnsweep.store.client import ClientBackend
from bnsweep.store.encode import run_under_way
from bnsweep.store.store import Manifest, Store

# MLflow 3.17 declares a relation that sqlalchemy 2.1 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

EVALUATIONS = 5


@pytest.fixture
def tracking(empty_database: Path, tmp_path: Path) -> TrackingConfig:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return TrackingConfig(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture(params=["straight", "public"])
def store(tracking: TrackingConfig, request: pytest.FixtureRequest) -> Store:
    """Written straight into the tables, and through MLflow's public API."""
    store = Store.open(tracking)
    if request.param == "public":
        return replace(store, backend=ClientBackend(store.client, store.experiment_id))
    return store


def record(score: float = 0.9, status: str = "finished", **changes: Any) -> RunRecord:
    """A run of two hidden layers, with the names that training gives."""
    along = [score * i / (EVALUATIONS - 1) for i in range(EVALUATIONS)]
    history = {"step": [18.0 * i for i in range(EVALUATIONS)], "epoch": [float(i) for i in range(EVALUATIONS)]}
    names = [f"{split}/{metric}" for split, metric in product(("train", "val", "test"), ("loss", "accuracy"))]
    names += [f"layer/{layer}/{metric}" for layer, metric in product((1, 2), ("std", "dead", "grad_weight"))]
    history |= {name: list(along) for name in ("lr", *names)}
    summary = {"final_val_accuracy": score, "final_test_accuracy": score - 0.01, "steps_to_tau": 36.0}
    plain = RunRecord(
        status,
        history=history,
        histograms={"start": [[1] * 60] * 2, "end": [[2] * 60] * 2},
        summary=summary,
        seconds=0.25,
        stack_size=12,
        device="cpu, 2 threads",
        dataset=DatasetInfo("digits", "0123456789abcdef", "scikit-learn", 1797, 64, 10),
    )
    return replace(plain, **changes)


def grid(seeds: int = 2) -> list[RunConfig]:
    factors = product(range(seeds), ("sigmoid", "relu"), ("none", "before"))
    return [RunConfig(activation=ActivationConfig(a), bn=BnConfig(bn), seed=seed) for seed, a, bn in factors]


def manifest(sweep_id: str, configs: list[RunConfig]) -> Manifest:
    planned = [{"identity": identity(config), **numbers(config)} for config in configs]
    return Manifest(sweep_id, "python -m bnsweep -m …", "2026-01-02T03:04:05+00:00", planned)


def mlflow_status(store: Store, run_id: str) -> str:
    return str(store.client.get_run(run_id).info.status)


def test_a_run_comes_back_with_every_number(store: Store) -> None:
    configs = grid(1)
    records = [record(0.5 + i / 10) for i in range(len(configs))]
    store.open_sweep(manifest("s", configs))
    ids = [log_run(store, c, r, "s") for c, r in zip(configs, records, strict=True)]
    frame = store.load("s")
    assert list(frame.runs["run_id"]) == ids
    assert list(frame.runs["status"]) == ["finished"] * len(configs)
    for name in records[0].summary:
        assert list(frame.runs[name]) == [r.summary[name] for r in records]
    assert set(frame.runs["seconds"]) == {0.25}
    names = [name for name in records[0].history if name not in ("step", "epoch")]
    long = frame.history(names)
    assert len(long) == len(configs) * len(names) * EVALUATIONS
    for run_id, kept in zip(ids, records, strict=True):
        for name in names:
            rows = long[(long["run_id"] == run_id) & (long["metric"] == name)]
            assert list(rows["value"]) == kept.history[name]
            assert list(rows["step"]) == kept.history["step"]
            assert list(rows["epoch"]) == kept.history["epoch"]
    assert frame.histograms(ids[:1]) == {ids[0]: records[0].histograms}


def test_factors_come_back_in_their_own_types_and_order(store: Store) -> None:
    configs = grid(1)
    store.open_sweep(manifest("s", configs[::-1]))
    for config in configs:
        log_run(store, config, record(), "s")
    runs = store.load().runs
    assert list(runs["identity"]) == [identity(config) for config in configs[::-1]]
    assert [str(runs[key].dtype) for key in ("activation", "bn", "model.hidden")] == ["str"] * 3
    assert [str(runs[key].dtype) for key in ("lr.value", "bn.eps", "model.dropout")] == ["float64"] * 3
    assert [str(runs[key].dtype) for key in ("seed", "train.epochs")] == ["int64"] * 2
    assert str(runs["bn.affine"].dtype) == "boolean"
    assert list(runs["bn.affine"].isna()) == list(runs["bn"] == "none")


def test_mlflow_itself_shows_each_evaluation_and_the_summary(store: Store) -> None:
    run_id = log_run(store, RunConfig(), record(0.8), "s")
    points = store.client.get_metric_history(run_id, "val/accuracy")
    assert [(m.step, m.value) for m in points] == [(18 * i, 0.8 * i / 4) for i in range(EVALUATIONS)]
    assert len(store.client.get_metric_history(run_id, "layer/2/dead")) == EVALUATIONS
    assert store.client.get_run(run_id).data.metrics["final_val_accuracy"] == 0.8


def test_runs_are_flat_siblings_that_say_where_they_come_from(store: Store) -> None:
    config = RunConfig(activation=ActivationConfig("relu"), bn=BnConfig("before"), seed=3)
    run = store.client.get_run(log_run(store, config, record(), "s"))
    tags = run.data.tags
    assert run.info.run_name == "relu xavier lr=0.1 bn=before seed=3"
    assert "mlflow.parentRunId" not in tags
    assert (tags["bnsweep.kind"], tags["bnsweep.sweep_id"], tags["bnsweep.status"]) == ("run", "s", "finished")
    assert tags["bnsweep.identity"] == identity(config)
    assert tags["bnsweep.device"] == "cpu, 2 threads"
    assert {"bnsweep.git_commit", "bnsweep.git_dirty", "bnsweep.version.torch"} <= tags.keys()
    assert tags["bnsweep.version.python"].startswith("3.")
    [used] = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", "0123456789abcdef")
    assert json.loads(used.dataset.profile)["samples"] == 1797
    assert run.info.end_time - run.info.start_time == 250


def test_the_resolved_config_is_an_artifact_that_makes_the_same_run(store: Store, tmp_path: Path) -> None:
    config = RunConfig(lr=LrConfig(1e-5), bn=BnConfig("after", eps=1e-8), seed=7)
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"weights")
    run_id = log_run(store, config, record(), "s", model)
    assert {f.path for f in store.client.list_artifacts(run_id)} == {"config.yaml", "record.json", model.name}
    tree = yaml.safe_load(Path(store.client.download_artifacts(run_id, "config.yaml")).read_text(encoding="utf-8"))
    assert tree == json.loads(json.dumps(asdict(config)))
    assert identity(from_tree(tree)) == identity(config)


def test_a_value_has_one_text_however_it_was_typed(store: Store) -> None:
    texts = [
        store.client.get_run(log_run(store, RunConfig(lr=LrConfig(value)), record(), "s")).data.params["lr.value"]
        for value in (1, 1.0)
    ]
    assert texts == ["1.0", "1.0"]


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
def test_a_missing_number_is_missing_and_never_zero(store: Store, hole: float) -> None:
    whole = record()
    whole.history["val/loss"][2] = hole
    run_id = log_run(store, RunConfig(), replace(whole, summary={"auc": hole, "best_step": 18.0}, seconds=hole), "s")
    frame = store.load("s")
    assert frame.runs[["seconds"]].isna().all(axis=None)
    assert "auc" not in frame.runs or frame.runs["auc"].isna().all()
    assert list(frame.runs["best_step"]) == [18.0]
    assert list(frame.history(["val/loss"])["value"].isna()) == [False, False, True, False, False]
    assert len(store.client.get_metric_history(run_id, "val/loss")) == EVALUATIONS - 1
    text = Path(store.client.download_artifacts(run_id, "record.json")).read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text


def test_a_long_history_is_written_in_full(store: Store) -> None:
    steps = [float(i) for i in range(1500)]
    run_id = log_run(store, RunConfig(), record(history={"step": steps, "epoch": steps, "val/accuracy": steps}), "s")
    assert len(store.client.get_metric_history(run_id, "val/accuracy")) == 1500


def test_divergence_is_a_result_and_failure_is_not(store: Store) -> None:
    finished, diverged, failed = grid(1)[:3]
    log_run(store, finished, record(), "s")
    log_run(store, diverged, record(0.1, "diverged", reason="loss is nan at step 5", diverged_step=5), "s")
    broken = log_run(store, failed, RunRecord("failed", "RuntimeError: out of memory"), "s")
    done = store.done()
    assert {key: run.status for key, run in done.items()} == {
        identity(finished): "finished",
        identity(diverged): "diverged",
    }
    assert done[identity(finished)].summary["final_val_accuracy"] == 0.9
    assert store.done([identity(finished), identity(failed)]) == {identity(finished): done[identity(finished)]}
    assert mlflow_status(store, broken) == "FAILED"
    runs = store.load("s").runs.set_index("identity")
    assert runs.loc[identity(failed), "reason"] == "RuntimeError: out of memory"
    assert math.isnan(runs.loc[identity(failed), "final_val_accuracy"])
    assert runs.loc[identity(diverged), "diverged_step"] == 5


def test_a_stopped_run_is_kept_with_its_curves_and_is_not_done(store: Store) -> None:
    config = RunConfig()
    why = "stopped at step 72 of 200: no better validation accuracy since step 18"
    run_id = log_run(store, config, record(0.5, "stopped", reason=why, stopped_step=72), "s")
    assert mlflow_status(store, run_id) == "FINISHED"
    assert store.client.get_run(run_id).data.tags["bnsweep.status"] == "stopped"
    frame = store.load("s")
    (row,) = frame.runs.to_dict("records")
    assert (row["status"], row["reason"], row["stopped_step"]) == ("stopped", why, 72)
    assert row["final_val_accuracy"] == 0.5
    assert list(frame.history(["val/accuracy"])["step"]) == [0, 18, 36, 54, 72]
    assert store.done() == {}


@pytest.mark.parametrize(("first", "second"), [("finished", "stopped"), ("stopped", "diverged"), ("stopped", "failed")])
def test_a_run_that_got_further_counts_whichever_is_the_newer(store: Store, first: str, second: str) -> None:
    config, best = RunConfig(), first if second == "failed" else "finished" if first == "finished" else second
    for status in (first, second, first):
        log_run(store, config, RunRecord("failed", "disk full") if status == "failed" else record(0.5, status), "s")
        time.sleep(0.01)
    store.open_sweep(replace(manifest("all", [config]), strategy="plateau"))
    assert list(store.load("all").runs["status"]) == [best]


def test_what_another_sweep_stopped_is_missing_in_one_that_stops_nothing(store: Store) -> None:
    configs = grid()[:2]
    log_run(store, configs[0], record(0.5, "stopped"), "first")
    log_run(store, configs[1], record(0.5), "first")
    for strategy, status in (("none", "missing"), ("plateau", "stopped")):
        store.open_sweep(replace(manifest(strategy, configs), strategy=strategy))
        assert list(store.load(strategy).runs["status"]) == [status, "finished"]


def test_the_plan_says_what_is_missing(store: Store) -> None:
    configs = grid()
    store.open_sweep(manifest("s", configs))
    log_run(store, configs[0], record(), "s")
    runs = store.load("s").runs
    assert list(runs["status"]) == ["finished", *["missing"] * (len(configs) - 1)]
    assert set(runs["run_id"][1:]) == {""}
    assert runs["final_val_accuracy"][1:].isna().all()


def test_a_resumed_sweep_owns_the_runs_that_an_earlier_one_trained(store: Store) -> None:
    configs = grid()
    for config in configs[:5]:
        log_run(store, config, record(0.5), "first")
    store.open_sweep(manifest("second", configs))
    for config in configs[5:]:
        log_run(store, config, record(0.6), "second")
    frame = store.load("latest")
    assert frame.info.sweep == "second"
    assert list(frame.runs["final_val_accuracy"]) == [0.5] * 5 + [0.6] * 3


def test_the_newest_result_counts_and_a_later_failure_does_not_undo_it(store: Store) -> None:
    config = RunConfig()
    log_run(store, config, record(0.5), "first")
    time.sleep(0.01)
    newest = log_run(store, config, record(0.6), "second")
    time.sleep(0.01)
    log_run(store, config, RunRecord("failed", "disk full"), "third")
    store.open_sweep(manifest("all", [config]))
    assert list(store.load("all").runs["run_id"]) == [newest]
    assert store.done()[identity(config)].run_id == newest


def test_runs_launched_one_a_process_make_the_same_frame_without_a_plan(store: Store) -> None:
    configs = grid()
    for i, config in enumerate(configs):
        log_run(store, config, record(i / 10), "apart")
        time.sleep(0.002)
    apart = store.load("apart")
    store.open_sweep(manifest("together", configs))
    together = store.load("together")
    assert apart.info.sweep == "apart"
    assert apart.info.versions == together.info.versions
    columns = list(together.runs.columns)
    assert set(columns) == set(apart.runs.columns)
    left = apart.runs[columns].set_index("identity")
    right = together.runs.set_index("identity")
    assert left.loc[right.index].equals(right)


def test_latest_is_the_newest_sweep_with_or_without_a_plan(store: Store) -> None:
    config = RunConfig()
    store.open_sweep(manifest("planned", [config]))
    log_run(store, config, record(), "planned")
    assert store.load().info.sweep == "planned"
    time.sleep(0.3)
    log_run(store, RunConfig(seed=1), record(), "single")
    assert store.load().info.sweep == "single"


def test_a_sweep_is_running_until_it_is_closed(store: Store) -> None:
    config = RunConfig()
    own = store.open_sweep(manifest("s", [config]))
    log_run(store, config, record(), "s")
    assert mlflow_status(store, own) == "RUNNING"
    assert store.load("s").info.closed is False
    store.close_sweep("s", {"planned": 1, "finished": 1}, {"training": 1.5})
    assert mlflow_status(store, own) == "FINISHED"
    info = store.load("s").info
    assert (info.ledger, info.seconds) == ({"planned": 1, "finished": 1}, {"training": 1.5})
    assert info.closed is True
    assert (info.command, info.created) == ("python -m bnsweep -m …", "2026-01-02T03:04:05+00:00")
    assert info.data[0]["samples"] == 1797
    assert info.hardware
    assert info.devices == ["cpu, 2 threads"]


class Interrupting(dict[str, str]):
    def items(self) -> Any:
        raise KeyboardInterrupt


def new_run(**changes: Any) -> NewRun:
    tags = {"bnsweep.kind": "run", "bnsweep.identity": "a", "bnsweep.status": "finished"}
    return replace(NewRun("name", "FINISHED", 1000, 2000, tags), **changes)


@pytest.mark.parametrize(
    "changes", [{"params": Interrupting()}, {"texts": Interrupting()}], ids=["params", "artifacts"]
)
def test_ctrl_c_while_a_run_is_written_leaves_none_that_counts(store: Store, changes: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.backend.create([new_run(**changes)])
    assert {run.info.status for run in store.client.search_runs([store.experiment_id])} <= {"KILLED"}
    assert store.done() == {}


def test_ctrl_c_before_the_id_is_known_leaves_no_run_running(tracking: TrackingConfig) -> None:
    store = Store.open(tracking)

    class Client:
        def create_run(self, *arguments: Any) -> None:
            store.client.create_run(*arguments)
            raise KeyboardInterrupt

        def __getattr__(self, name: str) -> Any:
            return getattr(store.client, name)

    with pytest.raises(KeyboardInterrupt):
        ClientBackend(Client(), store.experiment_id).create([new_run()])  # type: ignore[arg-type]
    assert [run.info.status for run in store.client.search_runs([store.experiment_id])] == ["KILLED"]


def test_an_error_while_a_run_is_written_leaves_none_that_counts(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        log_run(store, RunConfig(), record(), "s", tmp_path / "no model")
    assert {run.info.status for run in store.client.search_runs([store.experiment_id])} <= {"KILLED"}
    assert store.done() == {}


def test_leftovers_of_a_killed_process_are_set_to_killed(store: Store) -> None:
    config = RunConfig()
    dead, other = store.backend.create([run_under_way(config, sweep, 1, 1000) for sweep in ("dead", "other")])
    own = store.open_sweep(manifest("dead", [config]))
    assert store.mark_stale(lambda: {"other"}) == 1
    assert [mlflow_status(store, run_id) for run_id in (dead, other, own)] == ["KILLED", "RUNNING", "KILLED"]
    assert [run.tags["bnsweep.status"] for run in store.backend.runs("run", "KILLED")] == ["killed"]
    assert store.mark_stale(lambda: {"other"}) == 0


def test_nothing_is_scattered(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(empty_database, home / "mlflow.db")
    monkeypatch.chdir(home)
    store = Store.open(TrackingConfig())
    assert store.uri == f"sqlite:///{home}/mlflow.db"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    log_run(store, RunConfig(), record(), "s")
    assert list(elsewhere.iterdir()) == []
    assert {path.name for path in home.iterdir()} == {"mlflow.db", "mlflow.db.lock", "mlartifacts"}
    assert store.load("s").histograms(store.load("s").runs["run_id"])


def test_looking_writes_nothing(tmp_path: Path, tracking: TrackingConfig) -> None:
    missing = TrackingConfig(uri=f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}")
    with pytest.raises(ConfigError, match="must be an existing database here"):
        Store.open(missing, create=False)
    with pytest.raises(ConfigError, match=r"tracking.experiment=absent: must be one of .*of the fixture"):
        Store.open(replace(tracking, experiment="absent"), create=False)
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db"}


def text_file(folder: Path) -> str:
    (folder / "notes.db").write_text("this is no database at all", encoding="utf-8")
    return f"sqlite:///{folder / 'notes.db'}"


def truncated_database(folder: Path) -> str:
    (folder / "short.db").write_bytes(b"SQLite format 3\0" + b"\x10\x00\x01\x01\x00" + b"\xff" * 300)
    return f"sqlite:///{folder / 'short.db'}"


def foreign_database(folder: Path) -> str:
    import sqlite3

    db = sqlite3.connect(folder / "other.db")
    db.execute("create table customers (name text)")
    db.commit()
    db.close()
    return f"sqlite:///{folder / 'other.db'}"


def below_a_file(folder: Path) -> str:
    (folder / "file").touch()
    return f"sqlite:///{folder / 'file' / 'mlflow.db'}"


BAD_URIS: list[tuple[Callable[[Path], str], str]] = [
    (text_file, "must be a sqlite database; this file is something else"),
    (truncated_database, "must be a readable sqlite database"),
    (foreign_database, "must be a database of MLflow; this one holds other tables"),
    (below_a_file, "must be in a folder that can be made"),
    (lambda folder: str(folder / "mlruns"), r"must be sqlite:///PATH, .* or http\(s\)://…"),
    (lambda folder: f"file://{folder}/mlruns", "MLflow has given up folders as stores"),
    (lambda folder: "sqlite://", "with the path of a file"),
    (lambda folder: "sqlite:///:memory:", "with the path of a file"),
    (lambda folder: "http://127.0.0.1:9", r"must be a reachable MLflow server \(.*Connection refused"),
]


@pytest.mark.parametrize(("make", "says"), BAD_URIS, ids=[says[:40] for _, says in BAD_URIS])
def test_a_store_that_cannot_be_used_is_one_clear_line(tmp_path: Path, make: Callable[[Path], str], says: str) -> None:
    uri = make(tmp_path)
    before = {path: path.stat().st_size for path in tmp_path.iterdir()}
    started = time.monotonic()
    with pytest.raises(ConfigError, match=says) as caught:
        Store.open(TrackingConfig(uri=uri))
    assert str(caught.value).startswith(f"tracking.uri={uri}: ")
    assert "\n" not in str(caught.value)
    assert {path: path.stat().st_size for path in tmp_path.iterdir()} == before
    assert time.monotonic() - started < 30


def test_a_deleted_experiment_is_said_to_be_deleted(tracking: TrackingConfig) -> None:
    store = Store.open(tracking)
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(ConfigError, match=r"tracking.experiment=bnsweep: must be an experiment that is not deleted"):
        Store.open(tracking)


def test_unknown_and_empty_sweeps_are_one_clear_line(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"sweep=latest: .* in bnsweep .*none yet"):
        store.load()
    store.open_sweep(manifest("planned", grid(1)))
    with pytest.raises(ConfigError, match="sweep=planned: must be one with at least one run that ended"):
        store.load("planned")
    with pytest.raises(ConfigError, match=r"sweep=it's: must be latest or the id .* \(the newest: planned\)"):
        store.load("it's")


@pytest.mark.slow
def test_processes_that_start_together_share_one_fresh_database(tmp_path: Path) -> None:
    code = "import sys; from bnsweep.store.store import *; from bnsweep.config.run import *; "
    code += "from bnsweep.records import *; "
    code += "s = Store.open(TrackingConfig(uri=sys.argv[1])); "
    code += "record = RunRecord('finished', history={'step': []}); "
    code += "s.log_runs([(RunConfig(seed=int(sys.argv[2])), record, None)], 's')"
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    processes = [subprocess.Popen([sys.executable, "-c", code, uri, str(i)]) for i in range(4)]
    assert [process.wait(180) for process in processes] == [0] * 4
    assert len(Store.open(TrackingConfig(uri=uri), create=False).done()) == 4
