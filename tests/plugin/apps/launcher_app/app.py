"""A small application with a batched form, laid out as ours is: typed schema in a group of its own, groups on top.

`python app.py …` runs it. `calls.txt` in `record` gains one line for every call of the task or of its batched form,
so that a test can see which of the two ran, how often, and in how many processes. `fail_seed` makes jobs fail.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig


@dataclass
class Lr:
    value: float = 0.1
    schedule: str = "constant"


@dataclass
class Bn:
    placement: str = "none"
    eps: float = 1e-5
    affine: bool = True


@dataclass
class Data:
    name: str = "digits"
    subset: int | None = None
    seed: int | None = None


@dataclass
class Model:
    hidden: list[int] = field(default_factory=lambda: [32, 32])
    dropout: float = 0.0


@dataclass
class Run:
    lr: Lr = field(default_factory=Lr)
    bn: Bn = field(default_factory=Bn)
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    seed: int = 0
    note: str = ""
    fail_seed: int | None = None
    refuse: bool = False
    record: str = "."


ConfigStore.instance().store(group="schema", name="launcher_app", node=Run, package="_global_")


def objective(cfg: DictConfig) -> float:
    return round(float(cfg.lr.value + cfg.seed), 6)


def record(cfg: DictConfig, line: str) -> None:
    with (Path(cfg.record) / "calls.txt").open("a") as file:
        file.write(f"{line} {os.getpid()}\n")


def task(cfg: DictConfig) -> float:
    record(cfg, "one")
    if cfg.seed == cfg.fail_seed:
        raise ValueError(f"seed {cfg.seed} fails")
    return objective(cfg)


def batched(configs: Sequence[DictConfig]) -> list[Any]:
    if any(cfg.refuse for cfg in configs):
        raise SystemExit("refused: nothing was trained")
    record(configs[0], f"all {len(configs)}")
    return [ValueError(f"seed {c.seed} fails") if c.seed == c.fail_seed else objective(c) for c in configs]


task.batched = batched  # type: ignore[attr-defined]
main = hydra.main(version_base="1.3", config_path="conf", config_name="config")(task)

if __name__ == "__main__":
    main()
