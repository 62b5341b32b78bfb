"""A sweep from Python is the sweep of a command: the same runs, the same store, the same report."""

from __future__ import annotations

import logging
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from PIL import Image

import bnsweep
from bnsweep.api.compose import composed, settings_of
from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {"bn": ["none", "before"], "lr": [0.03, 0.3], "seed": range(2), "epochs": 1, "workers": 1}
X = np.random.default_rng(0).normal(size=(200, 5))
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> Path:
    """A folder with a store."""
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def memory() -> bnsweep.Result:
    """A sweep that is kept in memory alone."""
    return bnsweep.sweep(**SMALL, track=False)


def test_importing_costs_nothing_and_names_what_there_is() -> None:
    code = (
        "import sys, bnsweep; print(sorted({'torch', 'mlflow', 'hydra', 'pandas'} & {*sys.modules}), bnsweep.__all__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout == "[] ['ConfigError', 'Interrupted', 'Result', 'load', 'sweep']\n"
    assert {"sweep", "load"} <= {*dir(bnsweep)}
    with pytest.raises(AttributeError, match=r"module 'bnsweep' has no attribute 'sweeep' \(there are ConfigError, "):
        bnsweep.sweeep  # noqa: B018


def texts_of(command: str) -> list[str]:
    """The settings of a command line."""
    return shlex.split(command)[4:]


def test_the_command_that_is_told_trains_the_same_runs(memory: bnsweep.Result) -> None:
    assert memory.command == "python -m bnsweep -m bn=none,before lr.value=0.03,0.3 'seed=range(0,2)' train.epochs=1"
    runs = [run for run in composed(texts_of(memory.command), ()) if isinstance(run, RunConfig)]
    assert [identity(run) for run in runs] == memory.runs["identity"].tolist()


def test_the_store_is_that_of_a_command_and_nothing_is_trained_twice(
    here: Path, memory: bnsweep.Result, capsys: pytest.CaptureFixture[str]
) -> None:
    first = bnsweep.sweep(**SMALL)
    assert "8 trained now" in capsys.readouterr().out
    again = bnsweep.sweep(**SMALL)
    assert "8 already done, 0 left" in capsys.readouterr().out
    assert first.runs["identity"].tolist() == again.runs["identity"].tolist() == memory.runs["identity"].tolist()
    loaded = bnsweep.load()
    columns = ["arm", "score", "rank", "test_accuracy"]
    for one in (again, loaded):
        pd.testing.assert_frame_equal(one.ranking[columns], memory.ranking[columns])
    assert loaded.command == memory.command
    assert {path.name for path in here.iterdir()} == {"mlflow.db", "mlflow.db.lock", "mlartifacts"}


def test_what_is_not_tracked_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bnsweep.sweep(seed=0, epochs=1, track=False)
    assert list(tmp_path.iterdir()) == []


def test_runs_and_histories_are_tidy(memory: bnsweep.Result) -> None:
    runs = memory.runs
    assert (
        runs["status"].tolist() == ["finished"] * 8 and runs["bn"].tolist() == ["none", "none", "before", "before"] * 2
    )
    assert runs.attrs["titles"]["final_val_accuracy"] == "final validation accuracy"
    history = memory.history()
    assert list(history.columns) == ["run_id", "step", "epoch", "metric", "value", "lr.value", "bn", "seed"]
    assert set(history["metric"]) == {f"{s}/{k}" for s in ("train", "val", "test") for k in ("loss", "accuracy")}
    last = history[(history["metric"] == "val/accuracy") & (history["step"] == history["step"].max())]
    merged = last.merge(runs, on="run_id")
    assert merged["value"].tolist() == merged["final_val_accuracy"].tolist()
    assert set(memory.history("layer/*/std")["metric"]) == {"layer/1/std", "layer/2/std"}
    with pytest.raises(ValueError, match=r"^metrics=val/acuracy: must be one that these runs have: "):
        memory.history(["val/acuracy"])


def test_a_change_of_a_table_changes_no_other(memory: bnsweep.Result) -> None:
    runs, ranking = memory.runs, memory.ranking
    runs["status"], ranking["arm"] = "lost", "x"
    assert set(memory.runs["status"]) == {"finished"} and "x" not in set(memory.ranking["arm"])


def test_figures_are_found_by_name(memory: bnsweep.Result) -> None:
    figure = memory.plot("flow")
    png = figure._repr_png_()  # type: ignore[attr-defined]
    assert png[:4] == b"\x89PNG"
    assert figure.axes[0].get_ylabel()
    import matplotlib
    from matplotlib.rcsetup import cycler

    with matplotlib.rc_context({"axes.prop_cycle": cycler(color=["red"]), "font.size": 30}):
        assert memory.plot("flow")._repr_png_() == png  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"^plot=nothing: must be one of the figures of this sweep: forest \(Arms at"):
        memory.plot("nothing")


