"""The directory and the JobReturn of a job whose work is done, without Hydra's `run_job`."""

# No `from __future__ import annotations`: Hydra's scanner executes modules before they are in sys.modules, where
# dataclasses look text annotations up.
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import yaml  # type: ignore[import-untyped]
from hydra import version
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.types import HydraContext
from omegaconf import Container, DictConfig, Node, OmegaConf, ValueNode, open_dict, read_write
from omegaconf._utils import get_omega_conf_dumper


def is_quiet(config: DictConfig, context: HydraContext) -> bool:
    """Whether `run_job`, without job logging, would do no more for this job than `conclude` does."""
    job = config.hydra.job
    stays = job.chdir is False or (job.chdir is None and version.base_at_least("1.2"))
    listened = job.env_set or context.callbacks.callbacks
    return stays and not listened and config.hydra.output_subdir is not None and is_block(config)


def job_folder(config: DictConfig) -> Path:
    """Of a job of a sweep, as the config names it."""
    previous = HydraConfig.instance().cfg
    # Not set_config, which copies: in force only while the name is read.
    HydraConfig.instance().cfg = config  # type: ignore[assignment]
    try:
        return Path(*(str(OmegaConf.select(config, f"hydra.sweep.{key}")) for key in ("dir", "subdir")))
    finally:
        HydraConfig.instance().cfg = previous


@dataclass(frozen=True)
class Files:
    """What is written of a job."""

    folder: Path
    """As its config names it."""
    inner: str
    """The folder in it that holds the files."""
    texts: dict[str, str]
    """By the name of the file."""
    overrides: list[str]


def files_of(config: DictConfig, yaml: "Yaml") -> Files:
    folder = job_folder(config)
    config.hydra.runtime.output_dir = os.path.abspath(folder)  # noqa: PTH100 (as Hydra)
    overrides = cast(list[str], OmegaConf.to_container(config.hydra.overrides.task))
    texts = {
        "config.yaml": yaml.dump(config, leave_out="hydra") or "{}\n",
        "hydra.yaml": f"hydra:\n{yaml.dump(config.hydra, depth=1)}",
        "overrides.yaml": dump(overrides),
    }
    return Files(folder, config.hydra.output_subdir, texts, overrides)


def conclude(files: Files, compose: Callable[[], DictConfig], outcome: object) -> JobReturn:
    """Writes a job's files. `compose` gives its config."""
    folder = os.path.abspath(files.folder)  # noqa: PTH100 (as Hydra)
    files.folder.mkdir(parents=True, exist_ok=True)  # which may go up again
    inner = Path(folder, files.inner)
    inner.mkdir(parents=True, exist_ok=True)
    for name, text in files.texts.items():
        (inner / name).write_text(text, encoding="utf-8")
    return Concluded(compose, folder, files.overrides, outcome)


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


class Yaml:
    """`OmegaConf.to_yaml` of configs that are much alike: a block of YAML is the blocks of its entries, and most of
    them have been seen before."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, str], str] = {}

    def dump(self, config: DictConfig, depth: int = 0, leave_out: str = "") -> str:
        """The block of a mapping, `depth` levels deep."""
        entries = config.__dict__["_content"].items()
        return "".join([self._entry(key, node, depth) for key, node in entries if key != leave_out])

    def entry(self, config: DictConfig, key: str, depth: int = 0) -> str:
        """One entry of a mapping."""
        return self._entry(key, config.__dict__["_content"][key], depth)

    def _entry(self, key: str, node: Node, depth: int) -> str:
        if is_block(node):
            return self._lines(key, {"x": 0}, depth, 1) + self.dump(cast(DictConfig, node), depth + 1)
        content = node.__dict__.get("_content")
        if isinstance(content, list) and content and all(isinstance(item, ValueNode) for item in content):
            return self._lines(key, ["x"], depth, 1) + "".join([self._item(value_of(item), depth) for item in content])
        value = OmegaConf.to_container(node, enum_to_str=True) if isinstance(node, Container) else value_of(node)
        return self._like(key, value, depth)

    def _item(self, value: Any, depth: int) -> str:
        """One of a list."""
        return self._lines("x", [value], depth, None).partition("\n")[2]

    def _like(self, key: str, value: Any, depth: int) -> str:
        """An entry, of a value that stands in YAML as another one does with that one in its place."""
        model = model_of(value)
        if model is None:
            return self._lines(key, value, depth, None)
        before, _, after = self._lines(key, model, depth, None).rpartition(str(model))
        return f"{before}{value}{after}"

    def _lines(self, key: str, value: Any, depth: int, count: int | None) -> str:
        """The first `count` lines of an entry; all of them if None."""
        place = (depth, key, repr(value))
        if place not in self._known:
            if len(self._known) > 10_000:
                self._known.clear()
            nested = {key: value}
            for _ in range(depth):
                nested = {"x": nested}
            self._known[place] = "".join(dump(nested).splitlines(keepends=True)[depth:][:count])
        return self._known[place]


def dump(tree: object) -> str:
    """`OmegaConf.to_yaml` of what `OmegaConf.to_container` gave."""
    dumper = get_omega_conf_dumper()
    text: str = yaml.dump(tree, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=dumper)
    return text


def value_of(node: Node) -> Any:
    """Of one that has no others in it."""
    value = node._value()
    return value.name if isinstance(value, Enum) else value


AS_IT_IS = re.compile(r"(?=.*[=/])[A-Za-z/][\w./,=+-]*", re.ASCII)
"""Texts that YAML never quotes nor folds: they are no number, flag, null or date, and have no space."""


def model_of(value: Any) -> int | str | None:
    """A value that YAML writes as it writes this one; None where only writing it tells."""
    if type(value) is int and value >= 0:
        return 7
    if type(value) is str and AS_IT_IS.fullmatch(value):
        return "a=b"
    return "7" if type(value) is str and value.isdecimal() and value.isascii() else None


def is_block(node: Node) -> bool:
    """Whether it is a mapping that has entries, and keys that YAML writes on one line each."""
    content = node.__dict__.get("_content")
    return isinstance(content, dict) and bool(content) and all(map(is_simple, content))


def is_simple(key: object) -> bool:
    return type(key) is str and 0 < len(key) < 100 and key.isprintable()
