"""`hydra/sweeper=optuna`: a search by Optuna, whose trials are launched in batches."""

# No `from __future__ import annotations`: Hydra's scanner executes modules before they are in sys.modules, where
# dataclasses look text annotations up.
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import yaml  # type: ignore[import-untyped]
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import OmegaConf

from hydra_plugins.bnsweep.compose import Composer
from hydra_plugins.bnsweep.launcher import StackedLauncher
from hydra_plugins.bnsweep.search_space import Space, read_space
from hydra_plugins.bnsweep.study import Outcome, Settings, Study, opened
from hydra_plugins.bnsweep.sweeper import MOST_JOBS, NO_OTHER_RUNS, StackedSweeper, is_auto

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

RESULTS = "optimization_results.yaml"


@dataclass
class OptunaSweeperConf:
    _target_: str = "hydra_plugins.bnsweep.sweeper_optuna.OptunaSweeper"

    sampler: str = "tpe"
    """tpe, which learns from the trials so far, or random."""
    seed: Optional[int] = 0  # noqa: UP045 (Hydra reads it)
    """Of the sampler: the same command draws the same trials. null: others each time."""
    direction: str = "maximize"
    """What bnsweep's runs return is the final validation score, and 0 where they diverged."""
    n_trials: int = 64
    """Of the study, those of an earlier command among them."""
    n_jobs: int = 16
    """Trials that are asked for, and trained, together."""
    storage: Optional[str] = None  # noqa: UP045
    """Where the study is kept, to go on with or to look at: sqlite:///FILE, the name of a journal file, or the URL of a
    database. null: nowhere; runs are in MLflow's store either way, and are not trained again."""
    study_name: str = "bnsweep"
    """In the storage."""
    params: dict[str, str] = field(default_factory=dict)
    """Settings and what they are drawn from, beside those that are typed."""


if find_spec("hydra_plugins.hydra_optuna_sweeper") is None:  # which has this name, and an Optuna before 3
    ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node=OptunaSweeperConf, provider="bnsweep")


class OptunaSweeper(StackedSweeper):
    """Asks Optuna for trials, a batch at a time, and launches each batch as one.

    What is swept is searched: choices, ranges and intervals (`tag(log, interval(0.01, 1))`, `int(interval(1, 8))`), but
    for seeds. A trial is trained for each of these, and its value is their mean. A trial of which a job failed is told
    as failed, one of which a job was stopped as pruned. The search goes on after failures, unless a whole batch failed,
    and then raises the first.

    With the same seed, the same command asks for the same trials. A study in a storage goes on where it was; trials
    that a killed process left are the first. A batched task gets the earlier trials once more, as one batch: their runs
    are part of the sweep, and one that keeps its results need not train them.
    """

    def __init__(self, params: Optional[dict[str, str]] = None, **settings: Any) -> None:  # noqa: UP045
        super().__init__(max_batch_size=None, params=params)
        self._settings = Settings(**settings)

    def _with_seeds(self, arguments: list[str]) -> list[str]:
        from bnsweep.config.checks import AUTO, check

        texts = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        says = "seeds, such as range(0,3), with hydra/sweeper=optuna: auto is for hydra/sweeper=stacked"
        check(not any(map(is_auto, texts)), "seed", AUTO, says)
        return arguments

    def _check(self, arguments: list[str]) -> Path:
        from bnsweep.config.secrets import check_no_secret

        assert self.config is not None
        node = OmegaConf.to_container(self.config.hydra.sweeper)  # as written: a variable's value is none of its text
        assert isinstance(node, dict)
        check_no_secret([f"hydra.sweeper.storage={node.get('storage')}"])
        self._settings.check()
        return super()._check(arguments)

    def _sweep(self, arguments: list[str]) -> Any:
        space = self._space(arguments)
        self._try_corners(space)
        batched = isinstance(self.launcher, StackedLauncher) and bool(self.launcher.batched)
        if batched:
            self.launcher.searched = tuple(space.names)  # type: ignore[union-attr]
        returns: list[Sequence[JobReturn]] = []
        with opened(self._settings, space, NO_OTHER_RUNS, kept=not self._is_dry) as study:
            for trials in study.batches(whole=batched):
                jobs = [job for trial in trials for job in space.jobs(trial.params)]
                returns.append(self._launch(jobs, sum(map(len, returns))))
                outcomes = self._tell(study, trials, returns)
                log.info(study.progress())
                if all(outcome.failed for outcome in outcomes):
                    break
        for result in (result for results in returns for result in results):
            _ = result.return_value  # raises what the job raised
        return returns

    def _tell(
        self, study: Study, trials: Sequence["FrozenTrial"], returns: Sequence[Sequence[JobReturn]]
    ) -> list[Outcome]:
        """What became of these trials, of which the last of `returns` are."""
        results, first = returns[-1], sum(map(len, returns[:-1]))
        each = len(results) // len(trials)
        places = range(0, len(results), each)
        outcomes = [outcome_of(results[at : at + each]) for at in places]
        for trial, at in zip(trials, places, strict=True):
            study.jobs[trial.number] = list(range(first + at, first + at + each))
        study.tell(trials, outcomes)
        self._write(study)
        return outcomes

    def _space(self, arguments: list[str]) -> Space:
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        space = read_space(parser.parse_overrides([*self._parse_config(), *arguments]))
        jobs = self._settings.n_trials * len(space.replicates)
        if jobs > MOST_JOBS:
            says = f"smaller: it makes {jobs:,} jobs, one a trial and seed, and {MOST_JOBS:,} are the most"
            raise HydraException(f"hydra.sweeper.n_trials={self._settings.n_trials}: must be {says}")
        return space

    def _try_corners(self, space: Space) -> None:
        """Raises what composing such a job raises, or what the task's `check` does."""
        assert self.hydra_context is not None and self.config is not None
        corners = space.corners()
        composer = Composer(self.hydra_context.config_loader, self.config, corners)
        check = getattr(getattr(self.launcher, "task_function", None), "check", None)
        for overrides in corners:
            config = composer.compose(overrides)
            if check is not None:
                check(config)

    @property
    def _is_dry(self) -> bool:
        """Whether the task only says what it would do."""
        assert self.config is not None
        sweep = self.config.get("sweep")
        return bool(sweep is not None and sweep.get("dry_run"))

    def _launch(self, jobs: list[list[str]], first: int) -> Sequence[JobReturn]:
        assert self.launcher is not None
        self.validate_batch_is_legal(jobs)
        results = self.launcher.launch(jobs, initial_job_idx=first)
        assert len(results) == len(jobs)
        return results

    def _write(self, study: Study) -> None:
        assert self.config is not None
        path = Path(str(self.config.hydra.sweep.dir)) / RESULTS
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        draft.write_text(yaml.safe_dump(study.results(), sort_keys=False, allow_unicode=True), encoding="utf-8")
        draft.replace(path)


def outcome_of(results: Sequence[JobReturn]) -> Outcome:
    """Of the jobs of one trial. Raises HydraException where a task returns no number."""
    from bnsweep.records import Stopped

    returned = [result.return_value for result in results if result.status == JobStatus.COMPLETED]
    for value in returned:
        if isinstance(value, bool) or not isinstance(value, int | float):
            says = f"must return a number to search by, returned {value!r}"
            raise HydraException(f"hydra/sweeper=optuna: the task {says}")
    stopped = any(isinstance(value, Stopped) for value in returned)
    return Outcome(tuple(map(float, returned)), len(returned) < len(results), stopped)
