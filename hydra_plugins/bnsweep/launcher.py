"""`hydra/launcher=stacked`, `stacked_ray`, `stacked_submitit`: all jobs of a sweep in one call of the task's batched
form."""

# No `from __future__ import annotations`: Hydra's scanner executes modules before they are in sys.modules, where
# dataclasses look text annotations up.
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, overload

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig

from hydra_plugins.bnsweep.compose import Composer
from hydra_plugins.bnsweep.directory import Yaml, conclude, files_of, is_quiet
from hydra_plugins.bnsweep.overrides import check_duplicates
from hydra_plugins.bnsweep.texts import Texts

log = logging.getLogger(__name__)

SILENCE = 10.0
"""Seconds without a word while job directories are written."""

LEFT_OUT = object()
"""In the place of what a job returned: it is none of the sweep's."""

Batched = Callable[[Sequence[DictConfig]], Sequence[Any]]


@dataclass
class StackedLauncherConf:
    _target_: str = "hydra_plugins.bnsweep.launcher.StackedLauncher"

    job_logging: bool = False
    """Set up each job's own logging (hydra.job_logging), for callbacks that log; costs 10 ms and a file per job."""


@dataclass
class RayLauncherConf(StackedLauncherConf):
    _target_: str = "hydra_plugins.bnsweep.launcher.RayLauncher"

    address: str | None = None
    """Of a Ray cluster, as ray.init takes it; null: one that Ray starts on this machine for this command."""

    workers: int | None = None
    """Stacks trained at a time; null: as many as the cluster has place for."""

    cpus_per_worker: int = 1
    """A stack trains on one thread."""

    gpus_per_worker: float | None = None
    """0 to 1; null: 1 where the cluster has GPUs and train.device lets them be used."""

    memory_gb: float | None = None
    """Of a worker; null: its share of what its node has."""


@dataclass
class SubmititLauncherConf(StackedLauncherConf):
    _target_: str = "hydra_plugins.bnsweep.launcher.SubmititLauncher"

    cluster: str | None = None
    """slurm, or local: jobs as processes of this machine, for trying out; null: slurm where there is sbatch."""

    folder: str = "${hydra.sweep.dir}/submitit"
    """For what passes between this process and its jobs, which have to see it; emptied at the end."""

    workers: int = 4
    """Jobs at a time; each trains one stack."""

    timeout_min: int = 60
    """A job that takes longer is requeued."""

    max_num_timeout: int = 10
    """Times that a job is requeued for it."""

    partition: str | None = None

    cpus_per_task: int = 1
    """A stack trains on one thread."""

    mem_gb: float = 4
    """Memory of a job; stacks are made to fit."""

    gpus_per_node: int = 0
    """0 or 1."""

    gpu_mem_gb: float = 16
    """What to count on of a GPU's memory, which is not seen from here."""

    additional_parameters: dict[str, Any] = field(default_factory=dict)
    """More of sbatch's options, such as {account: mine, qos: low}."""


LAUNCHERS = {"stacked": StackedLauncherConf, "stacked_ray": RayLauncherConf, "stacked_submitit": SubmititLauncherConf}
for name, node in LAUNCHERS.items():
    ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="bnsweep")


class StackedLauncher(BasicLauncher):
    """Launches a task that has a batched form: an attribute `batched` of the function that `hydra.main` decorates.

    `task.batched(configs)` is called once with the configs of all jobs, each with its `hydra` node, in the order of
    their numbers. It returns, for each, what the task would have returned, or the exception that it would have raised;
    what it raises itself ends the sweep. A job for which it returns LEFT_OUT gets no
    directory and no JobReturn. A config is composed when it is read, and anew at each reading, so that a
    sweep of any length fits in memory: one that cannot be composed raises then, so read them all before any work.
    Directories, `.hydra`, callbacks and JobReturns are made afterwards, job by job. Inside `batched` no job is Hydra's
    current one: `HydraConfig`, `${hydra:…}`, hydra.job.chdir and hydra.job.env_set are not in force; `${hydra.…}` is.

    A task without a batched form is launched by Hydra's basic launcher.
    """

    def __init__(self, job_logging: bool = False) -> None:
        super().__init__()
        self.job_logging = job_logging
        self.auto = False
        """Whether the sweeper made the seeds for `seed=auto`."""
        self.searched: Sequence[str] = ()
        """The settings that the sweeper searches, batch by batch."""

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
        _ = self.config.hydra.sweep.dir  # read now: fixes the start time that its name may hold
        jobs = self._jobs(job_overrides, initial_job_idx)
        outcomes = self.batched(jobs)
        assert len(outcomes) == len(jobs)
        kept = [(place, outcome) for place, outcome in enumerate(outcomes) if outcome is not LEFT_OUT]
        yaml, returns, told = Yaml(), [], time.monotonic()
        texts = Texts(jobs, yaml) if len(kept) > 1 and self._is_quiet(jobs[0]) else None
        for place, outcome in kept:
            files = texts.of(place) if texts else None
            if files is None:
                returns.append(self._conclude(yaml, jobs, place, outcome))
            else:
                returns.append(conclude(files, partial(jobs.compose, place), outcome))
            if time.monotonic() - told > SILENCE:
                told = time.monotonic()
                log.info("%d of %d job directories", len(returns), len(kept))
        return returns

    def _jobs(self, job_overrides: Sequence[Sequence[str]], first: int) -> "Jobs":
        assert self.config is not None and self.hydra_context is not None
        if not job_overrides:
            raise ConfigCompositionException("no jobs: an override sweeps over an empty range or list")
        check_duplicates(self.config.hydra.overrides.task)  # as given: sweepers drop duplicates
        composer = Composer(self.hydra_context.config_loader, self.config, job_overrides)
        return Jobs(composer, job_overrides, first, self.auto, self.searched)

    def _is_quiet(self, config: DictConfig) -> bool:
        assert self.hydra_context is not None
        return not self.job_logging and is_quiet(config, self.hydra_context)

    def _conclude(self, yaml: Yaml, jobs: "Jobs", place: int, outcome: object) -> JobReturn:
        """Let Hydra run the job, whose work is done; or do the little that it would do."""
        assert self.hydra_context is not None
        config = jobs[place]
        if self._is_quiet(config):
            return conclude(files_of(config, yaml), partial(jobs.compose, place), outcome)
        return run_job(
            hydra_context=self.hydra_context,
            task_function=Recall(outcome),
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            configure_logging=self.job_logging,
        )


class RayLauncher(StackedLauncher):
    """The stacked launcher, with settings of where stacks train, which the task reads in `hydra.launcher`. Here, too,
    this process plans, and writes what there is to write."""

    def __init__(self, job_logging: bool = False, **settings: Any) -> None:
        super().__init__(job_logging)


class SubmititLauncher(RayLauncher):
    """The same for jobs of submitit."""


class Jobs(Sequence[DictConfig]):
    """The configs of a sweep's jobs, each composed when it is read."""

    def __init__(
        self,
        composer: Composer,
        overrides: Sequence[Sequence[str]],
        first: int = 0,
        auto: bool = False,
        searched: Sequence[str] = (),
    ) -> None:
        self._composer = composer
        self.auto = auto
        """Whether the seeds are those of `seed=auto`: the first of them may be enough."""
        self.searched = searched
        """Settings whose values a sampler chose, of a part of the sweep's jobs; none where these are a whole grid."""
        self.overrides = overrides
        """Of each job."""
        self._nums = range(first, first + len(overrides))

    def __len__(self) -> int:
        return len(self._nums)

    @overload
    def __getitem__(self, place: int) -> DictConfig: ...
    @overload
    def __getitem__(self, place: slice) -> list[DictConfig]: ...
    def __getitem__(self, place: int | slice) -> DictConfig | list[DictConfig]:
        if isinstance(place, slice):
            return [self.compose(i) for i in range(len(self))[place]]
        return self.compose(place)

    def are_apart(self, varied: Sequence[str]) -> bool:
        """See `Composer.are_apart`."""
        return len(self) > 0 and self._composer.are_apart(self.overrides[0], varied)

    def compose(self, place: int) -> DictConfig:
        overrides = self.overrides[place]
        log.debug("#%d : %s", self._nums[place], " ".join(filter_overrides(overrides)))
        config = self._composer.compose(overrides)
        self._number(config, place)
        return config

    def note(self, config: DictConfig, place: int) -> int:
        """What the config of this job says of itself becomes part of another one's, whose overrides have the same keys.
        Gives its number."""
        self._composer.note(config, self.overrides[place])
        return self._number(config, place)

    def _number(self, config: DictConfig, place: int) -> int:
        job, num = config.hydra.job, self._nums[place]
        job.id = num
        job.num = num
        return num


@dataclass
class Recall:
    """A task that has already been done; a class, so that callbacks can pickle it."""

    outcome: object

    def __call__(self, _: DictConfig) -> object:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome
