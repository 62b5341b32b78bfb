"""A study: the same trials for the same seed, whatever ended the commands that asked for them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import TrialState

from bnsweep.config.checks import ConfigError
from hydra_plugins.bnsweep.search_space import Space, read_space
from hydra_plugins.bnsweep.study import Outcome, Settings, opened

SETTINGS = Settings("tpe", 0, "maximize", n_trials=16, n_jobs=8, storage=None, study_name="s")
TEXTS = ["x=tag(log,interval(0.01,1))", "a=p,q"]


def space(*texts: str) -> Space:
    return read_space(OverridesParser.create().parse_overrides(list(texts or TEXTS)))


def told(value: float) -> Outcome:
    return Outcome((value,), failed=False, stopped=False)


FAILED = Outcome((), failed=True, stopped=False)


def value_of(params: dict[str, Any]) -> float:
    """At its best near x=0.3 and a=p."""
    return float(1 - abs(params["x"] - 0.3) - 0.2 * (params["a"] == "q"))


class Killed(BaseException):
    pass


def search(settings: Settings, killed_in: int | None = None, failing: frozenset[int] = frozenset()) -> Any:
    """The results of a search; `killed_in`: the batch in which the command ends, half of it told."""
    with suppress(Killed), opened(settings, space(), ()) as study:
        for batch, trials in enumerate(study.batches(whole=False)):
            outcomes = [FAILED if t.number in failing else told(value_of(t.params)) for t in trials]
            if batch == killed_in:
                study.tell(trials[:4], outcomes[:4])
                raise Killed
            study.tell(trials, outcomes)
        return study.results()


@pytest.fixture(params=["study.log", "sqlite:///study.db"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return replace(SETTINGS, storage=request.param)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_asks_for_the_same_trials(sampler: str) -> None:
    settings = replace(SETTINGS, sampler=sampler)
    first = search(settings)
    assert first == search(settings) != search(replace(settings, seed=1))
    points = {tuple(row["params"].values()) for row in first["trials"]}
    assert len(points) == 16, "no two trials are one point, not in a batch either"
    assert all(float(f"{x:.6g}") == x for x, _ in points), "a run has the number that its name shows"


def test_tpe_learns_from_what_it_was_told() -> None:
    rows = search(replace(SETTINGS, n_trials=64))["trials"]
    begin, end = ([row["value"] for row in part] for part in (rows[:16], rows[-16:]))
    assert sum(end) / 16 > sum(begin) / 16 + 0.1
    assert sum(row["params"]["a"] == "p" for row in rows[-16:]) >= 12


def test_a_killed_search_goes_on_as_if_it_had_not_been(stored: Settings) -> None:
    undisturbed = search(SETTINGS)
    assert search(stored, killed_in=1) is None
    assert search(stored)["trials"] == undisturbed["trials"]
    assert search(replace(stored, n_trials=8))["trials"] == undisturbed["trials"], "nothing is left to ask for"
    assert search(replace(stored, n_trials=20))["trials"] == search(replace(SETTINGS, n_trials=20))["trials"]


def test_the_points_of_failed_trials_are_asked_for_again_by_the_next_command(stored: Settings) -> None:
    first = search(stored, failing=frozenset({3, 12}))["trials"]
    assert [row["number"] for row in first if row["state"] == "fail"] == [3, 12]
    rows = search(stored)["trials"]
    assert len(rows) == 18 and [row["state"] for row in rows[16:]] == ["complete"] * 2
    assert [row["params"] for row in rows[16:]] == [rows[3]["params"], rows[12]["params"]]
    assert search(stored)["trials"] == rows


def test_a_trial_of_which_a_job_was_stopped_is_pruned_and_keeps_its_value() -> None:
    with opened(replace(SETTINGS, n_trials=8), space(), ()) as study:
        (trials,) = study.batches(whole=False)
        outcomes = [Outcome((0.5, 0.75), False, stopped=trial.number == 2) for trial in trials]
        study.tell(trials, outcomes)
        rows = study.results()["trials"]
    assert [row["state"] for row in rows] == ["complete", "complete", "pruned", *["complete"] * 5]
    assert {row["value"] for row in rows} == {0.625}


def test_a_value_that_is_no_number_is_a_failure() -> None:
    with opened(replace(SETTINGS, n_trials=2), space(), ()) as study:
        (trials,) = study.batches(whole=False)
        study.tell(trials, [told(float("nan")), told(0.5)])
        results = study.results()
    assert [row["state"] for row in results["trials"]] == ["fail", "complete"]
    assert (results["best_trial"], results["best_value"]) == (1, 0.5)


def test_a_study_of_other_settings_is_refused_and_left_as_it_is(stored: Settings) -> None:
    search(stored)
    for other, direction, says in (
        (["x=interval(0.01,1)", "a=p,q"], "maximize", "over other settings, values or seeds"),
        ([*TEXTS, "seed=0,1"], "maximize", "over other settings, values or seeds"),
        ([*TEXTS, "fixed=1"], "maximize", "over other settings, values or seeds"),
        (TEXTS, "minimize", "to maximize"),
    ):
        settings = replace(stored, direction=direction)
        with (
            pytest.raises(ConfigError, match=f"study_name=s: must be a new name: .*{says}"),
            opened(settings, space(*other), ()),
        ):
            pass
    with opened(stored, space(*TEXTS, "sweep.id=b"), ("sweep.",)) as study:
        assert len(study.begun) == 16
    with opened(replace(stored, study_name="t"), space("b=1,2"), ()) as study:
        assert study.begun == []


def test_a_refused_sweep_leaves_no_study_behind_and_a_killed_one_does(stored: Settings, tmp_path: Path) -> None:
    def refused(fault: BaseException) -> None:
        with opened(stored, space(), ()) as study:
            next(study.batches(whole=True))
            raise fault

    for fault in (ConfigError("a full disk"), SystemExit(0)):
        with pytest.raises(type(fault)):
            refused(fault)
        assert list(tmp_path.iterdir()) == []
    search(stored, killed_in=0)
    assert len(list(tmp_path.iterdir())) == 1


def test_trials_of_a_study_that_another_program_made_are_refused(stored: Settings) -> None:
    assert stored.storage is not None
    if stored.storage.startswith("sqlite"):
        optuna.create_study(storage=stored.storage, study_name="s", direction="maximize").add_trial(
            optuna.trial.create_trial(state=TrialState.COMPLETE, value=1.0)
        )
        with pytest.raises(ConfigError, match="must be a new name"), opened(stored, space(), ()):
            pass


@pytest.mark.parametrize(
    ("storage", "says"),
    [
        ("nowhere/s.log", "No such file or directory"),
        ("sqlite:///nowhere/s.db", "No such file or directory"),
        ("notes.txt", "it is no journal of Optuna"),
        ("sqlite:///notes.txt", "file is not a database"),
        ("foo://bar", "Can't load plugin: sqlalchemy.dialects:foo"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_refused(
    storage: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("mine, and no journal of anything")
    with pytest.raises(ConfigError) as refusal, opened(replace(SETTINGS, storage=storage), space(), ()):
        pass
    assert str(refusal.value).startswith(f"hydra.sweeper.storage={storage}: must be ")
    assert says in str(refusal.value) and "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("sampler", "grid", "must be one of random, tpe"),
        ("direction", "up", "must be one of maximize, minimize"),
        ("n_trials", 0, "must be >= 1"),
        ("n_jobs", 0, "must be >= 1"),
        ("seed", -1, "must be between 0 and 2147483647 or null"),
        ("study_name", " ", "must be a name"),
    ],
)
def test_settings_have_rules(name: str, value: Any, says: str) -> None:
    SETTINGS.check()
    with pytest.raises(ConfigError, match=rf"hydra\.sweeper\.{name}=.*: {says}"):
        replace(SETTINGS, **{name: value}).check()


def test_without_optuna_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydra_plugins.bnsweep.study.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"hydra/sweeper=optuna: must be left out where Optuna is not installed"):
        SETTINGS.check()
