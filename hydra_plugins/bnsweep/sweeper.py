"""`hydra/sweeper=stacked`: Hydra's basic sweeper, arranged for sweeps that may be cut short or refused."""

# No `from __future__ import annotations`: Hydra's scanner executes modules before they are in sys.modules, where
# dataclasses look text annotations up.
from collections.abc import Mapping, Sequence
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

from bnsweep.config.checks import check
from bnsweep.config.run import SWEEP_ID
from bnsweep.config.secrets import check_no_secret
from bnsweep.config.tree import check_tracking
from hydra_plugins.bnsweep.launcher import StackedLauncher
from hydra_plugins.bnsweep.overrides import check_duplicates, parse_override

REPLICATE = "seed="


@dataclass
class StackedSweeperConf(BasicSweeperConf):
    _target_: str = "hydra_plugins.bnsweep.sweeper.StackedSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="stacked", node=StackedSweeperConf, provider="bnsweep")


class StackedSweeper(BasicSweeper):
    """The basic sweeper, but for five things.

    All jobs of the first `seed` come first, then those of the second, and so on, so that a sweep cut short still
    compares what it compares; within a seed, and within a job's overrides, the order is the basic sweeper's.
    A key given twice is refused; one that is given by hand is not swept by hydra.sweeper.params, however it is written
    (`seed`, `+seed`, `++seed`). Jobs are not composed only to see whether they can be, where the launcher composes
    all of them before the first runs. A sweep that is refused leaves no directory behind.
    """

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
        seeds = list(dict.fromkeys(text for job in jobs for text in job if text.startswith(REPLICATE)))
        rank = {text: position for position, text in enumerate(seeds)}
        jobs.sort(key=lambda job: max((rank.get(text, 0) for text in job), default=0))
        return list(BasicSweeper.split_overrides_to_chunks(jobs, max_batch_size)) if jobs else [jobs]

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        check_duplicates(arguments)
        check_tracking(self.config.get("tracking"))
        check_no_secret([f"{key}={value}" for key, value in (self.params or {}).items()])
        self.params = untyped(self.params, arguments)
        check_id(self.config.get("sweep"))
        folder = Path(str(self.config.hydra.sweep.dir))
        check_folder_is_own(folder, arguments)
        new = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            return super().sweep(arguments)
        except (HydraException, ValueError, SystemExit):
            remove_unused(new)
            raise

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        if not (isinstance(self.launcher, StackedLauncher) and self.launcher.batched):
            super().validate_batch_is_legal(batch)


def check_id(sweep: DictConfig | None) -> None:
    """Refuses (ConfigError) an id that may not name a folder, before it does."""
    text = None if sweep is None else sweep.get("id")
    if text is not None:
        check(SWEEP_ID.holds(str(text)), "sweep.id", text, SWEEP_ID.says)


NO_OTHER_RUNS = ("sweep.", "tracking.", "hydra", "train.device")
"""How settings begin that do not change which runs a sweep has."""


def check_folder_is_own(folder: Path, arguments: Sequence[str]) -> None:
    """Refuses (ConfigError) a folder that holds the job directories of a sweep of other runs."""
    try:
        earlier = OmegaConf.load(folder / "multirun.yaml").hydra.overrides.task
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
    (jobs,) = StackedSweeper.split_arguments(overrides, None)
    return jobs


def remove_unused(folders: Sequence[Path]) -> None:
    """Remove a sweep's folder and the parents made for it, innermost first, if no job has left anything in it."""
    if not folders or {path.name for path in folders[0].glob("*")} != {"multirun.yaml"}:
        return
    (folders[0] / "multirun.yaml").unlink()
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # someone else's sweep is in there
            break
