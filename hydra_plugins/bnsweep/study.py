"""A study of Optuna: asked for trials, and told what became of them."""

# No `from __future__ import annotations`: Hydra's scanner executes modules before they are in sys.modules, where
# dataclasses look text annotations up.
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Optional

from hydra_plugins.bnsweep.search_space import Space

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

SAMPLERS = ("random", "tpe")
DIRECTIONS = ("maximize", "minimize")
SQLITE = "sqlite:///"
SPACE = "bnsweep.space"
"""Attribute of a study: what it is a study of."""
REPEATS = "bnsweep.repeats"
"""Attribute of a trial: the failed one whose point it is."""
DIGITS = 6
"""Of a number that a sampler draws: as many as reports show, so that a run has the value that its name says."""


@dataclass(frozen=True)
class Settings:
    """Those of hydra.sweeper; see OptunaSweeperConf."""

    sampler: str
    seed: Optional[int]  # noqa: UP045 (as Hydra reads it)
    direction: str
    n_trials: int
    n_jobs: int
    storage: Optional[str]  # noqa: UP045
    study_name: str

    def check(self) -> None:
        """Raises ConfigError."""
        from bnsweep.config.checks import SEED, at_least, check, check_choice, or_null

        there = find_spec("optuna") is not None
        says = "left out where Optuna is not installed (pip install optuna, or bnsweep with its extra of that name)"
        check(there, "hydra/sweeper", "optuna", says)
        check_choice("hydra.sweeper.sampler", self.sampler, SAMPLERS)
        check_choice("hydra.sweeper.direction", self.direction, DIRECTIONS)
        for name, rule in (("seed", or_null(SEED)), ("n_trials", at_least(1)), ("n_jobs", at_least(1))):
            check(rule.holds(getattr(self, name)), f"hydra.sweeper.{name}", getattr(self, name), rule.says)
        check(self.study_name.strip() != "", "hydra.sweeper.study_name", f"'{self.study_name}'", "a name")


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: of its jobs together."""

    values: tuple[float, ...]
    """Of those that gave one."""
    failed: bool
    """Whether any job failed."""
    stopped: bool


class Study:
    def __init__(self, study: "optuna.Study", settings: Settings, space: Space) -> None:
        self._study, self._settings, self._space = study, settings, space
        self._distributions: dict[str, BaseDistribution] = {
            name: part.distribution() for name, part in zip(space.names, space.searched.values(), strict=True)
        }
        self.jobs: dict[int, list[int]] = {}
        """Trial -> numbers of its jobs."""
        self._ask_again()

    def _trials(self) -> list["FrozenTrial"]:
        return self._study.get_trials(deepcopy=False)

    def _ask_again(self) -> None:
        """The points of trials that failed are the next ones; what a killed process asked for by half is no trial."""
        from optuna.trial import TrialState

        names = {*self._distributions}
        for trial in self._trials():
            if trial.state == TrialState.RUNNING and trial.params.keys() != names:
                self._study.tell(trial.number, state=TrialState.FAIL)
        repeated = {trial.user_attrs.get(REPEATS) for trial in self._trials()}
        for trial in self._trials():
            if trial.state == TrialState.FAIL and trial.params.keys() == names and trial.number not in repeated:
                self._study.enqueue_trial(dict(trial.params), {REPEATS: trial.number})

    @property
    def begun(self) -> list["FrozenTrial"]:
        """The trials so far that count: those that were told a value, and those that a killed process left."""
        from optuna.trial import TrialState

        return [trial for trial in self._trials() if trial.state not in (TrialState.FAIL, TrialState.WAITING)]

    def batches(self, whole: bool) -> Iterator[list["FrozenTrial"]]:
        """First those trials of earlier commands that a killed process left, or all (`whole`), as their runs are part
        of the sweep; then new ones, some at a time."""
        begun = self.begun
        first = [trial for trial in begun if whole or not trial.state.is_finished()]
        if first:
            yield first
        left = self._settings.n_trials - len(begun)
        while left > 0:
            yield self._ask(min(left, self._settings.n_jobs))
            left -= self._settings.n_jobs

    def _ask(self, count: int) -> list["FrozenTrial"]:
        self._study.sampler = sampler_of(self._settings, len(self._trials()))
        numbers = {self._study.ask(self._distributions).number for _ in range(count)}
        return [trial for trial in self._trials() if trial.number in numbers]

    def tell(self, trials: Sequence["FrozenTrial"], outcomes: Sequence[Outcome]) -> None:
        """Those that were told before keep what they were told."""
        from optuna.trial import TrialState

        for trial, outcome in zip(trials, outcomes, strict=True):
            if trial.state != TrialState.RUNNING:
                continue
            state, value = TrialState.COMPLETE, fmean(outcome.values) if outcome.values else None
            if outcome.failed or value is None or value != value:
                state, value = TrialState.FAIL, None
            elif outcome.stopped:
                self._study._storage.set_trial_intermediate_value(trial._trial_id, 0, value)
                state, value = TrialState.PRUNED, None
            self._study.tell(trial.number, value, state, skip_if_finished=True)

    def progress(self) -> str:
        told = [trial for trial in self.begun if trial.state.is_finished()]
        text = f"{len(told)} of {max(len(told), self._settings.n_trials)} trials"
        best = self.best
        if best is None:
            return text
        return (
            f"{text}, best value {best.value:.6g} (trial {best.number}: {' '.join(self._space.overrides(best.params))})"
        )

    @property
    def best(self) -> "FrozenTrial | None":
        """The first of the best; None where no trial was told a value."""
        with suppress(ValueError):
            return self._study.best_trial
        return None

    def results(self) -> dict[str, Any]:
        """What `optimization_results.yaml` holds."""
        best = self.best
        return {
            "name": "optuna",
            "study_name": self._study.study_name,
            "direction": self._settings.direction,
            "best_params": self._params(best) if best else {},
            "best_value": best.value if best else None,
            "best_trial": best.number if best else None,
            "trials": [self._row(trial) for trial in self._trials() if trial.state.is_finished()],
        }

    def _params(self, trial: "FrozenTrial") -> dict[str, Any]:
        return {name: trial.params[name] for name in self._space.names if name in trial.params}

    def _row(self, trial: "FrozenTrial") -> dict[str, Any]:
        row = {"number": trial.number, "state": trial.state.name.lower(), "value": trial.value}
        return {**row, "params": self._params(trial), "jobs": self.jobs.get(trial.number, [])}


@contextmanager
def opened(settings: Settings, space: Space, unlike: Sequence[str], kept: bool = True) -> Iterator[Study]:
    """The study of these settings, a new one unless its storage has one of that name. `unlike`: how overrides begin in
    which commands of one study may differ. `kept`: whether it is written into the storage. A sweep that is refused
    before any trial is told leaves nothing there. Raises ConfigError."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = file_of(settings.storage) if kept and settings.storage else None
    is_new = path is not None and not path.exists()
    storage = open_storage(settings.storage) if kept and settings.storage else None
    study = None
    try:
        study = named_study(storage, settings, space.description(unlike))
        yield Study(study, settings, space)
    except (Exception, SystemExit):
        nothing = study is None or not any(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        if nothing and is_new and path is not None:
            path.unlink(missing_ok=True)
        raise


def named_study(storage: "BaseStorage | None", settings: Settings, space: str) -> "optuna.Study":
    import optuna

    from bnsweep.config.checks import check

    name, direction = settings.study_name, settings.direction
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction="minimize" if direction == "minimize" else "maximize",
        load_if_exists=True,
        sampler=sampler_of(settings, 0),
    )
    if SPACE not in study.user_attrs and not study.trials:
        study.set_user_attr(SPACE, space)
    says = f"a new name: {shown(settings.storage)} has a study of that name"
    check(
        study.user_attrs.get(SPACE) == space,
        "hydra.sweeper.study_name",
        name,
        f"{says} over other settings, values or seeds",
    )
    kept = study.direction.name.lower()
    check(kept == direction, "hydra.sweeper.study_name", name, f"{says}, to {kept}")
    return study