def test_the_report_is_the_one_of_a_command(memory: bnsweep.Result, tmp_path: Path) -> None:
    report = memory.report(tmp_path / "out", figures="svg", only="flow")
    assert [path.relative_to(tmp_path).as_posix() for path in report.figures] == ["out/figures/gradients.svg"]
    assert report.answer == memory.answer and report.html.is_file()
    read = pd.read_csv(report.file("ranking.csv"))
    assert read["arm"].tolist() == memory.ranking["arm"].tolist()
    assert len(pd.read_csv(report.file("claims.csv"))) == len(memory.claims)
    assert len(pd.read_csv(report.file("factors.csv"))) == len(memory.factors)


def test_a_result_shows_its_first_screen(memory: bnsweep.Result) -> None:
    assert memory.answer.split(",")[0] in str(memory).replace("\n", " ")
    assert memory._repr_html_().startswith("<pre>Sweep ")


def test_a_trained_network_comes_back(memory: bnsweep.Result, here: Path) -> None:
    row = memory.runs.iloc[3]
    model = memory.model(row)
    from bnsweep.data.dataset import load
    from bnsweep.data.splits import split

    config = memory.configs[row["identity"]]
    digits = load(config.data)
    rows = split(digits, config.data, config.data_seed).validation
    accuracy = (model(digits.x_ND[rows]).argmax(1) == digits.y_N[rows]).double().mean().item()
    assert not model.training and accuracy == pytest.approx(row["final_val_accuracy"])
    with pytest.raises(ValueError, match=r"^run=nobody: must be a run_id or an identity of this sweep"):
        memory.model("nobody")
    kept = bnsweep.sweep(seed=0, epochs=1, keep_models=True)
    states = [result.model(result.runs["run_id"][0]).state_dict() for result in (kept, bnsweep.load())]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    without = bnsweep.sweep(seed=1, epochs=1)
    with pytest.raises(ValueError, match=r"must be one whose network was kept \(keep_models=True keeps it\)$"):
        without.model(without.runs["run_id"][0])


def test_a_network_comes_back_whatever_it_was_trained_on(here: Path) -> None:
    np.savez("mine.npz", x=X, y=Y)
    one: dict[str, Any] = {"epochs": 1, "keep_models": True, "workers": 1}
    given = bnsweep.sweep(data=(X, Y), **one)
    assert given.model(0)(torch.zeros(2, 5)).shape == (2, 2)
    with pytest.raises(ValueError, match=r": must be one on data in a file; of data that were in memory, the result"):
        bnsweep.load().model(0)
    bnsweep.sweep(data="mine.npz", rerun=True, **one)
    loaded = bnsweep.load()
    assert loaded.model(0)(torch.zeros(2, 5)).shape == (2, 2)
    np.savez("mine.npz", x=X[:, :4], y=Y)
    with pytest.raises(
        ValueError, match=r"^run=\w+: must be one on data that are still the same; data=arrays changed$"
    ):
        loaded.model(0)


