"""`python -m bnsweep.experiments`: what it composes, trains, writes and refuses; and the experiments that ship."""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bnsweep.cli import experiments as command
from bnsweep.cli import sweep as entry
from bnsweep.config.identity import identity
from bnsweep.data.dataset import DataKey
from bnsweep.experiments.compose import Library
from bnsweep.experiments.expect import ORIGINS
from bnsweep.experiments.figures.catalogue import FIGURES, Drawing
from bnsweep.experiments.selection import Run
from bnsweep.experiments.table import Result, Table, comma_separated, earlier, markdown, plain_text, show, write
from bnsweep.experiments.training import Laboratory, NotRun
from bnsweep.experiments.verdicts import Row
from bnsweep.records import FAILED, FINISHED

HERE = Path(__file__).parent
SEARCH = f"hydra.searchpath=[file://{HERE}]"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hydra_restore_singletons: Any) -> Path:
    """An empty working directory, and Hydra as in a new process."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["bnsweep.experiments", *arguments])
    command.main()


def refused(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, *arguments)
    return str(stop.value)


LOSS = "{quantity: train/loss@end, high: 100, from: computed}"


def yaml(folder: Path, name: str, more: str = "", expect: str = f"[{LOSS}]") -> str:
    """Writes an experiment of two runs on digits; the override that lets it be found."""
    (folder / "extra/experiment").mkdir(parents=True, exist_ok=True)
    text = f"# @package _global_\nhydra:\n  sweeper:\n    params:\n      seed: 0,1\n{more}\n"
    text += f"train:\n  epochs: 1\nexperiment:\n  purpose: a test\n  expect: {expect}\n"
    (folder / f"extra/experiment/{name}.yaml").write_text(text)
    return f"hydra.searchpath=[file://{folder}/extra]"


def test_the_table_says_of_each_number_where_it_is_from() -> None:
    nan = math.nan
    rows = [Row("a", "", "q", "", 1.5, origin, nan, 0, nan, nan, "", "not run", "", "") for origin in ORIGINS]
    result = Result("a", "", "", "", "", rows, runs=1)
    table = Table([result])
    assert re.findall(r"1\.5 +(\S+)", plain_text(table)) == ["published", "second-hand", "computed"]
    assert re.findall(r"\| 1\.5 \| (\S+) \|", markdown(table)) == ["published", "second-hand", "computed"]
    assert "*published*, read in the source or in its recorded run; *second-hand*, said" in markdown(table)
    assert [row["origin"] for row in csv.DictReader(comma_separated(table).splitlines())] == [*ORIGINS]
    assert "inside:" not in plain_text(table), "nothing was judged"


def test_what_is_inside_is_counted_by_where_it_is_from() -> None:
    nan = math.nan
    judged = [("published", "yes"), ("published", "no"), ("computed", "yes"), ("computed", "reported")]
    rows = [Row("a", "", "q", "", 1.5, origin, nan, 0, nan, nan, "", inside, "", "") for origin, inside in judged]
    table = Table([Result("a", "", "", "", "", rows, runs=1)])
    says = "nside: 1 of 2 published, 1 of 1 computed"
    assert f"\ni{says}\n2 inside, 1 outside," in plain_text(table) and f"\nI{says}.\n" in markdown(table)


def test_an_experiment_is_composed_as_hydra_composes_its_sweep() -> None:
    from hydra_plugins.bnsweep.sweeper import sweep_jobs

    library = Library([SEARCH])
    master = library.master("small")
    jobs = sweep_jobs(master, ["+experiment=small"])
    quickly = library.experiment("small", "full").configs
    for job, config in list(zip(jobs, quickly, strict=True))[::11]:
        slowly = entry.from_composed(library._loader.load_sweep_config(master, job))
        assert identity(config) == identity(slowly), job
    assert len(set(map(identity, quickly))) == 48


def test_a_setting_that_refers_to_the_seed_follows_it(elsewhere: Path) -> None:
    one = "[{quantity: train/loss@end, runs: {lr.value: 0.1}, from: computed}]"
    search = yaml(elsewhere, "linked", "      lr.value: 0.1,0.2\ndata:\n  subset: ${seed}00", one)
    configs = Library([search, "seed=range(1,4)"]).experiment("linked", "auto").configs
    assert sorted((config.seed, config.data.subset) for config in configs) == [(s, 100 * s) for s in (1, 1, 2, 2, 3, 3)]


@pytest.mark.parametrize(
    ("form", "overrides", "runs", "epochs", "label"),
    [
        ("full", [], 48, 4, ""),
        ("quick", [], 24, 2, "quick form"),
        ("quick", ["seed=0,1,2,3,4", "data.root=there"], 40, 2, "quick form, seed=0,1,2,3,4"),
        ("full", ["train.epochs=3"], 48, 3, "train.epochs=3"),
    ],
)
def test_what_is_typed_wins_over_the_quick_form_and_that_over_the_file(
    form: str, overrides: list[str], runs: int, epochs: int, label: str
) -> None:
    experiment = Library([SEARCH, *overrides]).experiment("small", form)
    assert (len(experiment.configs), experiment.configs[0].train.epochs) == (runs, epochs)
    assert experiment.form == label


def test_without_a_gpu_an_experiment_takes_its_quick_form() -> None:
    assert Library([SEARCH, "train.device=cpu"]).experiment("small", "auto").quick


def test_a_small_experiment_from_the_command_to_the_files(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, "small", "form=quick", "out=there", SEARCH)
    said = capsys.readouterr().out
    assert "1 of 1: small (quick form), 24 runs" in said
    assert "\n2 inside, 1 outside, 1 not run, 1 reported without a tolerance, " in said
    with Path("there/experiments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["inside"] for row in rows] == ["yes", "not run", "no", "yes", "reported"]
    assert rows[1]["median"] == "" and rows[1]["why"] == "only in the full form"
    assert {row["form"] for row in rows} == {"quick form"}
    (result,) = json.loads(Path("there/experiments.json").read_text())["results"]
    assert result["statuses"] == {FINISHED: 24} and result["runs"] == 24
    assert result["environment"]["versions"]["torch"] and result["seconds"] > 0
    assert Path("there", *result["figures"]).read_text().count("<svg") == 1
    text = Path("there/experiments.md").read_text()
    assert "![small](small/small.svg)" in text
    assert "| train/accuracy@end · bn none, init normal, lr.value 0.1 | – | second-hand | 0." in text
    assert {path.name for path in elsewhere.iterdir()} == {"there"}, "nothing goes to MLflow"


@pytest.mark.parametrize("workers", [1, 2], ids=["in a thread", "in two processes"])
def test_a_run_is_the_one_that_the_sweep_command_trains(workers: int) -> None:
    from bnsweep.data import dataset as data
    from bnsweep.training.device import resolve_device
    from bnsweep.training.trainer import train

    experiment = Library([SEARCH]).experiment("small", "quick")
    with Laboratory(experiment.configs, workers) as laboratory:
        records = laboratory.train(experiment.configs)
    for place in (0, -1):
        config = experiment.configs[place]
        (alone,), _ = train([config], data.load(config.data), resolve_device("cpu"))
        assert records[place].history["train/loss"] == pytest.approx(alone.history["train/loss"], rel=1e-4)


def test_results_of_other_experiments_stay_in_the_table(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = yaml(elsewhere, "one")
    yaml(elsewhere, "two")
    call(monkeypatch, "one", search)
    first = earlier(Path("experiments"))
    call(monkeypatch, "two", search)
    assert [result.name for result in earlier(Path("experiments"))] == ["one", "two"]
    assert repr(earlier(Path("experiments"))[0]) == repr(first[0])
    assert math.isnan(first[0].rows[0].low), "two seeds have no interval"


def test_what_was_over_is_written_when_the_next_is_interrupted(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(runs: Sequence[Run]) -> Any:
        raise KeyboardInterrupt

    search = yaml(elsewhere, "one")
    yaml(elsewhere, "two")
    monkeypatch.setitem(FIGURES, "two", (Drawing(interrupt, ""),))
    assert refused(monkeypatch, "one", "two", search) == "130"
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "interrupted: 1 of 2 experiments are over and in experiments/experiments.md"
    assert [result.name for result in earlier(Path("experiments"))] == ["one"]


def test_an_interrupt_before_anything_is_over_writes_nothing(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(runs: Sequence[Run]) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setitem(FIGURES, "one", (Drawing(interrupt, ""),))
    assert refused(monkeypatch, "one", yaml(elsewhere, "one")) == "130"
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted: 0 of 1 experiments are over"
    assert {path.name for path in elsewhere.iterdir()} == {"extra"}


def test_a_table_that_cannot_be_written_is_shown_and_no_draft_is_left(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def block(runs: Sequence[Run]) -> Any:
        Path("experiments/experiments.json").mkdir(parents=True)
        raise ValueError("no figure either")

    monkeypatch.setitem(FIGURES, "one", (Drawing(block, ""),))
    said = refused(monkeypatch, "one", yaml(elsewhere, "one"))
    assert said.startswith("bnsweep.experiments: out=experiments: ") and "\n" not in said
    shown = capsys.readouterr().out
    assert re.search(r"one +train/loss@end +– +computed +[\d.]+, n = 2 +<= 100 +yes", shown)
    assert "one: failed: no figure: ValueError: no figure either" in shown
    assert {path.name for path in Path("experiments").iterdir()} == {"experiments.json"}


FOREIGN = {
    "another form": ('{"results": [{"name": "a"}]}', "KeyError on reading it"),
    "a list": ("[]", "TypeError on reading it"),
    "no JSON": ("{", "JSONDecodeError on reading it"),
    "another encoding": (b"\xff", "UnicodeDecodeError on reading it"),
}


@pytest.mark.parametrize(("content", "why"), FOREIGN.values(), ids=list(FOREIGN))
def test_a_table_of_another_form_is_not_written_over(
    content: str | bytes, why: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = elsewhere / "there/experiments.json"
    file.parent.mkdir()
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = file.read_bytes()
    said = refused(monkeypatch, "small", "out=there", SEARCH)
    rest = "; move it away, or choose another folder"
    start = "bnsweep.experiments: out=there: there/experiments.json must be a table that this version has written"
    assert said == f"{start} ({why}){rest}"
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


def test_an_experiment_without_its_data_is_a_row_that_says_so(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = elsewhere / "data/MNIST/raw"
    raw.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{part}-ubyte").write_bytes(b"no image")
    expect = f"[{LOSS}, {LOSS.replace('train', 'test')}]"
    search = yaml(elsewhere, "missing", "defaults:\n  - override /data: mnist", expect)
    yaml(elsewhere, "there")
    call(monkeypatch, "missing", "there", search)
    said, written = capsys.readouterr().out, Path("experiments/experiments.md").read_text(encoding="utf-8")
    assert said.count("not run: data/MNIST/raw/train-images-idx3-ubyte: must hold an IDX header") == 1
    assert written.count("must hold an IDX header") == 1
    assert "1 inside, 0 outside, 2 not run" in said


def test_numbers_stay_when_the_experiment_cannot_run_the_next_time(elsewhere: Path) -> None:
    nan = math.nan
    rows = [Row("a", "", "q", "", nan, "computed", 1.0, 2, nan, nan, "", "yes", "", "")]
    numbers = Result("a", "", "", "", "", rows, runs=2)
    without = Result("a", "", "", "", "", [replace(rows[0], n=0, median=nan, inside="not run", why="no data")])
    for results, n in (([without], 0), ([numbers], 2), ([without], 2)):
        write(results, elsewhere)
        assert [row.n for result in earlier(elsewhere) for row in result.rows] == [n]


def test_a_narrow_terminal_shows_the_whole_quantity(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "70"}.items():
        monkeypatch.setenv(name, value)
    quantity = "difference(layer/1/grad_activation, layer/5/grad_activation)@20"
    nan = math.nan
    row = Row("a", "", quantity, "", nan, "computed", nan, 0, nan, nan, "", "yes", "", "")
    show(Table([Result("a", "", "", "", "", [row], runs=1)]))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    column = slice(lines[1].index("quantity"), lines[1].index("expected"))
    assert quantity.replace(" ", "") in "".join(line[column].strip() for line in lines).replace(" ", "")


def test_a_run_that_fails_is_reported_and_does_not_stop_the_others(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = sys.modules["bnsweep.runs.executors.base"].Training  # type: ignore[attr-defined]

    def brittle(configs: Sequence[Any], *more: Any) -> Any:
        if any(config.seed == 1 for config in configs):
            raise RuntimeError("no such luck")
        return real(configs, *more)

    monkeypatch.setattr("bnsweep.runs.executors.base.Training", brittle)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # one stack at a time trains in this process
    assert refused(monkeypatch, "one", yaml(elsewhere, "one")) == "1"
    said = capsys.readouterr().out
    assert "one: failed: RuntimeError: no such luck" in said
    (result,) = earlier(Path("experiments"))
    assert result.statuses == {FINISHED: 1, FAILED: 1}
    assert (result.rows[0].n, result.rows[0].why, result.rows[0].inside) == (1, "1 of 2 missing, 1 failed", "yes")


def test_a_worker_that_is_killed_between_two_experiments_costs_neither() -> None:
    experiment = Library([SEARCH]).experiment("small", "quick")
    with Laboratory(experiment.configs, workers=2) as laboratory:
        first = laboratory.train(experiment.configs)
        multiprocessing.active_children()[0].kill()
        result = command.conduct(experiment, laboratory, Path("out"))
        assert result.statuses == {FINISHED: len({id(record) for record in first})}
        assert not result.failures


def test_several_datasets_are_read_once_each() -> None:
    library = Library([SEARCH])
    configs = library.experiment("small", "quick").configs
    other = Library([SEARCH, "data=gaussian"]).experiment("small", "quick").configs
    with Laboratory([*configs, *other]) as laboratory:
        assert set(laboratory.datasets) == {("digits", "data"), ("gaussian", "data")}
        assert {record.status for record in laboratory.train([configs[0], other[0]])} == {FINISHED}
        missing: dict[DataKey, str] = {("digits", "data"): "gone"}
        laboratory.missing = missing
        with pytest.raises(NotRun, match="gone"):
            laboratory.train(configs)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["smal"], "smal: no such experiment (choices: small; --list says more)"),
        (["plain"], "plain: expects nothing: its file must have entries under experiment.expect"),
        (["small", "form=fast"], "form=fast: must be one of auto, quick, full"),
        (["small", "out="], "out=: must be the name of a folder"),
        (["small", "out=/dev/null/x"], "out=/dev/null/x: must be a folder that can be written"),
        (["small", "out=full"], "out=full: must be a folder where experiments.md is a file or missing"),
        (["small", "out=a", "out=b"], "out=b: must be given once"),
        (["small", "form=full", "form=quick"], "form=quick: must be given once"),
        ([""], "'': no such experiment (choices: "),
        (["+experiment=small"], "+experiment=small: must be the name alone, as in mean-field-chi"),
        (["small", "seed=range(0,0)"], "small: no runs: an override sweeps over an empty range or list"),
        (["small", "--quick"], "--quick: no such flag (--help says what there is)"),
        (["small", "lr.valu=1"], "lr.valu: no such setting (choices: lr.value"),
        (["small", "seed=0", "seed=1"], "seed=0 seed=1: seed must be given once"),
        (["small", "train.epochs=-1"], "small: train.epochs=-1: must be >= 0"),
        (["small", "lr.value=3"], "small: expect 1: lr.value=0.1: matches no run (there are 3.0)"),
        (["wrong"], "wrong: expect 1: quantity=nope@end: nope: no such metric"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_trained_or_written(
    arguments: list[str], says: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yaml(elsewhere, "plain", expect="[]")
    yaml(elsewhere, "wrong", expect="[{quantity: nope@end, from: computed}]")
    (elsewhere / "full/experiments.md").mkdir(parents=True)
    message = refused(monkeypatch, *arguments, f"hydra.searchpath=[file://{HERE},file://{elsewhere}/extra]")
    assert message.startswith("bnsweep.experiments: ") and says in message and "\n" not in message
    assert {path.name for path in elsewhere.iterdir()} == {"extra", "full"}


def test_help_and_list_say_what_there_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    call(monkeypatch, "--help")
    assert "form=auto" in capsys.readouterr().out
    call(monkeypatch, "--list", SEARCH)
    assert "BN trains from weights too small for a network without it" in capsys.readouterr().out