def shown(storage: str | None) -> str:
    from bnsweep.config.secrets import without_secrets

    return without_secrets(str(storage))


def file_of(storage: str) -> Path | None:
    """The file of a storage; None for a server's."""
    if "://" not in storage:
        return Path(storage)
    return Path(storage.removeprefix(SQLITE)) if storage.startswith(SQLITE) else None


def open_storage(text: str) -> "BaseStorage":
    """Raises ConfigError, having made nothing, where it cannot be."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    from bnsweep.config.checks import ConfigError
    from bnsweep.store.address import reason_of

    path = file_of(text)
    is_new = path is not None and not path.exists()
    try:
        if path is not None:
            check_file(path, text.startswith(SQLITE))
        return RDBStorage(text) if "://" in text else JournalStorage(JournalFileBackend(text))
    except Exception as error:  # the disk, a driver that is missing, a server, another program's file: each its own
        if is_new and path is not None:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        says = "sqlite:///FILE, the URL of a database, or the name of a journal file, which can be opened"
        raise ConfigError(f"hydra.sweeper.storage={shown(text)}: must be {says} ({reason_of(error)})") from error


def check_file(path: Path, database: bool) -> None:
    """Raises for a file of something else: Optuna would write its tables into it, or fail to read it only later."""
    if not path.exists() or path.stat().st_size == 0:
        with path.open("a"):
            return
    if database:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            tables = {name for (name,) in db.execute("select name from sqlite_master where type='table'")}
        if tables and "studies" not in tables:
            raise ValueError("it is a database of another program")
        return
    with path.open("rb") as file:
        if file.read(1) != b"{":
            raise ValueError("it is no journal of Optuna")


def sampler_of(settings: Settings, trials: int) -> "BaseSampler":
    """For what comes after so many trials: a command that goes on draws what it would have drawn without a break."""
    from optuna.samplers import RandomSampler, TPESampler

    seed = None if settings.seed is None else (settings.seed + 1_000_003 * trials) % 2**32
    if settings.sampler == "random":
        return rounded(RandomSampler)(seed=seed)
    # Without the liar, trials of a batch, which know nothing of one another, would gather in one place.
    return rounded(TPESampler)(seed=seed, constant_liar=True)


def rounded(kind: Any) -> "Callable[..., BaseSampler]":
    """A sampler of this kind whose numbers have few digits."""

    class Rounded(kind):  # type: ignore[misc]
        def sample_relative(self, study: Any, trial: Any, search_space: Mapping[str, Any]) -> dict[str, Any]:
            drawn = super().sample_relative(study, trial, search_space)
            return {name: short(value, search_space[name]) for name, value in drawn.items()}

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            drawn = super().sample_independent(study, trial, param_name, param_distribution)
            return short(drawn, param_distribution)

    return Rounded


def short(value: Any, distribution: Any) -> Any:
    from optuna.distributions import FloatDistribution

    if not isinstance(distribution, FloatDistribution):
        return value
    digits = DIGITS if distribution.step is None else 2 * DIGITS
    return min(max(float(f"{value:.{digits}g}"), distribution.low), distribution.high)
