"""The loop over one stack: steps, evaluation, probes, divergence. Records out; no files, no logging.

K members, G data seeds, N samples, B batch, D inputs, E evaluations. One host sync an evaluation, none a step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, islice

import torch
from torch import Tensor

from bnsweep.catalogue.inits import INITS
from bnsweep.config.run import RunConfig
from bnsweep.data import splits
from bnsweep.data.dataset import Dataset
from bnsweep.kernels.codes import fits
from bnsweep.nets.engine import Engine
from bnsweep.nets.lsuv import scale_members
from bnsweep.nets.norm import NATIVE_BELOW, RunningStatistics
from bnsweep.nets.stack import Stack
from bnsweep.probes.diagnostics import Diagnostics
from bnsweep.records import HISTOGRAM_EDGES, RunRecord
from bnsweep.training.batches import place_data
from bnsweep.training.cuda_graph import Replay
from bnsweep.training.device import describe_device, ieee_products, takes_kernels
from bnsweep.training.optimizer import Optimizer
from bnsweep.training.record import Evaluation, record_of
from bnsweep.training.state import State, restore, state_of
from bnsweep.training.trace import Retake

EVALUATION_ELEMENTS = {"cpu": 250_000, "cuda": 16_000_000}
"""Largest activation tensor of an evaluation by device: whole splits pass in pieces, which fit a CPU's cache."""

EVALUATION_SAMPLES, EVALUATION_IMAGES = 128, 16
"""Fewest samples of such a piece: a matrix product with fewer columns is slow. Of images each position is one."""


