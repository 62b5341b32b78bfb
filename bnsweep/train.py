"""The loop over one stack: steps, evaluation, probes, divergence. Records out; no files, no logging.

K members, G data seeds, N samples, B batch, D inputs, E evaluations. One host sync an evaluation, none a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bnsweep import data, probes
from bnsweep.checks import ConfigError
from bnsweep.config import RunConfig
from bnsweep.optim import Optimizer
from bnsweep.records import HISTOGRAM_EDGES, RunRecord
from bnsweep.stack import BatchStats, Stack, Trace
from bnsweep.summary import Evaluation, record_of

PROBE_SAMPLES = 1000
"""Fixed training samples that the diagnostics look at (fewer where the training set is smaller)."""

EVALUATION_ELEMENTS = 4_000_000
"""Largest activation tensor of an evaluation, so that whole splits pass in pieces of bounded memory."""


def resolve_device(name: str) -> torch.device:
    """The device that `train.device` means; ConfigError for cuda where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("train.device=cuda: no CUDA device was found (choices: auto, cpu)")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return "cpu (one thread a stack)"


@dataclass
class Batches:
    """The samples of a stack, on the device: one copy of the data, row indices [G, n] of each data seed."""

    x_ND: Tensor
    y_N: Tensor
    rows: dict[str, Tensor]
    """Split name -> row indices [G, n]."""
    group_of_K: Tensor

    def take(self, rows_GB: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs, [D, B] where all members share them, else [K, D, B], and labels [K, B]."""
        y_KB = self.y_N[rows_GB][self.group_of_K]
        x_GBD = self.x_ND[rows_GB]
        if len(rows_GB) == 1:
            return x_GBD[0].T, y_KB
        return x_GBD.transpose(1, 2)[self.group_of_K], y_KB


def place_data(stack: Stack, dataset: data.Dataset) -> tuple[Batches, list[int]]:
    """Split the dataset for every data seed of the stack; returns the batches and the seeds in group order."""
    seeds = sorted({c.data_seed for c in stack.configs})
    splits = [data.split(dataset, stack.configs[0].data, seed) for seed in seeds]
    rows = {
        name: torch.stack([getattr(s, name) for s in splits]).to(stack.device)
        for name in ("train", "validation", "test")
    }
    rows["probe"] = rows["train"][:, :PROBE_SAMPLES]
    group_of_K = torch.tensor([seeds.index(c.data_seed) for c in stack.configs], device=stack.device)
    x_ND = dataset.x_ND.to(stack.device, stack.dtype)
    return Batches(x_ND, dataset.y_N.to(stack.device), rows, group_of_K), seeds


def losses(logits_KCB: Tensor, y_KB: Tensor) -> Tensor:
    """Mean cross-entropy [K] of each member."""
    return F.cross_entropy(logits_KCB, y_KB, reduction="none").mean(1)


class Trainer:
    """State of one stack's training; `train` drives it."""

    def __init__(self, configs: Sequence[RunConfig], dataset: data.Dataset, device: torch.device) -> None:
        self.stack = Stack(configs, device)
        self.optimizer = Optimizer(self.stack)
        self.batches, self.data_seeds = place_data(self.stack, dataset)
        self.settings = self.stack.configs[0].train
        self.total_steps = self.stack.configs[0].total_steps
        k = len(self.stack)
        self.alive_K = torch.ones(k, dtype=torch.bool, device=device)
        self.diverged_K = torch.full((k,), -1, dtype=torch.long, device=device)
        names = [c.activation.name for c in self.stack.configs]
        bounds = [probes.SATURATED.get(n, (torch.nan, torch.nan)) for n in names]
        self._low_K, self._high_K = torch.tensor(bounds, device=device, dtype=self.stack.dtype).unbind(1)
        self._relu_K = torch.tensor([n == "relu" for n in names], device=device)

    def step(self, x: Tensor, y_KB: Tensor) -> None:
        """One update of every member that is alive; a member whose loss is not finite stops here for good."""
        stats: BatchStats = {}
        parameters = [p.requires_grad_() for p in self.stack.parameters]
        loss_K = losses(self.stack.forward(x, stats, self.stack.steps), y_KB)
        # Members share no parameter, so the gradient of the sum is each member's own.
        gradients = torch.autograd.grad(loss_K.sum(), parameters)
        self.mark_diverged(loss_K, self.stack.steps + 1)
        self.stack.update_running(stats, self.alive_K)
        self.optimizer.update(gradients, self.alive_K)

    @torch.no_grad()
    def mark_diverged(self, loss_K: Tensor, step: int) -> None:
        now_K = self.alive_K & ~loss_K.isfinite()
        self.diverged_K = torch.where(now_K, step, self.diverged_K)
        self.alive_K = self.alive_K & ~now_K

    def epoch(self, number: int, tick: Callable[[], None] = lambda: None) -> None:
        """One pass over the training rows, each data seed in its own order; `tick` is called before every step."""
        rows = self.batches.rows["train"]
        orders = [data.batch_order(seed, number, rows.shape[1]) for seed in self.data_seeds]
        shuffled = rows.gather(1, torch.stack(orders).to(rows.device))
        for rows_GB in shuffled.split(self.settings.batch_size, dim=1):
            tick()
            self.step(*self.batches.take(rows_GB))

    @torch.no_grad()
    def score(self, split: str) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy [K] over a whole split with running statistics (eval mode)."""
        rows = self.batches.rows[split]
        widest = len(self.stack) * max(*self.stack.sizes[1:], self.stack.sizes[0] if len(rows) > 1 else 1)
        loss_K = torch.zeros(len(self.stack), device=rows.device, dtype=torch.float64)
        right_K = torch.zeros_like(loss_K)
        for rows_GB in rows.split(max(1, EVALUATION_ELEMENTS // widest), dim=1):
            x, y_KB = self.batches.take(rows_GB)
            logits = self.stack.forward(x)
            loss_K += F.cross_entropy(logits, y_KB, reduction="none").sum(1)
            # Contiguous first: argmax over a strided axis is five times slower on a CPU.
            right_K += (logits.transpose(1, 2).contiguous().argmax(2) == y_KB).sum(1)
        return loss_K / rows.shape[1], right_K / rows.shape[1]

    def probe(self, histograms: bool) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Diagnostics [K] by metric name on the probe batch, mean loss: batch statistics as in training, but without
        dropout, whose draws would be noise between readings."""
        x, y_KB = self.batches.take(self.batches.rows["probe"])
        for p in self.stack.parameters:
            p.requires_grad_()
        trace = Trace()
        loss_K = losses(self.stack.forward(x, stats={}, trace=trace), y_KB)
        wanted = [*trace.inputs, *self.stack.weights]
        gradients = torch.autograd.grad(loss_K.sum(), wanted)
        values: dict[str, Tensor] = {}
        for i in range(len(trace.inputs)):
            values[f"layer/{i + 1}/grad_activation"] = probes.norms(gradients[i])
            values[f"layer/{i + 1}/grad_weight"] = probes.norms(gradients[len(trace.inputs) + i])
        for i, h in enumerate(h.detach() for h in trace.outputs):
            mean, std = probes.means_stds(h)
            values |= {f"layer/{i + 1}/mean": mean, f"layer/{i + 1}/std": std}
            values[f"layer/{i + 1}/saturation"] = probes.saturation(h, self._low_K, self._high_K)
            values[f"layer/{i + 1}/dead"] = probes.dead_units(h, self._relu_K)
        low, high, bins = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1], len(HISTOGRAM_EDGES) - 1
        outputs = trace.outputs if histograms else []
        return values, [probes.histogram_counts(h.detach(), low, high, bins) for h in outputs]

    def evaluate(self, epoch: int, histograms: bool) -> Evaluation:
        """Every number of this moment in one transfer to the host."""
        values: dict[str, Tensor] = {}
        for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
            values[f"{name}/loss"], values[f"{name}/accuracy"] = self.score(split)
        self.mark_diverged(values["train/loss"], self.stack.steps)
        diagnostics, counts = self.probe(histograms)
        values |= diagnostics
        table_MK = torch.stack([v.detach().double() for v in values.values()])
        table_MK = torch.where(self.alive_K, table_MK, torch.nan)
        lr_K = self.optimizer.lr_K(min(self.stack.steps, self.total_steps - 1)).double()
        extra = [c.double().flatten(1).T for c in counts]
        host = torch.cat([table_MK, lr_K[None], self.diverged_K.double()[None], *extra]).cpu()
        m = len(values)
        layers = host[m + 2 :].split(len(HISTOGRAM_EDGES) - 1) if counts else ()
        return Evaluation(
            epoch=epoch,
            step=self.stack.steps,
            values=dict(zip([*values, "lr"], host[: m + 1].tolist(), strict=True)),
            diverged=[int(s) for s in host[m + 1].tolist()],
            counts=[h.T.long().tolist() for h in layers],
        )


