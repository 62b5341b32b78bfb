"""What no store takes is kept on disk as it is, and logged by the same command."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import DatasetInfo, RunRecord
from bnsweep.store.backend import NewRun
from bnsweep.store.encode import new_run, run_under_way
from bnsweep.store.kept import KeptRuns
from bnsweep.store.store import Store


def trained(seed: int, folder: Path | None = None) -> NewRun:
    record = RunRecord(
        "finished",
        history={"step": [0.0, 9.0], "epoch": [0.0, 1.0], "val/loss": [0.1 + 0.2, math.nan]},
        summary={"final_val_accuracy": 1 / 3, "auc": math.inf},
        seconds=0.1,
        dataset=DatasetInfo("digits", "0123456789abcdef", "scikit-learn", 1797, 64, 10),
    )
    model = folder / "model.safetensors" if folder else None
    if model is not None:
        model.write_bytes(b"weights")
    return new_run(RunConfig(seed=seed), record, "s", model, ended=1_700_000_000_000)


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = KeptRuns(tmp_path / "kept-runs", "http://host", "mine")
    run = trained(0, tmp_path)
    place = kept.add(run)
    assert kept.add(run) == place, "once"
    ((folder, back),) = kept
    assert replace(back, files=()) == replace(run, files=())
    assert [file.read_bytes() for file in back.files] == [b"weights"]
    assert list(replace(kept, experiment="another")) == list(replace(kept, uri="http://another")) == []
    kept.remove(folder)
    assert not kept.folder.exists()


def test_a_network_is_kept_in_both_of_its_forms(tmp_path: Path) -> None:
    kept = KeptRuns(tmp_path / "kept-runs", "http://host", "mine")
    (tmp_path / "model/data").mkdir(parents=True)
    (tmp_path / "model/data/model.pth").write_bytes(b"pickle")
    run = trained(0, tmp_path)
    assert '"artifact_path": "model"' in run.tags["mlflow.log-model.history"]
    kept.add(run)
    ((_, back),) = kept
    file, folder = back.files
    assert file.read_bytes() == b"weights" and (folder / "data/model.pth").read_bytes() == b"pickle"
    assert "mlflow.log-model.history" not in trained(1).tags


def test_a_kept_run_that_was_under_way_is_logged_once(
    empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process was killed before the store took the whole run, and nobody has ended what it left RUNNING."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    store, config = Store.open(TrackingConfig(f"sqlite:///{tmp_path / 'mlflow.db'}")), RunConfig()
    (half,) = store.backend.create([run_under_way(config, "s", 1, 1000)])
    store.kept.add(new_run(config, RunRecord("finished"), "s", ended=9000, started=1000))
    assert store.log_kept({identity(config)}, ()) == 1
    assert {run.run_id == half: run.status for run in store.backend.runs("run")} == {True: "KILLED", False: "FINISHED"}


def test_what_cannot_be_kept_leaves_nothing(tmp_path: Path) -> None:
    kept = KeptRuns(tmp_path / "kept-runs", "http://host", "mine")
    with pytest.raises(FileNotFoundError):
        kept.add(replace(trained(0), files=[tmp_path / "no such model"]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"uri": "u", "experiment": "e", "run": {"name": 3}}'])
def test_a_file_that_is_no_kept_run_is_said_and_left(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/run.json").write_text(text)
    assert list(KeptRuns(tmp_path, "u", "e")) == []
    assert "run.json: must be a kept run; left as it is" in capsys.readouterr().out
    assert (tmp_path / "x/run.json").read_text() == text


def test_kept_runs_are_logged_once(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    store = Store.open(TrackingConfig())
    names = [identity(RunConfig(seed=seed)) for seed in range(4)]
    for seed in range(3):
        store.kept.add(trained(seed))
    store.patient.create([trained(0)])  # taken by the store, and the process was killed before it could know
    (store.kept.folder / f".{names[1]}-5").mkdir()  # it was killed as it wrote this one
    assert store.log_kept(names[:2], ()) == 2
    assert sorted(store.done()) == sorted(names[:2])
    assert len(store.backend.runs("run")) == 2
    assert store.log_kept((), names[2:]) == 0
    assert not store.kept.folder.exists(), "what was done elsewhere meanwhile is not logged"
