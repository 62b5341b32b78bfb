"""The directory and the JobReturn of a job whose work is done, without Hydra's `run_job`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra import version
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf._utils import get_omega_conf_dumper


def is_quiet(config: DictConfig, context: HydraContext) -> bool:
    """Whether `run_job`, without job logging, would do no more for this job than `Directories.conclude` does."""
    job = config.hydra.job
    stays = job.chdir is False or (job.chdir is None and version.base_at_least("1.2"))
    return stays and not job.env_set and config.hydra.output_subdir is not None and not context.callbacks.callbacks


class Directories:
    """Concludes the jobs of one sweep."""

    def __init__(self) -> None:
        self._yaml = Yaml()

    def conclude(self, config: DictConfig, compose: Callable[[], DictConfig], outcome: object) -> JobReturn:
        """`compose` gives `config` anew."""
        previous = HydraConfig.instance().cfg
        # Not set_config, which copies: in force only while the directory's name is read.
        HydraConfig.instance().cfg = config  # type: ignore[assignment]
        try:
            names = [str(OmegaConf.select(config, f"hydra.sweep.{key}")) for key in ("dir", "subdir")]
        finally:
            HydraConfig.instance().cfg = previous
        tree: Any = OmegaConf.to_container(config, enum_to_str=True)
        hydra = tree.pop("hydra")
        folder = hydra["runtime"]["output_dir"] = os.path.abspath(os.path.join(*names))  # noqa: PTH100, PTH118 (as Hydra)
        task = hydra["overrides"]["task"]
        inner = Path(folder, hydra["output_subdir"])
        inner.mkdir(parents=True, exist_ok=True)
        texts = {"config": self._yaml.dump(tree), "hydra": self._yaml.dump({"hydra": hydra}), "overrides": dump(task)}
        for name, text in texts.items():
            (inner / f"{name}.yaml").write_text(text, encoding="utf-8")
        return Concluded(compose, folder, task, outcome)


class Concluded(JobReturn):
    """A JobReturn whose configs are composed when they are read: 10,000 of them would take gigabytes."""

    def __init__(self, compose: Callable[[], DictConfig], folder: str, overrides: list[str], outcome: object) -> None:
        self._compose, self._folder = compose, folder
        self.overrides = overrides
        self.working_dir = str(Path.cwd())
        self.task_name = JobRuntime.instance().get("name")
        self.status = JobStatus.FAILED if isinstance(outcome, Exception) else JobStatus.COMPLETED
        self.return_value = outcome

    @cached_property
    def cfg(self) -> DictConfig:  # type: ignore[override]
        config = self._compose()
        with read_write(config), open_dict(config):
            del config["hydra"]
        return config

    @cached_property
    def hydra_cfg(self) -> DictConfig:  # type: ignore[override]
        config = self._compose()
        config.hydra.runtime.output_dir = self._folder
        OmegaConf.set_readonly(config.hydra, True)
        return OmegaConf.masked_copy(config, "hydra")


def dump(tree: object) -> str:
    """`OmegaConf.to_yaml` of what `OmegaConf.to_container` gave."""
    dumper = get_omega_conf_dumper()
    text: str = yaml.dump(tree, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=dumper)
    return text


class Yaml:
    """Dumps trees that are much alike: a block of YAML is the blocks of its entries, and most have been seen before."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, str], str] = {}

    def dump(self, tree: dict[str, Any], depth: int = 0) -> str:
        """The block of a mapping, `depth` levels deep."""
        if not is_block(tree):
            return dump(tree)
        return "".join([self._entry(key, value, depth) for key, value in tree.items()])

    def _entry(self, key: str, value: Any, depth: int) -> str:
        if is_block(value):
            return f"{self._lines(key, {'x': 0}, depth, 1)}{self.dump(value, depth + 1)}"
        return self._lines(key, value, depth, None)

    def _lines(self, key: str, value: Any, depth: int, count: int | None) -> str:
        """The first `count` lines of an entry; all of them if None."""
        place = (depth, key, repr(value))
        if place not in self._known:
            if len(self._known) > 10_000:
                self._known.clear()
            nested = {key: value}
            for _ in range(depth):
                nested = {"x": nested}
            lines = dump(nested).splitlines(keepends=True)[depth:]
            self._known[place] = "".join(lines[:count])
        return self._known[place]


def is_block(tree: object) -> bool:
    """Whether it is a mapping whose keys YAML writes on one line each, before their values."""
    return isinstance(tree, dict) and bool(tree) and all(is_simple(key) for key in tree)


def is_simple(key: object) -> bool:
    return type(key) is str and 0 < len(key) < 100 and key.isprintable()
