"""`python -m tests.benchmarks.probes`: what diagnostics cost, as a share of the same training without them.

The same stack is trained with `probes` off, light and full, in turns, so that all see the same load; a round's ratio
compares neighbours. Processor time is what the gate is about: it leaves out what other processes do to the clock.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from bnsweep.config.groups import PROBES, DataConfig, ProbesConfig, TrainConfig
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.store.environment import environment
from bnsweep.training.device import resolve_device
from bnsweep.training.trainer import train
from tests.benchmarks.work import LECTURE, Spec, make_config, synthetic

ALLOWED = 0.10
"""Share of training time that light probes may take."""


@dataclass
class Case:
    """One stack: the 54 cells of the lecture's grid."""

    says: str
    load: Callable[[], data.Dataset]
    data: DataConfig
    train: TrainConfig
    seconds: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {name: [] for name in PROBES})
    """By probe group: wall and processor time of each round."""

    def configs(self, probes: str, device: str) -> list[RunConfig]:
        spec, model = Spec(len(LECTURE), device=device), ModelConfig([32, 32])
        configs = [make_config(spec, cell, model, seed=0, data_seed=0) for cell in LECTURE]
        return [replace(c, data=self.data, train=self.train, probes=ProbesConfig(probes)) for c in configs]

    def run(self, probes: str, device: torch.device, dataset: data.Dataset) -> tuple[float, float]:
        configs = self.configs(probes, device.type)
        wall, processor = time.perf_counter(), time.process_time()
        train(configs, dataset, device)
        return time.perf_counter() - wall, time.process_time() - processor

    def readings(self, probes: str) -> int:
        return len(self.configs(probes, "cpu")[0].probed)

    def cost(self, probes: str, clock: int) -> list[float]:
        """Of every round, the time above that of the round without probes, as a share of it."""
        pairs = zip(self.seconds[probes], self.seconds["off"], strict=True)
        return [read[clock] / off[clock] - 1 for read, off in pairs]

    def rows(self, clock: int) -> list[str]:
        found = []
        for name in PROBES:
            seconds = statistics.median(s[clock] for s in self.seconds[name])
            costs = self.cost(name, clock)
            spread = f"{statistics.median(costs):+.1%} ({min(costs):+.1%} to {max(costs):+.1%})" if any(costs) else ""
            found.append(f"| {self.says} | {name} | {self.readings(name)} | {seconds:.2f} | {spread} |")
        return found


def cases(epochs: int) -> list[Case]:
    mnist = DataConfig("mnist", subset=10_000, validation=1000)
    return [
        Case("digits", lambda: data.load(DataConfig()), DataConfig(), TrainConfig(epochs=epochs)),
        Case("MNIST's shape, 10,000 samples", synthetic, mnist, TrainConfig(epochs=max(1, epochs // 10))),
    ]


def main(words: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="python -m tests.benchmarks.probes", description=__doc__)
    p.add_argument("--rounds", type=int, default=7, help="each trains every stack three times (default: %(default)s)")
    p.add_argument("--epochs", type=int, default=20, help="on digits, a tenth on MNIST's shape (default: %(default)s)")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    options = p.parse_args(words)
    torch.set_num_threads(1)  # as a worker of a sweep trains
    device, before = resolve_device(options.device), os.getloadavg()
    clock = 1 if device.type == "cpu" else 0
    print("| 54 members on | probes | readings | s | cost, median (least to most) |\n|---|---|---:|---:|---|")
    worst = 0.0
    for case in cases(options.epochs):
        dataset = case.load()
        case.run("off", device, dataset)  # warm-up
        for i in range(options.rounds):
            for name in (PROBES, PROBES[::-1])[i % 2]:
                case.seconds[name].append(case.run(name, device, dataset))
        print("\n".join(case.rows(clock)), flush=True)
        worst = max(worst, statistics.median(case.cost("light", clock)))
    here, after = environment(), os.getloadavg()
    says = "processor time" if clock else "wall time"
    versions = f"python {here.versions['python']}, torch {torch.__version__}"
    print(
        f"\n{says}, n = {options.rounds} rounds in turns, {here.hardware}, {versions}, {torch.get_num_threads()} thread"
    )
    print(f"commit {here.commit[:12]}{' with changes' if here.dirty else ''}, load {before[0]:.2f} to {after[0]:.2f}")
    print(f"light: {worst:.1%} at most, {'within' if worst <= ALLOWED else 'NOT within'} the {ALLOWED:.0%} allowed")


if __name__ == "__main__":
    main()
