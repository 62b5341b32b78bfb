"""`hydra/sweeper=stacked`: Hydra's basic sweeper, arranged for sweeps that may be cut short or refused."""

# No `from __future__ import annotations`: Hydra's scanner executes modules before they are in sys.modules, where
# dataclasses look text annotations up.
import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from hydra_plugins.bnsweep.launcher import StackedLauncher
from hydra_plugins.bnsweep.overrides import check_duplicates, count_values, parse_override

REPLICATE = "seed="
SEEDS = "range(0,{})"
"""What `seed=auto` stands for."""
PLAN = "multirun.yaml"
"""The sweep's own config, which the basic sweeper writes first."""

MOST_JOBS = 100_000
"""Of a sweep. Each is composed, by some hundreds a second, and kept in memory before the first is trained."""


@dataclass
class StackedSweeperConf(BasicSweeperConf):
    _target_: str = "hydra_plugins.bnsweep.sweeper.StackedSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="stacked", node=StackedSweeperConf, provider="bnsweep")


class StackedSweeper(BasicSweeper):
    """The basic sweeper, but for eight things.

    All jobs of the first `seed` come first, then those of the second, and so on, so that a sweep cut short still
    compares what it compares; within a seed, and within a job's overrides, the order is the basic sweeper's.
    A key given twice is refused; one that is given by hand is not swept by hydra.sweeper.params, however it is written
    (`seed`, `+seed`, `++seed`). Jobs are not composed only to see whether they can be, where the launcher composes
    all of them before the first runs; elsewhere each is also given to the task's `check`, if it has one, which raises
    for a job that the task would refuse. A sweep that is refused leaves no directory behind. One of more than MOST_JOBS
    is refused before any job is made. Settings that sweep.zip names go together, value by value. `seed=auto` stands for
    the seeds from 0 to sweep.max_seeds, of which the task trains as many as it takes.
    """

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        jobs = jobs_of(overrides, zipped_in(self.config))
        return list(BasicSweeper.split_overrides_to_chunks(jobs, max_batch_size)) if jobs else [jobs]

    def sweep(self, arguments: list[str]) -> Any:
        folder = self._check(arguments)
        arguments = self._with_seeds(arguments)
        before = Contents.of(folder)
        try:
            self._try(folder)
            return self._sweep(arguments)
        except (Exception, SystemExit):
            before.restore()
            raise

    def _check(self, arguments: list[str]) -> Path:
        """Refuses what needs no job to be refused; gives the sweep's folder."""
        from bnsweep.config.secrets import check_no_secret
        from bnsweep.config.tree import check_tracking

        assert self.config is not None
        check_duplicates(arguments)
        check_tracking(self.config.get("tracking"))
        check_no_secret([f"{key}={value}" for key, value in (self.params or {}).items()])
        self.params = untyped(self.params, arguments)
        check_id(self.config.get("sweep"))
        check_shard(self.config.get("sweep"), arguments, isinstance(self.launcher, StackedLauncher))
        folder = Path(str(self.config.hydra.sweep.dir))
        check_folder_is_own(folder, arguments)
        return folder

    def _sweep(self, arguments: list[str]) -> Any:
        return super().sweep(arguments)

    def _with_seeds(self, arguments: list[str]) -> list[str]:
        """The arguments with the seeds that `seed=auto` stands for, there or in the params, of which the launcher is
        told. Raises ConfigError where it cannot be."""
        from bnsweep.config.checks import AUTO, check
        from bnsweep.inference import looks_until

        assert self.config is not None
        texts = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        if not asks_auto(texts):
            return arguments
        shard = self.config.sweep.get("shard")
        check(shard is None, "sweep.shard", shard, "null with seed=auto, which looks at all runs of a seed together")
        stacked = isinstance(self.launcher, StackedLauncher) and bool(self.launcher.batched)
        check(stacked, "seed", AUTO, "with hydra/launcher=stacked, which trains the runs of a sweep together")
        self.launcher.auto = True  # type: ignore[union-attr]
        most = self.config.sweep.max_seeds
        looks_until(most)
        self.params = {key: SEEDS.format(most) if is_auto(f"{key}={v}") else v for key, v in self.params.items()}
        return seeds_for(arguments, most)

    def _try(self, folder: Path) -> None:
        """Writes what the basic sweeper writes first; HydraException where that cannot be."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self.config, folder / PLAN)
        except (OSError, ValueError) as error:  # ValueError: a null character
            reason = getattr(error, "strerror", None) or str(error)
            says = f"must be a folder that can be written ({reason}); hydra.sweep.dir names it"
            raise HydraException(f"{folder}: {says}") from error

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        if isinstance(self.launcher, StackedLauncher) and self.launcher.batched:
            return
        assert self.hydra_context is not None and self.config is not None
        check = getattr(getattr(self.launcher, "task_function", None), "check", None)
        for overrides in batch:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            if check is not None:
                check(config)


def check_id(sweep: DictConfig | None) -> None:
    """Refuses (ConfigError) an id that may not name a folder, before it does."""
    from bnsweep.config.checks import check
    from bnsweep.config.sweep import SWEEP_ID

    text = None if sweep is None else sweep.get("id")
    if text is not None:
        check(SWEEP_ID.holds(str(text)), "sweep.id", text, SWEEP_ID.says)


def check_shard(sweep: DictConfig | None, arguments: Sequence[str], stacked: bool) -> None:
    """Refuses (ConfigError) a share of a sweep that has another id on each machine, or whose jobs are launched one by
    one."""
    from bnsweep.config.checks import check

    shard = None if sweep is None else sweep.get("shard")
    named = any(parse_override(text).get_key_element().lstrip("+") == "sweep.id" for text in arguments)
    says = "null without sweep.id=NAME, the same on every machine: by it they know that they share a sweep"
    check(shard is None or named, "sweep.shard", shard, says)
    check(shard is None or stacked, "sweep.shard", shard, "null with another launcher than hydra/launcher=stacked")


def asks_auto(texts: Sequence[str]) -> bool:
    """Whether one of these overrides is seed=auto. Raises ConfigError where another sweeps over data.seed."""
    from bnsweep.config.checks import AUTO, check

    if not any(is_auto(text) for text in texts):
        return False
    for override in map(parse_override, texts):
        one = override.get_key_element().lstrip("+") != "data.seed" or not override.is_sweep_override()
        check(one, "seed", AUTO, f"without {override.input_line}: seeds that share a data seed are not independent")
    return True


def is_auto(text: str) -> bool:
    from bnsweep.config.checks import AUTO

    key, _, value = text.partition("=")
    return key.strip().lstrip("+") == "seed" and value.strip() == AUTO


def seeds_for(texts: Sequence[str], most: int) -> list[str]:
    """Overrides with the first seeds in the place of auto."""
    return [f"{text.partition('=')[0].strip()}={SEEDS.format(most)}" if is_auto(text) else text for text in texts]


NO_OTHER_RUNS = ("sweep.", "tracking.", "hydra", "train.device")
"""How settings begin that do not change which runs a sweep has."""


def check_folder_is_own(folder: Path, arguments: Sequence[str]) -> None:
    """Refuses (ConfigError) a folder that holds the job directories of a sweep of other runs."""
    from bnsweep.config.checks import check

    try:
        earlier = OmegaConf.load(folder / PLAN).hydra.overrides.task
    except (OSError, AttributeError, OmegaConfBaseException, YAMLError):
        return
    before, now = (
        sorted(str(text) for text in texts if not str(text).lstrip("+").startswith(NO_OTHER_RUNS))
        for texts in (earlier or [], arguments)
    )
    says = f"the folder of no other sweep; that one was of {' '.join(before) or 'one run'}"
    check(before == now, "hydra.sweep.dir", folder, f"{says} (sweep.id names the default one)")


def untyped(params: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """The sweep that a config names, without the keys that are given by hand."""
    typed = {parse_override(text).get_key_element().lstrip("+~") for text in arguments}
    return {key: value for key, value in params.items() if key.lstrip("+") not in typed}


def sweep_jobs(master: DictConfig, arguments: Sequence[str], changes: Sequence[str] = ()) -> list[list[str]]:
    """The overrides of each job of the sweep whose own config is `master`, as StackedSweeper makes them; `changes` are
    overrides that come before its params and after what is given by hand."""
    changed = {parse_override(text).get_key_element(): text.partition("=")[2] for text in changes}
    params = untyped({**(master.hydra.sweeper.params or {}), **changed}, arguments)
    texts = [*(f"{key}={value}" for key, value in params.items()), *arguments]
    overrides = OverridesParser.create().parse_overrides(texts)
    return jobs_of(overrides, zipped_in(master))


def zipped_in(config: DictConfig | None) -> list[list[str]]:
    """What sweep.zip says. Raises ConfigError where it is no list of lists."""
    from bnsweep.config.checks import check

    sweep = None if config is None else config.get("sweep")
    groups = [] if sweep is None or not sweep.get("zip") else OmegaConf.to_container(sweep.zip)
    assert isinstance(groups, list)
    ok = all(isinstance(group, list) and len(group) > 1 and all(isinstance(k, str) for k in group) for group in groups)
    check(ok, "sweep.zip", groups, "lists of two settings or more, as in 'sweep.zip=[[lr.value, train.batch_size]]'")
    names = [key for group in groups for key in group]
    check(len(set(names)) == len(names), "sweep.zip", groups, "lists that name each setting once")
    return groups


def jobs_of(overrides: Sequence[Override], zipped: Sequence[Sequence[str]] = ()) -> list[list[str]]:
    """The overrides of every job: all combinations of what is swept, of which the values of `zipped` settings go
    together; those of the first seed first, then those of the second, and so on."""
    check_count(overrides, zipped)
    of_key: dict[str, list[list[str]]] = {}
    for override in overrides:
        (jobs,) = BasicSweeper.split_arguments([override], None)
        of_key[override.get_key_element()] = jobs
    for group in zipped:
        keys = [key for key in of_key if key.lstrip("+") in group]
        together = [[text for job in row for text in job] for row in zip(*(of_key[key] for key in keys), strict=True)]
        for key in keys[1:]:
            del of_key[key]
        of_key[keys[0]] = together
    jobs = [[text for part in parts for text in part] for parts in itertools.product(*of_key.values())]
    seeds = list(dict.fromkeys(text for job in jobs for text in job if text.startswith(REPLICATE)))
    rank = {text: position for position, text in enumerate(seeds)}
    jobs.sort(key=lambda job: max((rank.get(text, 0) for text in job), default=0))
    return jobs


def check_count(overrides: Sequence[Override], zipped: Sequence[Sequence[str]] = ()) -> None:
    """Refuses a sweep of more jobs than can be kept in memory, without making them, and zipped settings that do not
    fit one another."""
    lengths = {override.get_key_element(): count_values(override) for override in overrides}
    named = {key.lstrip("+"): length for key, length in lengths.items()}
    for group in zipped:
        alone = [key for key in group if named.get(key, 1) == 1]
        if alone:
            raise HydraException(f"sweep.zip: must name settings with several values in this sweep, {alone[0]} has one")
        if len({named[key] for key in group}) > 1:
            counts = ", ".join(f"{key} has {named[key]}" for key in group)
            raise HydraException(f"sweep.zip: must name settings with as many values as one another; {counts}")
    double = {key for group in zipped for key in group[1:]}
    jobs = math.prod(length for key, length in lengths.items() if key.lstrip("+") not in double)
    if jobs > MOST_JOBS:
        longest = max(lengths, key=lambda key: lengths[key])
        says = f"fewer values: its {lengths[longest]:,} make {jobs:,} jobs, and {MOST_JOBS:,} are the most in a sweep"
        raise HydraException(f"{longest}: must have {says} (part it: sweeps share what they trained)")


@dataclass
class Contents:
    """What a sweep's folder held before the sweep."""

    folder: Path
    missing: list[Path]
    """It and its parents that were not there, innermost first."""
    names: set[str]
    plan: bytes | None
    """multirun.yaml."""

    @classmethod
    def of(cls, folder: Path) -> "Contents":
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        if missing:
            return cls(folder, missing, set(), None)
        plan = folder / PLAN
        return cls(folder, [], {path.name for path in folder.glob("*")}, plan.read_bytes() if plan.exists() else None)

    def restore(self) -> None:
        """Undo what the sweep wrote, unless it wrote more than its own config; another's work stays."""
        new = {path.name for path in self.folder.glob("*")} - self.names
        if not new <= {PLAN}:
            return
        with suppress(OSError):
            if self.plan is None:
                (self.folder / PLAN).unlink(missing_ok=True)
            else:
                (self.folder / PLAN).write_bytes(self.plan)
        for path in self.missing:
            with suppress(OSError):
                path.rmdir()