def test_a_table_is_read_anew_where_it_is_standardised() -> None:
    one: dict[str, Any] = {"target": "y", "epochs": 1, "track": False, "workers": 1}
    table = pd.DataFrame(X, columns=list("abcde")).assign(y=Y)
    swept = bnsweep.sweep(data=table, standardize=[True, False], **one)
    alone = [bnsweep.sweep(data=table, standardize=flag, **one) for flag in (True, False)]
    assert swept.runs["identity"].tolist() == [result.runs["identity"][0] for result in alone]


def digests(result: bnsweep.Result) -> set[str]:
    return {*result.runs["data.digest"]}


def test_a_folder_is_one_of_images_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("no", "yes"):
        (tmp_path / "my pictures.data" / name).mkdir(parents=True)
        for i in range(30):
            pixels = np.full((4, 4), 3 * i + 100 * (name == "yes"), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "my pictures.data" / name / f"{i}.png")
    size = {"data.size": [2, 2]}
    found = bnsweep.sweep(data="my pictures.data", seed=0, epochs=1, track=False, overrides=size)
    assert "data=images 'data.root=my pictures.data' train.epochs=1 'data.size=[2,2]'" in found.command


def test_data_in_memory_are_those_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one: dict[str, Any] = {"seed": 0, "epochs": 1, "track": False}
    np.savez("mine.npz", x=X, y=Y)
    table = pd.DataFrame(X, columns=list("abcde")).assign(y=Y)
    table.to_csv("mine.csv", index=False)
    file = bnsweep.sweep(data="mine.npz", **one)
    for given in ((X, Y), [X.tolist(), Y.tolist()], (torch.tensor(X), torch.tensor(Y))):
        found = bnsweep.sweep(data=given, **one)
        assert found.runs["identity"].tolist() == file.runs["identity"].tolist()
    dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    assert bnsweep.sweep(data=dataset, **one).runs["identity"].tolist() == file.runs["identity"].tolist()
    assert found.command.splitlines() == [
        "numpy.savez('data.npz', x=x, y=y)  # and then",
        "python -m bnsweep -m seed=0 data=arrays data.file=data.npz train.epochs=1",
    ]
    columns = bnsweep.sweep(data=table, target="y", **one)
    assert (
        columns.runs["identity"].tolist() == bnsweep.sweep(data="mine.csv", target="y", **one).runs["identity"].tolist()
    )
    assert digests(columns) != digests(file)


def test_a_regression_has_its_own_numbers() -> None:
    found = bnsweep.sweep(data=(X, X[:, 0]), task="regression", seed=range(2), epochs=2, track=False, workers=1)
    assert "final_val_r2" in found.runs and "final_val_accuracy" not in found.runs
    assert set(found.history()["metric"]) == {f"{s}/{k}" for s in ("train", "val", "test") for k in ("loss", "r2")}


