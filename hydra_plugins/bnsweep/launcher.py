"""`hydra/launcher=stacked`: all jobs of a sweep in one call of the task's batched form."""

# No `from __future__ import annotations`: Hydra's scanner executes modules before they are in sys.modules, where
# dataclasses look text annotations up.
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, open_dict

from hydra_plugins.bnsweep.compose import Composer
from hydra_plugins.bnsweep.overrides import check_duplicates

log = logging.getLogger(__name__)

Batched = Callable[[Sequence[DictConfig]], Sequence[Any]]


@dataclass
class StackedLauncherConf:
    _target_: str = "hydra_plugins.bnsweep.launcher.StackedLauncher"

    job_logging: bool = False
    """Set up each job's own logging (hydra.job_logging), for callbacks that log; costs 10 ms and a file per job."""


ConfigStore.instance().store(group="hydra/launcher", name="stacked", node=StackedLauncherConf, provider="bnsweep")


class StackedLauncher(BasicLauncher):
    """Launches a task that has a batched form: an attribute `batched` of the function that `hydra.main` decorates.

    `task.batched(configs)` is called once with the configs of all jobs, each with its `hydra` node, in the order of
    their numbers. It returns, for each, what the task would have returned, or the exception that it would have raised;
    what it raises itself ends the sweep. Nothing is called before every job has been composed. Directories, `.hydra`,
    callbacks and JobReturns are made afterwards, job by job, by Hydra. Inside `batched` no job is Hydra's current one:
    `HydraConfig`, `${hydra:…}`, hydra.job.chdir and hydra.job.env_set are not in force; `${hydra.…}` is.

    A task without a batched form is launched by Hydra's basic launcher.
    """

    def __init__(self, job_logging: bool = False) -> None:
        super().__init__()
        self.job_logging = job_logging

    @property
    def batched(self) -> Batched | None:
        """The task's batched form, if it has one."""
        return getattr(self.task_function, "batched", None)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if self.batched is None:
            return super().launch(job_overrides, initial_job_idx)
        assert self.config is not None
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        folder = Path(str(self.config.hydra.sweep.dir))  # read now: fixes the start time that its name may hold
        configs = self._compose(job_overrides, initial_job_idx)
        folder.mkdir(parents=True, exist_ok=True)
        return [self._conclude(*job) for job in zip(configs, self.batched(configs), strict=True)]

    def _compose(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[DictConfig]:
        assert self.config is not None and self.hydra_context is not None
        if not job_overrides:
            raise ConfigCompositionException("no jobs: an override sweeps over an empty range or list")
        check_duplicates(self.config.hydra.overrides.task)  # as given: sweepers drop duplicates
        composer = Composer(self.hydra_context.config_loader, self.config)
        configs = []
        for num, overrides in enumerate(job_overrides, start=first):
            log.debug("#%d : %s", num, " ".join(filter_overrides(overrides)))
            config = composer.compose(overrides)
            with open_dict(config):
                config.hydra.job.id = num
                config.hydra.job.num = num
            configs.append(config)
        return configs

    def _conclude(self, config: DictConfig, outcome: object) -> JobReturn:
        """Let Hydra run the job, whose work is done."""
        assert self.hydra_context is not None
        return run_job(
            hydra_context=self.hydra_context,
            task_function=Recall(outcome),
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            configure_logging=self.job_logging,
        )


@dataclass
class Recall:
    """A task that has already been done; a class, so that callbacks can pickle it."""

    outcome: object

    def __call__(self, _: DictConfig) -> object:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome
