"""A sweep from its settings to its end: what can be refused is refused first, then its batches are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bnsweep.config.checks import ConfigError, check_folder
from bnsweep.config.groups import DataConfig
from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.config.secrets import hide_secrets_in_logs
from bnsweep.config.sweep import SweepConfig
from bnsweep.data.dataset import DataKey, Dataset, load
from bnsweep.runs.batches import Batches, reusable, train_batches
from bnsweep.runs.checkpoints import checkpoints_of
from bnsweep.runs.conduct import Before
from bnsweep.runs.executors.base import Cluster
from bnsweep.runs.ledger import SweepResult
from bnsweep.runs.machine import limits
from bnsweep.runs.place import Planned, make_room, planner, resources_for, starter
from bnsweep.runs.plan import describe
from bnsweep.runs.prediction import predicted_seconds
from bnsweep.runs.resources import Resources
from bnsweep.runs.seed_batches import Looking
from bnsweep.runs.shards import share_of
from bnsweep.runs.strategies import check_strategy
from bnsweep.store.address import origin
from bnsweep.store.connect import Draft
from bnsweep.store.store import Store
from bnsweep.store.system_metrics import check_system_metrics
from bnsweep.training.known import with_facts


def shared_config(configs: Sequence[RunConfig]) -> tuple[TrackingConfig, SweepConfig]:
    """What belongs to a sweep rather than to a run; ConfigError where jobs disagree on it."""
    first = configs[0]
    for config in configs:
        for name in ("tracking", "sweep"):
            if getattr(config, name) != getattr(first, name):
                raise ConfigError(f"{name}: settings of the whole sweep must be the same in all of its jobs")
        if config.data.task != first.data.task:
            both = f"{first.data.task},{config.data.task}"
            raise ConfigError(f"data.task={both}: must be one in all jobs of a sweep, as their scores do not compare")
        if config.train.device != first.train.device:
            raise ConfigError("train.device: must be the same in all jobs of a sweep")
    return first.tracking, first.sweep


def load_datasets(configs: Sequence[RunConfig]) -> dict[DataKey, Dataset]:
    """Every dataset of the sweep, read and verified once."""
    wanted: dict[DataKey, DataConfig] = {config.data.key: config.data for config in configs}
    return {key: load(config) for key, config in wanted.items()}


def read_rest(configs: Sequence[RunConfig], datasets: dict[DataKey, Dataset]) -> None:
    """The data of these runs that have not been read yet, and what is to be said of any."""
    datasets |= load_datasets([config for config in configs if config.data.key not in datasets])
    say(f"data: {note}" for dataset in datasets.values() for note in dataset.notes)


def store_so_far(tracking: TrackingConfig) -> Store | None:
    """The store, where there is one; for a dry run, which creates none."""
    try:
        return Store.open(tracking, create=False)
    except ConfigError as error:
        print(f"nothing counts as done: {error}")
        return None


def predict(
    configs: Sequence[RunConfig],
    datasets: Mapping[DataKey, Dataset],
    planned: Planned,
    store: Store | None,
) -> None:
    """Print the plan, and then how long it may take: trials of many shapes of deep networks are long themselves."""
    sweep = configs[0].sweep
    done = {} if sweep.rerun or store is None else reusable(store.done({*map(identity, configs)}), sweep)
    plan = planned(configs, done)
    print(describe(plan), flush=True)
    if plan.where:
        print("no prediction of the training time: a trial here says nothing of workers elsewhere")
        return
    seconds = predicted_seconds(plan, datasets)
    print(f"predicted training time: about {seconds:.0f} s, from a trial of one stack a shape")


def check_wishes(sweep: SweepConfig, keep_plan: bool) -> None:
    """Refuses a report or system metrics that could not be written."""
    if sweep.report is not None:
        check_folder("sweep.report", Path(sweep.report))
    if sweep.system_metrics:
        check_system_metrics(has_own_run=keep_plan)


def say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


Planning = Callable[[Sequence[RunConfig]], Sequence[str]]
"""What is to be said of runs before they are trained. Raises ConfigError where they are not to be."""


def run_sweep(
    configs: Sequence[RunConfig],
    command: str,
    keep_plan: bool = True,
    earlier: Sequence[RunConfig] = (),
    workers: int | None = None,
    datasets: Mapping[DataKey, Dataset] | None = None,
    looking: Looking | None = None,
    planning: Planning | None = None,
    draft: Draft | None = None,
    searched: Sequence[str] = (),
    before: Sequence[SweepResult] = (),
    cluster: Cluster | None = None,
) -> SweepResult | None:
    """Train what is not done yet and log it; None for a dry run.

    Everything that can be refused is refused (ConfigError) before anything is trained or written: device, data,
    tracking store. `keep_plan` writes the sweep's own MLflow run; a job in a process of its own leaves it out. A sweep
    in batches gives the configs of its `earlier` ones, which its plan holds too, and their results, `before`.
    `workers`: stacks trained at a time at most, by default what the machine has cores for. `datasets`: those read so
    far. `looking`: of a sweep that adds seeds until its claims are decided, whose result is of the runs it took.
    `draft`: of a database for a new store. `searched`: settings that a sampler chooses. `cluster`: where stacks train,
    by default on this machine.
    """
    tracking, sweep = shared_config([*earlier[:1], *configs])
    hide_secrets_in_logs()
    say(origin(tracking))
    check_wishes(sweep, keep_plan)
    datasets = dict(datasets or {})
    share, earlier = share_of(with_facts(configs, datasets), sweep), with_facts(earlier, datasets)
    check_strategy(share.configs, adds_seeds=looking is not None, is_whole=keep_plan)
    resources = resources_for(share.configs, workers, cluster)
    make_room(share.configs, resources)
    read_rest(share.configs, datasets)
    kept = checkpoints_of(sweep, resources.device, elsewhere=cluster is not None)
    own = share, earlier, command if keep_plan else None
    batches = Batches(*own, looking, searched, Before.of(earlier, before), kept)
    say([*(planning(share.whole) if planning else ()), *batches.notes, *limits()])
    return train_or_predict(batches, datasets, resources, cluster, draft)


def train_or_predict(
    batches: Batches,
    datasets: dict[DataKey, Dataset],
    resources: Resources,
    cluster: Cluster | None,
    draft: Draft | None,
) -> SweepResult | None:
    """As `run_sweep` has it."""
    share, planned = batches.share, planner(resources, cluster, batches.checkpoints)
    tracking = share.whole[0].tracking
    store = store_so_far(tracking) if share.sweep.dry_run else Store.open(tracking, draft=draft)
    if share.sweep.dry_run or store is None:
        predict(share.configs, datasets, planned, store)
        return None
    return train_batches(batches, store, starter(datasets, cluster), planned)
