"""(ours): bnsweep's Trainer, packed and run as a sweep does it, without MLflow and without evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from bnsweep.environment import cores
from bnsweep.plan import make_plan
from bnsweep.train import Trainer
from tests.benchmarks.arm import Arm
from tests.benchmarks.work import Work


class Ours(Arm):
    label = "(ours) bnsweep"

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        torch.set_num_threads(cores())  # a sweep starts with torch's own setting, of which it makes its workers
        self.plan = make_plan(self.configs, (), work.device)
        sizes = sorted((len(stack) for stack in self.plan.stacks), reverse=True)
        self.note = f"stacks of {', '.join(map(str, sizes))}; {self.plan.workers} at a time"
        self.pool = ThreadPoolExecutor(self.plan.workers, initializer=self.prepare)
        self.trainers = list(self.pool.map(self.make, self.plan.stacks))

    def prepare(self) -> None:
        if self.work.device.type == "cpu":
            torch.set_num_threads(1)  # of this worker

    def make(self, jobs: Sequence[int]) -> Trainer:
        return Trainer([self.configs[job] for job in jobs], self.work.dataset, self.work.device)

    def epoch(self, number: int) -> None:
        for _ in self.pool.map(lambda trainer: trainer.epoch(number), self.trainers):
            pass
        if self.work.device.type == "cuda":
            torch.cuda.synchronize()

    def models(self, members: Sequence[int]) -> list[nn.Sequential | None]:
        found: dict[int, nn.Sequential | None] = {}
        for jobs, trainer in zip(self.plan.stacks, self.trainers, strict=True):
            alive = trainer.alive_K.tolist()
            for k, position in enumerate(trainer.stack.positions):
                if jobs[position] in members:
                    found[jobs[position]] = trainer.stack.export(k) if alive[k] else None
        return [found[i] for i in members]

    def close(self) -> None:
        self.pool.shutdown()


class OursAdam(Ours):
    label = "(ours) bnsweep, Adam"
    optimizer = "adam"
