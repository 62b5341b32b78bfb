"""(ours): bnsweep's Trainer, packed and run as a sweep does it, without MLflow and without evaluations: one stack at a
time in this process, several in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.kernels.trial import run_on
from bnsweep.nets.plain import build
from bnsweep.runs.executors.processes import process_context
from bnsweep.runs.plan import make_plan
from bnsweep.training.trainer import Trainer
from tests.benchmarks.arm import Arm, NotRun
from tests.benchmarks.work import Spec, Work


class Stacks:
    """What one worker trains."""

    def __init__(self, arm: type[Ours], work: Work, stacks: Sequence[Sequence[int]]) -> None:
        if work.device.type == "cpu":
            torch.set_num_threads(1)
        self.stacks, runs = stacks, arm.runs(work)
        self.trainers = [
            Trainer([runs[i] for i in jobs], work.dataset, work.device, kernels=arm.kernels) for jobs in stacks
        ]
        for jobs, trainer in zip(stacks, self.trainers, strict=True):
            arm.begin(trainer, [work.configs[i] for i in jobs])

    def epoch(self, number: int) -> None:
        for trainer in self.trainers:
            if trainer.stack.device.type == "cpu":
                torch.set_num_threads(1)
            trainer.epoch(number)

    def states(self, members: Sequence[int]) -> dict[int, dict[str, Any] | None]:
        """As numpy arrays, which pass between processes; None for a member that diverged."""
        found: dict[int, dict[str, Any] | None] = {}
        for jobs, trainer in zip(self.stacks, self.trainers, strict=True):
            alive = trainer.alive_K.tolist()
            for k, position in enumerate(trainer.stack.positions):
                if jobs[position] in members:
                    state = trainer.stack.export(k).state_dict()
                    found[jobs[position]] = {name: t.numpy() for name, t in state.items()} if alive[k] else None
        return found


_here: Stacks
"""Of a worker process."""


def begin(arm: type[Ours], spec: Spec, stacks: Sequence[Sequence[int]]) -> None:
    global _here  # noqa: PLW0603
    _here = Stacks(arm, Work(spec), stacks)


def epoch_here(number: int) -> None:
    _here.epoch(number)


def states_here(members: Sequence[int]) -> dict[int, dict[str, Any] | None]:
    return _here.states(members)


def pid_here(_: None) -> int:
    return os.getpid()


class Ours(Arm):
    label = "(ours) bnsweep"
    kernels: bool | None = None
    """Whether steps take Triton's; None: as a sweep does."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        plan = make_plan(self.runs(work), (), work.device)
        sizes = sorted((len(stack) for stack in plan.stacks), reverse=True)
        self.note = f"stacks of {', '.join(map(str, sizes))}; {plan.workers} at a time"
        shares = [plan.stacks[i :: plan.workers] for i in range(plan.workers)]
        self.here = Stacks(type(self), work, plan.stacks) if plan.workers == 1 else None
        self.pools = [
            ProcessPoolExecutor(1, process_context(), begin, (type(self), work.spec, share))
            for share in shares
            if self.here is None
        ]

    @staticmethod
    def runs(work: Work) -> list[RunConfig]:
        """What is trained."""
        return work.configs

    @staticmethod
    def begin(trainer: Trainer, configs: Sequence[RunConfig]) -> None:
        """Before the first pass of a stack, whose members these are."""

    def each(self, function: Callable[[Any], Any], argument: object) -> list[Any]:
        futures = [pool.submit(function, argument) for pool in self.pools]
        return [future.result() for future in futures]

    def epoch(self, number: int) -> None:
        if self.here is None:
            self.each(epoch_here, number)
        else:
            self.here.epoch(number)
        if self.work.device.type == "cuda":
            torch.cuda.synchronize()

    def models(self, members: Sequence[int]) -> list[nn.Sequential | None]:
        parts = self.each(states_here, members) if self.here is None else [self.here.states(members)]
        states = {i: state for part in parts for i, state in part.items()}
        return [self.model(i, states[i]) for i in members]

    def model(self, i: int, state: dict[str, Any] | None) -> nn.Sequential | None:
        if state is None:
            return None
        model = build(self.configs[i])
        tensors: dict[str, Tensor] = {name: torch.as_tensor(array) for name, array in state.items()}
        model.load_state_dict(tensors)
        return model

    @property
    def pids(self) -> list[int]:
        return self.each(pid_here, None)

    def close(self) -> None:
        for pool in self.pools:
            pool.shutdown()


class OursAdam(Ours):
    label = "(ours) bnsweep, Adam"
    optimizer = "adam"


class OursKernels(Ours):
    label = "(ours) bnsweep, kernels"
    kernels = True

    def __init__(self, work: Work) -> None:
        if work.device.type == "cpu" or not run_on(work.device):
            raise NotRun("kernels are for a GPU on which Triton runs")
        super().__init__(work)


class OursKernelsAdam(OursKernels):
    label = "(ours) bnsweep, kernels, Adam"
    optimizer = "adam"