def test_cells_are_left_out_and_zipped(capsys: pytest.CaptureFixture[str]) -> None:
    one: dict[str, Any] = {"epochs": 1, "track": False, "workers": 1}
    found = bnsweep.sweep(bn=["none", "before"], init=["he", "xavier"], exclude=[{"bn": "none", "init": "he"}], **one)
    assert "exclude leaves out 1 of 4 runs" in capsys.readouterr().out and len(found.runs) == 3
    assert texts_of(found.command)[-1] == "sweep.exclude=[{bn:none,init:he}]"
    zipped = bnsweep.sweep(
        lr=[0.1, 0.2], overrides={"train.batch_size": [32, 64]}, zipped=[["lr.value", "train.batch_size"]], **one
    )
    assert zipped.runs[["lr.value", "train.batch_size"]].to_numpy().tolist() == [[0.1, 32], [0.2, 64]]
    skipped = bnsweep.sweep(init=["he", "normal"], overrides={"init.std": 0.1}, invalid="skip", **one)
    assert skipped.runs["init"].tolist() == ["normal"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"bn": "non"}, "Could not find 'bn/non'"),
        ({"lrr": 1}, r"^lrr: must be an argument of sweep\(\) \(did you mean lr\?\)$"),
        ({"overrides": {"model.hiden": [1]}}, r"^model.hiden: no such setting \(did you mean model.hidden"),
        ({"overrides": {"lr": 1}, "lr": 2}, r"^overrides=\['lr'\]: must be without lr, which has an argument"),
        ({"overrides": {"sweep.report": "x"}}, r"^sweep.report: must be given by the argument of sweep\(\)"),
        ({"data": "x.npz"}, r"^data.file=x.npz: must be a readable file"),
        ({"data": "digit"}, r"^data=digit: must be the name of a dataset, .*; names: digits, "),
        ({"data": 3}, r"^data: must be the name of a dataset, .* gives int\)$"),
        ({"data": (X, 0 * Y)}, r"^data: y must hold labels of at least two classes, holds 0 alone$"),
        ({"lr": -1}, r"^lr.value=-1: must be a finite number > 0$|^lr.value=-1.0: must be"),
        ({"lr": [0.1, "small"]}, r"^lr=0.1: must be numbers or names of choices, not both$"),
        ({"bn": 1}, r"^bn=1: must be the name of a choice$"),
        ({"bn": []}, r"^bn: must have a value, has none \(an empty list\)$"),
        ({"seed": [0, 0.5]}, "seed"),
        (
            {"overrides": {"bn.eps": object()}},
            r"^bn.eps: must be a number, a text, true or false, or a list of them, is object$",
        ),
        ({"init": ["he", "normal"], "overrides": {"init.std": 0.1}}, r"; invalid='skip' leaves such runs out$"),
        ({"overrides": "x"}, r"^overrides=x: must be settings with their values, as in "),
        ({"overrides": {3: 1}}, r"^overrides={3: 1}: must be settings with their values, as in "),
        (
            {"overrides": {"model.hidden": [32, [32]]}},
            r"^model.hidden=\[32, \[32\]\]: must be one list, .* or a list of",
        ),
        ({"overrides": {"sweep.invalid": "skip"}}, r"^sweep.invalid: must be given by the argument of sweep\(\)"),
        ({"epochs": [[1]]}, r"^train.epochs=\[\[1\]\]: must be a value, or a list of values to sweep over$"),
        ({"bn": {"none", "before"}}, r"^bn: must be a value or a list of values, which has an order, is set$"),
        ({"lr": 10**400}, r"^OverflowError: int too large to convert to float"),
        ({"workers": "2"}, r"^workers='2': must be a number of processes, 1 or more$"),
        ({"workers": 0}, r"^workers=0: must be a number of processes, 1 or more$"),
        ({"seed": "auto", "max_seeds": "9"}, r"^max_seeds='9': must be a number of seeds, 1 or more$"),
        ({"seed": "auto", "max_seeds": 5}, r"^sweep.max_seeds=5: must be 6 or more: fewer seeds decide no claim$"),
        ({"seed": [0, 1], "max_seeds": 9}, r"^max_seeds=9: must be left out where seed is not 'auto'$"),
        ({"seed": "auto", "track": False}, r"^seed=auto: must be a seed, or seeds: .* this grid asks no claim"),
        ({"seed": "auto"}, r"^seed=auto: must be a seed, or seeds: .* this grid asks no claim"),
        ({"track": "no"}, r"^track='no': must be True or False$"),
        ({"keep_models": 1}, r"^keep_models=1: must be True or False$"),
        ({"invalid": "skp"}, r"^invalid=skp: must be one of refuse, skip$"),
        ({"metric": "accuracy"}, r"^metric=accuracy: must be one of final_val_accuracy, "),
        (
            {"metric": "final_val_r2"},
            r"^metric=final_val_r2: must be one of final_val_accuracy, .* in a classification",
        ),
        ({"tracking_uri": "x", "track": False}, r"^tracking_uri=x: must be left out with track=False"),
        ({"exclude": "bn"}, r"^sweep.exclude=\[bn\]: must be settings with their values"),
        ({"exclude": [{"bn": "before"}]}, r"^sweep.exclude=\[.*\]: must leave a run of the sweep, matches all 1$"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    given: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=says) as raised:
        bnsweep.sweep(**given)
    assert isinstance(raised.value, bnsweep.ConfigError) and "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


