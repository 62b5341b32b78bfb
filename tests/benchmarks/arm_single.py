"""(c) and (d): the best loop over one network that a good engineer writes, alone and once a core."""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.nets.plain import build
from bnsweep.runs.machine import cores
from tests.benchmarks.arm import Arm, NotRun
from tests.benchmarks.arm_loaders import make_optimizer, plain
from tests.benchmarks.work import BATCH, Spec, Work

UPDATES = "fused", "foreach", "single"


@dataclass(frozen=True)
class Tuning:
    """How the loop runs; `tuned` chooses by trial."""

    threads: int = 1
    update: str = "foreach"
    """An implementation of torch.optim: foreach, fused, or single (a Python loop over the parameters)."""
    slices: bool = True
    """Permute the rows once an epoch and slice; else gather each batch."""
    compiled: bool = False
    channels_last: bool = False
    """Of images."""

    def __str__(self) -> str:
        run = ("compiled" if self.compiled else "eager") + (", channels last" if self.channels_last else "")
        rows = "rows permuted once an epoch" if self.slices else "rows gathered a batch"
        return f"{self.threads} thread{'s' * (self.threads > 1)}, {self.update} update, {rows}, {run}"

    @property
    def how(self) -> dict[str, bool]:
        return {"foreach": self.update == "foreach", "fused": self.update == "fused"}


def capturable(work: Work, config: RunConfig) -> dict[str, bool]:
    """Adam counts its steps on the host unless told otherwise, where a CUDA graph does not see them."""
    return {"capturable": True} if work.device.type == "cuda" and config.optimizer.name == "adam" else {}


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