def train(
    configs: Sequence[RunConfig],
    dataset: data.Dataset,
    device: torch.device,
    watch: Callable[[Evaluation], None] = lambda evaluation: None,
    tick: Callable[[], None] = lambda: None,
) -> tuple[list[RunRecord], Stack]:
    """Train runs of one `stack_key` together; records come in the order of `configs`.

    `watch` sees every evaluation, `tick` is called before every step; what they raise ends the training. The stack
    holds the trained networks (`stack.export(k)`, where `stack.positions[k]` is the place in `configs`).
    """
    started = time.perf_counter()
    trainer = Trainer(configs, dataset, device)
    evaluations = []
    epochs, cadence = trainer.settings.epochs, trainer.settings.evaluate_every
    for epoch in range(epochs + 1):
        if epoch:
            trainer.epoch(epoch - 1, tick)
        if epoch % cadence == 0 or epoch == epochs:
            evaluations.append(trainer.evaluate(epoch, histograms=epoch in (0, epochs)))
            watch(evaluations[-1])
    seconds = (time.perf_counter() - started) / len(configs)
    records: list[RunRecord] = [RunRecord("failed")] * len(configs)
    for k, position in enumerate(trainer.stack.positions):
        record = record_of(trainer.stack.configs[k], evaluations, k)
        record.seconds, record.stack_size = seconds, len(configs)
        record.device, record.dataset = describe_device(device), dataset.info
        records[position] = record
    return records, trainer.stack