class Trainer:
    """What one stack's training computes with; `Training` drives it."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        dataset: Dataset,
        device: torch.device,
        native_below: int = NATIVE_BELOW,
        kernels: bool | None = None,
    ) -> None:
        """`kernels`: whether steps take those of Triton; None: where the device runs them."""
        self.stack = Stack(configs, device, native_below)
        self.loss = self.stack.loss
        self.kernels = takes_kernels(device) if kernels is None else kernels
        self.engine, memory = Engine(self.stack, kernels=self.kernels), dict[str, Tensor]()
        """Of training steps, whose tensors keep their place for a captured step."""
        self.reader = Engine(self.stack, memory)
        """Of probes, which look into it."""
        self.scorer = Engine(self.stack, memory, kernels=True) if self.kernels else self.reader
        """Of scores, and of steps that probes take on trial."""
        self.optimizer = Optimizer(self.stack, self.kernels)
        self.batches = place_data(self.stack, dataset)
        self.diagnostics = Diagnostics(self.stack, self.reader, self.batches, self.optimizer, self.scorer)
        self.settings = self.stack.configs[0].train
        if any(INITS[c.init.name].by_batch for c in self.stack.configs):
            scale_members(self.stack, self.batches.take(next(self.batches_of(0)), self.stack.t)[0])
        self.total_steps = self.stack.configs[0].total_steps
        self.probed = set(self.stack.configs[0].probed)
        self.full = self.stack.configs[0].probes.name == "full"
        k = len(self.stack)
        self.alive_K = torch.ones(k, dtype=torch.bool, device=device)
        self.survived_K = torch.zeros(k, dtype=torch.long, device=device)
        """Steps whose loss was finite, up to the first that was not."""
        tracked = any(c.batch_norm for c in self.stack.configs) and len(self.stack.running) > 0
        self.statistics = RunningStatistics(self.stack, self.kernels) if tracked else None
        # Not given the step to keep: a cycle would hold the memory of every stack until Python looks for cycles.
        own = self.stack.configs[0].model.is_own
        self._replay = Replay() if device.type == "cuda" and not own else None
        self._retake = Retake() if device.type == "cpu" and not (own or self.kernels) else None

    def tensors(self) -> dict[str, Tensor]:
        """[K, …] of all that members carry from one step to the next, in the memory where they lie."""
        stack = self.stack
        kinds = {
            "parameters": stack.parameters,
            "running": stack.running,
            "buffers": stack.buffers,
            "optimizer": self.optimizer.state_by_name,
            "probes": self.diagnostics.remembered,
            "steps": {"alive": self.alive_K, "survived": self.survived_K},
        }
        return {f"{kind}.{name}": tensor for kind, tensors in kinds.items() for name, tensor in tensors.items()}

    def step(self, rows_GB: Tensor) -> None:
        """One update, on these rows, of every member that is alive; a member whose loss is not finite stops here for
        good."""
        if self._replay is not None:
            self._replay(self._take_step, rows_GB)
        elif self._retake is not None:
            self._retake(self, rows_GB)
        else:
            self._take_step(rows_GB)

    @torch.no_grad()
    def _take_step(self, rows_GB: Tensor) -> None:
        outputs_KCB = self._forward(rows_GB)
        if self.kernels and fits(*outputs_KCB.shape[1:]):
            d_KCB = self.loss.by_kernel(outputs_KCB, self._y_KB, self.alive_K, self.survived_K)
            self._back(d_KCB, everyone=False)
            return
        self._compare(outputs_KCB)
        self.judge()
        # To ask costs little on a CPU, and a wait on a GPU.
        self.move(everyone=self.alive_K.device.type == "cpu" and not self.kernels and bool(self.alive_K.all()))

    def _forward(self, rows_GB: Tensor) -> Tensor:
        x_GBD, self._y_KB = self.batches.take(rows_GB, self.stack.t)
        return self.engine.forward(x_GBD, self.stack.t)

    def _compare(self, outputs_KCB: Tensor) -> None:
        self._loss_KB, self._kept = self.loss.of_samples(outputs_KCB, self._y_KB)

    def look(self, rows_GB: Tensor) -> None:
        """The way forward, up to the losses of these samples."""
        self._compare(self._forward(rows_GB))

    def judge(self) -> None:
        """Counts the step for the members whose loss in it is finite; the others are alive no longer."""
        self.keep_finite(self._loss_KB.sum(1))
        self.survived_K += self.alive_K

    def move(self, everyone: bool) -> None:
        """The way back and the update, of all members or of those that are alive."""
        self._back(self.loss.gradient(self._kept, self._y_KB), everyone)

    def _back(self, d_KCB: Tensor, everyone: bool) -> None:
        alive_K = None if everyone else self.alive_K
        self.engine.backward(d_KCB)
        if self.statistics is not None:
            self.statistics.update(self._y_KB.shape[1], alive_K)
        if self.stack.buffers:
            self.engine.keep_buffers(alive_K)
        self.optimizer.update(self.engine.products, self.engine.gradients.flat, alive_K)

    def keep_finite(self, loss_K: Tensor) -> None:
        """Members whose loss is not finite are alive no longer; in place, as a captured step needs it."""
        self.alive_K &= loss_K - loss_K == 0

    def first_bad_step(self) -> Tensor:
        """[K] step, from 1, whose loss was not finite; -1 where all were."""
        return torch.where(self.alive_K, -1, self.survived_K + 1)

    def batches_of(self, epoch: int) -> Iterator[Tensor]:
        """Rows [G, B] of each step of an epoch: a pass over the training rows, or as many draws from them, each data
        seed in its own order."""
        rows, seeds, size = self.batches.rows["train"], self.stack.data_seeds, self.settings.batch_size
        n = rows.shape[1]
        if self.settings.replacement:
            count = size * math.ceil(n / size)
            orders = [splits.batch_draws(seed, epoch, n, count) for seed in seeds]
        else:
            orders = [splits.batch_order(seed, epoch, n) for seed in seeds]
        yield from rows.gather(1, torch.stack(orders).to(rows.device)).split(size, dim=1)

    def epoch(self, number: int) -> None:
        for rows_GB in self.batches_of(number):
            self.step(rows_GB)

    @torch.no_grad()
    def score(self, split: str) -> tuple[Tensor, Tensor]:
        """Mean loss and the task's score [K] over a whole split with running statistics (eval mode)."""
        rows = self.batches.rows[split]
        loss_K = torch.zeros(len(self.stack), device=rows.device, dtype=torch.float64)
        count_K = torch.zeros_like(loss_K)
        widest = max(len(self.stack) * self.stack.widest, self.batches.x_ND[0].numel() * len(rows))
        fewest = EVALUATION_IMAGES if self.stack.configs[0].model.is_convolutional else EVALUATION_SAMPLES
        samples = max(fewest, EVALUATION_ELEMENTS[rows.device.type] // widest)
        for rows_GB in rows.split(samples, dim=1):
            x_GBD, y_KB = self.batches.take(rows_GB)
            self.loss.add_totals(self.scorer.evaluate(x_GBD), y_KB, loss_K, count_K, self.kernels)
        n, y_GN = rows.shape[1], self.batches.targets(rows)
        return loss_K / n, self.loss.score(count_K / n, y_GN, self.stack.group_of_K)

    def probe(self, step: int) -> tuple[dict[str, Tensor], list[Tensor]]:
        """What the run's probes read at this step, if anything; histograms at the start and the end."""
        if step not in self.probed:
            return {}, []
        read = self.diagnostics.full if self.full else self.diagnostics.light
        return read(histograms=step in (0, self.total_steps))

    def evaluate(self, step: int) -> Evaluation:
        """Every number of this moment, `step` steps after the start, in one transfer to the host."""
        values: dict[str, Tensor] = {}
        task = self.stack.configs[0].task
        for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
            values[f"{name}/loss"], values[f"{name}/{task.score}"] = self.score(split)
        if step > 0:  # before the first step nothing has diverged: BN may yet train what overflows without it
            before_K = self.alive_K.clone()
            self.keep_finite(values["train/loss"])
            self.survived_K -= (before_K & ~self.alive_K).long()  # its last step led there
        diagnostics, counts = self.probe(step)
        values |= diagnostics
        table_MK = torch.stack([v.double() for v in values.values()])
        table_MK = torch.where(self.alive_K, table_MK, torch.nan)
        lr_K = self.optimizer.lr_K(self.stack.t).double()
        extra = [c.double().flatten(1).T for c in counts]
        host = torch.cat([table_MK, lr_K[None], self.first_bad_step().double()[None], *extra]).cpu()
        m = len(values)
        layers = host[m + 2 :].split(len(HISTOGRAM_EDGES) - 1) if counts else ()
        return Evaluation(
            epoch=step / self.stack.configs[0].steps_per_epoch,
            step=step,
            values=dict(zip([*values, "lr"], host[: m + 1].tolist(), strict=True)),
            diverged=[int(s) for s in host[m + 1].tolist()],
            counts=[h.T.long().tolist() for h in layers],
        )


class Training:
    """One stack on its way through its steps, from their start or from where a state left it."""

    @ieee_products()
    def __init__(
        self,
        configs: Sequence[RunConfig],
        dataset: Dataset,
        device: torch.device,
        states: Sequence[State] = (),
        native_below: int = NATIVE_BELOW,
        kernels: bool | None = None,
    ) -> None:
        """`configs`: runs of one `stack_key`. `states` of one step to go on from: those of the runs, in their order."""
        self._started = time.perf_counter()
        self.configs, self.dataset = configs, dataset
        self.trainer = Trainer(configs, dataset, device, native_below, kernels)
        self.step = 0
        self.evaluations: list[Evaluation] = []
        self.stopped: dict[int, tuple[str, int]] = {}
        """Of runs that were stopped, by their place in the configs: why, and how many evaluations they have."""
        self._before = [0.0] * len(configs)
        if states:
            self.evaluations, self._before = restore(self.trainer, self.places, states)
            self.step = states[0].step

    @ieee_products()
    def run(self, watch: Callable[[Evaluation], None], tick: Callable[[], None], until: int | None = None) -> None:
        """The steps that are left, or those up to `until`. `watch` sees every new evaluation, its members in the order
        of the configs, `tick` is called before every step; what they raise ends the training. In both the training has
        a `state`."""
        config, trainer = self.configs[0], self.trainer
        due = set(config.evaluations)
        if not self.evaluations:
            self._evaluate(watch)
        for rows_GB in self._rows_left(config, config.total_steps if until is None else until):
            tick()
            if trainer.full and self.step + 1 in trainer.probed:
                trainer.diagnostics.remember()
            trainer.step(rows_GB)
            self.step += 1
            if self.step in due:
                self._evaluate(watch)

    def _evaluate(self, watch: Callable[[Evaluation], None]) -> None:
        self.evaluations.append(self.trainer.evaluate(self.step))
        watch(self.evaluations[-1].of(self.places))

    def _rows_left(self, config: RunConfig, until: int) -> Iterator[Tensor]:
        epoch, gone = divmod(self.step, config.steps_per_epoch)
        rows = chain.from_iterable(map(self.trainer.batches_of, count(epoch)))
        return islice(rows, gone, gone + max(0, until - self.step))

    @property
    def places(self) -> list[int]:
        """The member that each of the configs is."""
        positions = self.trainer.stack.positions
        return sorted(range(len(positions)), key=positions.__getitem__)

    def stop(self, place: int, reason: str, evaluations: int | None = None) -> None:
        """Freezes a run, as divergence does: its numbers end here, or with an earlier one of the evaluations."""
        self.stopped[place] = reason, len(self.evaluations) if evaluations is None else evaluations
        self.trainer.alive_K[self.places[place]] = False

    @property
    def seconds(self) -> list[float]:
        """Each run's share of the time so far."""
        share = (time.perf_counter() - self._started) / len(self.configs)
        return [before + share for before in self._before]

    def state(self, of: Sequence[int] | None = None) -> State:
        """Where the runs, or those at some places, stand between two steps, to go on from."""
        of, rows, seconds = range(len(self.configs)) if of is None else of, self.places, self.seconds
        return state_of(self.trainer, [rows[i] for i in of], self.evaluations, [seconds[i] for i in of])

    def records(self) -> list[RunRecord]:
        """Of all runs: those that were not stopped are through."""
        stack, seconds = self.trainer.stack, self.seconds
        records: list[RunRecord] = []
        for place, k in enumerate(self.places):
            reason, number = self.stopped.get(place, ("", len(self.evaluations)))
            record = record_of(stack.configs[k], self.evaluations[:number], k, reason)
            record.seconds, record.stack_size = seconds[place], len(self.configs)
            record.device, record.dataset = describe_device(stack.device), self.dataset.info
            record.summary |= self.trainer.batches.target(k)
            records.append(record)
        return records


def train(
    configs: Sequence[RunConfig],
    dataset: Dataset,
    device: torch.device,
    watch: Callable[[Evaluation], None] = lambda evaluation: None,
    tick: Callable[[], None] = lambda: None,
    native_below: int = NATIVE_BELOW,
    kernels: bool | None = None,
) -> tuple[list[RunRecord], Stack]:
    """Train runs of one `stack_key` together; records come in the order of `configs`.

    `watch` sees every evaluation, its values in that order, `tick` is called before every step; what they raise ends
    the training. The stack holds the trained networks (`stack.export(k)`, where `stack.positions[k]` is the place in
    `configs`).
    """
    training = Training(configs, dataset, device, (), native_below, kernels)
    training.run(watch, tick)
    return training.records(), training.trainer.stack