class Loop:
    """One network, its optimizer, and one step of it; on CUDA the step is a graph."""

    def __init__(self, work: Work, config: RunConfig, tuning: Tuning, x: Tensor, y: Tensor) -> None:
        self.work, self.config, self.tuning, self.x, self.y = work, config, tuning, x, y
        self.model = build(config).to(work.device)
        if tuning.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(config, self.model, **tuning.how, **capturable(work, config))
        self.loss = torch.compile(loss_of) if tuning.compiled else loss_of
        self.graph: Any = None
        if work.device.type == "cuda":
            self.capture()

    def epoch(self, number: int) -> None:
        order = self.work.order(self.config, number).to(self.work.device)
        if self.graph is not None:
            self.order.copy_(order)
            self.at.zero_()
            for _ in range(len(order) // BATCH):
                self.graph.replay()
        elif self.tuning.slices:
            for x, y in zip(self.x[order].split(BATCH), self.y[order].split(BATCH), strict=True):
                self.step(x, y)
        else:
            for rows in order.split(BATCH):
                self.step(self.x[rows], self.y[rows])

    def step(self, x: Tensor, y: Tensor) -> None:
        loss = self.loss(self.model, x, y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def capture(self) -> None:
        """One step as a CUDA graph that finds its own batch: rows [at, at + B) of the epoch's order."""
        self.order = self.work.order(self.config, 0).to(self.work.device)
        self.at = torch.zeros((), dtype=torch.long, device=self.work.device)
        self.within = torch.arange(BATCH, device=self.work.device)  # kept: the graph reads it at every replay
        first = {name: value.clone() for name, value in self.model.state_dict().items()}

        def step() -> None:
            rows = self.order[self.within + self.at]
            self.step(self.x[rows], self.y[rows])
            self.at += BATCH

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        # The warm-up trained the network and filled the optimizer's moments; in place, where the graph reads them.
        self.model.load_state_dict(first)
        for state in self.optimizer.state.values():
            for kept in state.values():
                if isinstance(kept, Tensor):  # SGD without momentum keeps None
                    kept.zero_()
        self.graph = graph


@cache
def tuned(spec: Spec) -> Tuning:
    """The fastest way to train the first member of a Spec, by trial: every eager way, then the best one compiled."""
    work = one_member(spec)
    if work.device.type == "cuda":
        return Tuning(update="fused", slices=False)
    ways = itertools.product(sorted({1, cores()}), UPDATES, (False, True))
    tunings = [Tuning(*way) for way in ways]
    orders = (False, True) if spec.convolutional else (False,)
    best = fastest(work, [replace(t, channels_last=last) for t in tunings for last in orders])
    compiled = [replace(best, compiled=True, channels_last=last) for last in orders]
    return fastest(work, [best, *compiled]) if has_compiler() else best


def one_member(spec: Spec) -> Work:
    """What ways to train are tried on."""
    return Work(replace(spec, members=1, steps=15))


def fastest(work: Work, tunings: Sequence[Tuning]) -> Tuning:
    """By the median of five passes each, taking turns."""
    loops = {t: Loop(work, work.configs[0], t, work.dataset.x_ND, work.dataset.y_N) for t in tunings}
    seconds: dict[Tuning, list[float]] = {t: [] for t in tunings}
    for number in range(6):
        for tuning, loop in loops.items():
            torch.set_num_threads(tuning.threads)
            started = time.perf_counter()
            loop.epoch(number)
            if number > 0:  # the first compiles
                seconds[tuning].append(time.perf_counter() - started)
    return min(tunings, key=lambda tuning: statistics.median(seconds[tuning]))


def has_compiler() -> bool:
    return any(map(shutil.which, ("g++", "clang++", "c++")))


class Single(Arm):
    label = "(c) best single-run loop"
    most = 12
    tuned_as = "c"

    def __init__(self, work: Work, tuning: Tuning | None = None, members: Sequence[int] | None = None) -> None:
        super().__init__(work)
        self.tuning = tuning or tuned(replace(work.spec, members=1))
        self.settings = {"tuning": self.tuning}
        self.note = "CUDA graph of a step" if work.device.type == "cuda" else str(self.tuning)
        x, y = work.dataset.x_ND.to(work.device), work.dataset.y_N.to(work.device)
        wanted = range(len(self.configs)) if members is None else members
        torch.set_num_threads(self.tuning.threads)
        self.loops = {i: Loop(work, self.configs[i], self.tuning, x, y) for i in wanted}

    def epoch(self, number: int) -> None:
        torch.set_num_threads(self.tuning.threads)
        for loop in self.loops.values():
            loop.epoch(number)
        if self.work.device.type == "cuda":
            torch.cuda.synchronize()

    def models(self, members: Sequence[int]) -> list[nn.Sequential | None]:
        return [plain(self.loops[i].model, self.configs[i]) for i in members]


class SingleAdam(Single):
    label = "(c) best single-run loop, Adam"
    optimizer = "adam"
    tuned_as = "c"

    def __init__(self, work: Work, tuning: Tuning | None = None) -> None:
        """`tuning`: of the loop with SGD, whose forward and backward pass it shares; only the update is tried anew."""
        if tuning is not None and work.device.type == "cpu":
            tuning = fastest(one_member(work.spec), [replace(tuning, update=update) for update in UPDATES])
        super().__init__(work, tuning)


_here: list[Single] = []
"""The loops of a worker process of `PerCore`."""


def start(spec: Spec, tuning: Tuning, members: Sequence[int]) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore")
    _here[:] = [Single(Work(spec), tuning, members)]


def run_epoch(number: int) -> None:
    _here[0].epoch(number)


def trained(members: Sequence[int]) -> list[nn.Sequential | None]:
    return _here[0].models(members)


def one_process() -> Executor:
    """A process that stays, so that its networks do too; joblib's own executor where joblib is installed."""
    try:
        from joblib.externals.loky import ProcessPoolExecutor
    except ImportError:
        from concurrent.futures import ProcessPoolExecutor

        return ProcessPoolExecutor(1, get_context("spawn"))
    executor: Executor = ProcessPoolExecutor(1)
    return executor


class PerCore(Arm):
    label = "(d) one process a core of (c)"
    most = 12
    fewest = 2
    once = True
    tuned_as = "c"

    def __init__(self, work: Work, tuning: Tuning | None = None) -> None:
        super().__init__(work)
        if work.device.type == "cuda":
            raise NotRun("processes take turns on one GPU, which is (c)")
        if len(self.configs) < self.fewest or cores() < 2:
            raise NotRun("one process alone, which is (c)")
        n = min(cores(), len(self.configs))
        tuning = replace(tuning or tuned(replace(work.spec, members=1)), threads=1)
        self.settings = {"tuning": tuning}
        self.shares = [range(i, len(self.configs), n) for i in range(n)]
        self.processes = [one_process() for _ in self.shares]
        kind = type(self.processes[0]).__module__.partition(".")[0]
        self.note = f"{n} process{'es' * (n > 1)} ({kind}), {tuning}"
        self.each(start, [(work.spec, tuning, share) for share in self.shares])

    def each(self, call: Any, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        waiting = [process.submit(call, *a) for process, a in zip(self.processes, arguments, strict=True)]
        return [future.result() for future in waiting]

    def epoch(self, number: int) -> None:
        self.each(run_epoch, [(number,)] * len(self.processes))

    def models(self, members: Sequence[int]) -> list[nn.Sequential | None]:
        wanted = [[i for i in members if i in share] for share in self.shares]
        found: dict[int, nn.Sequential | None] = {}
        for part, answer in zip(wanted, self.each(trained, [(part,) for part in wanted]), strict=True):
            found |= zip(part, answer, strict=True)
        return [found[i] for i in members]

    @property
    def pids(self) -> list[int]:
        return [process.submit(os.getpid).result() for process in self.processes]

    def close(self) -> None:
        for process in self.processes:
            process.shutdown()