AUTO: dict[str, Any] = {"bn": ["before", "after"], "seed": "auto", "max_seeds": 10, "epochs": 1, "workers": 1}


def test_seeds_are_added_until_the_claims_are_decided(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    memory = bnsweep.sweep(**AUTO, track=False)
    *_, last = [line for line in capsys.readouterr().out.splitlines() if " claims decided" in line]
    seeds = int(last.split()[0])
    assert seeds in (8, 10) and memory.runs["seed"].tolist() == [seed for seed in range(seeds) for _ in (0, 1)]
    assert [look.seeds for look in memory.frame.info.looks] == [8, 10]
    stored = bnsweep.sweep(**AUTO)
    assert stored.runs["identity"].tolist() == memory.runs["identity"].tolist()
    assert stored.claims["verdict"].tolist() == memory.claims["verdict"].tolist()
    assert stored.command.endswith("seed=auto train.epochs=1 sweep.max_seeds=10")
    assert bnsweep.load().claims["verdict"].tolist() == stored.claims["verdict"].tolist()


def test_exclude_and_zipped_know_the_names_of_arguments() -> None:
    one: dict[str, Any] = {"track": False, "workers": 1}
    found = bnsweep.sweep(lr=[0.1, 0.2], epochs=[1, 2], exclude={"lr": 0.1, "epochs": 2}, **one)
    assert found.runs[["lr.value", "train.epochs"]].to_numpy().tolist() == [[0.1, 1], [0.2, 1], [0.2, 2]]
    zipped = bnsweep.sweep(lr=[0.1, 0.2], epochs=[1, 2], zipped=["lr", "epochs"], **one)
    assert zipped.runs[["lr.value", "train.epochs"]].to_numpy().tolist() == [[0.1, 1], [0.2, 2]]


def test_lists_are_swept_but_for_settings_that_are_lists() -> None:
    assert settings_of({"model.hidden": [32, 32]}) == ["model.hidden=[32,32]"]
    assert settings_of({"model.hidden": [[32], [64, 64]]}) == ["model.hidden=[32],[64,64]"]
    assert settings_of({"model": {"hidden": (8,), "dropout": [0, 0.5]}}) == ["model.hidden=[8]", "model.dropout=0,0.5"]
    assert settings_of({"lr": np.array([0.1, 1])}) == ["lr.value=0.1,1.0"]
    assert settings_of({"lr": ["small", "large"], "seed": range(0, 6, 2)}) == ["lr=small,large", "seed=range(0,6,2)"]
    assert settings_of({"lr": torch.tensor(0.5), "seed": pd.Series([0, 1])}) == ["lr.value=0.5", "seed=0,1"]
    assert settings_of({"model.hidden": range(8, 10)}) == ["model.hidden=[8,9]"]
    assert settings_of({"model.hidden": [np.array([8]), np.array([4, 4])]}) == ["model.hidden=[8],[4,4]"]
    own = "torch.nn.functional:mish"
    assert settings_of({"activation": ["relu", own], "init": "he"}) == [f"activation.name=relu,{own}", "init=he"]
    assert settings_of({"data.subset": None}) == ["data.subset=null"]
    assert settings_of({"data.root": "my, data", "model.bias": False}) == ['data.root="my, data"', "model.bias=false"]


@pytest.fixture
def fresh_environment() -> Iterator[None]:
    """Without what other tests' stores left in it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        yield


@pytest.fixture
def state(fresh_environment: None) -> Iterator[None]:
    """What a call must leave as it was."""

    def now() -> tuple[Any, ...]:
        threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        logs = [(handler, *handler.filters) for handler in logging.root.handlers]
        return (
            logs,
            threads,
            grad,
            handlers,
            Path.cwd(),
            sys.modules["__main__"],
            GlobalHydra.instance().is_initialized(),
            {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")},
        )

    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before, instances = now(), {*Singleton.get_state()["instances"]}
    yield
    assert now() == before and {*Singleton.get_state()["instances"]} == instances
    assert (random.random(), np.random.random(), torch.rand(1).item()) == (
        random.Random(1).random(),
        np.random.RandomState(1).random(),
        torch.rand(1, generator=torch.Generator().manual_seed(1)).item(),
    )


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize("track", [False, True])
def test_a_call_leaves_the_process_as_it_was(track: bool, here: Path) -> None:
    result = bnsweep.sweep(bn=["none", "before"], epochs=1, track=track, workers=1)
    assert result.answer and len(bnsweep.load().runs if track else result.runs) == 2


def test_a_thread_sweeps_as_well(memory: bnsweep.Result) -> None:
    found: list[bnsweep.Result] = []
    thread = threading.Thread(target=lambda: found.append(bnsweep.sweep(**SMALL, track=False)))
    thread.start()
    thread.join()
    assert found[0].answer == memory.answer


def test_threads_that_sweep_at_once_have_a_sweep_each(here: Path) -> None:
    found: dict[int, bnsweep.Result] = {}

    def sweep(seed: int) -> None:
        found[seed] = bnsweep.sweep(seed=[seed, seed + 10], epochs=1, workers=1)

    threads = [threading.Thread(target=sweep, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {seed: result.runs["seed"].tolist() for seed, result in found.items()} == {s: [s, s + 10] for s in range(3)}


OWN_FIGURES = """
import sys, bnsweep
result = bnsweep.sweep(bn=["none", "before"], epochs=1, track=False, workers=1)
result.plot("forest")
import matplotlib
print("matplotlib.pyplot" in sys.modules, matplotlib.rcParams["lines.linewidth"], matplotlib.get_backend().lower())
"""


@pytest.mark.slow
def test_the_callers_own_figures_look_as_before(tmp_path: Path) -> None:
    """And are shown where they were: by the backend that was asked for."""
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 7\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "svg"}
    command = [sys.executable, "-c", OWN_FIGURES]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines()[-1:] == ["False 7.0 svg"], run.stderr


SCRIPT = """
import bnsweep
print("begun")
result = bnsweep.sweep(bn=["none", "before"], seed=range(4), epochs=1, track=False, overrides={"sweep.max_stack": 4})
print(result.runs["status"].tolist())
"""


@pytest.mark.parametrize("way", [pytest.param("a script without a guard", marks=pytest.mark.slow), "standard input"])
def test_two_workers_train_for_any_script(way: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    given = SCRIPT if way == "standard input" else None
    command = [sys.executable, "-" if given else "mine.py"]
    run = subprocess.run(
        command, input=given, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    lines = run.stdout.splitlines()
    assert (lines.count("begun"), lines[-1]) == (1, str(["finished"] * 8)), run.stderr


INTERRUPTED = """
import bnsweep, sys
try:
    bnsweep.sweep(seed=range(60), epochs=100, workers=1, track=TRACK, overrides={"sweep.max_stack": 1})
except KeyboardInterrupt as error:
    print(type(error).__name__, error, len(error.result.runs), (error.result.runs["status"] == "finished").sum())
"""


@pytest.mark.slow
@pytest.mark.parametrize("track", [False, True])
def test_an_interrupt_keeps_what_is_done(track: bool, here: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    code = INTERRUPTED.replace("TRACK", str(track))
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=here, env=environment, stdout=subprocess.PIPE, text=True
    ) as it:
        assert it.stdout is not None
        while not it.stdout.readline().startswith("on cpu"):
            assert it.poll() is None
        time.sleep(6)
        it.send_signal(signal.SIGINT)
        said = it.stdout.read()
    assert said.splitlines()[-1].startswith("Interrupted interrupted; "), said
    planned, over = map(int, said.split()[-2:])
    assert planned == 60 and 1 <= over < 60
