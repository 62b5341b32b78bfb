"""The loop over one stack: steps, evaluation, probes, divergence. Records out; no files, no logging.

K members, G data seeds, N samples, B batch, D inputs, E evaluations. One host sync an evaluation, none a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bnsweep import data, probes
from bnsweep.batches import place_data
from bnsweep.checks import ConfigError
from bnsweep.config import RunConfig
from bnsweep.graph import Replay
from bnsweep.optim import Optimizer, add_products
from bnsweep.passes import Layer, Passes
from bnsweep.records import HISTOGRAM_EDGES, RunRecord
from bnsweep.stack import Stack
from bnsweep.summary import Evaluation, record_of

EVALUATION_ELEMENTS = {"cpu": 250_000, "cuda": 16_000_000}
"""Largest activation tensor of an evaluation by device: whole splits pass in pieces, which fit a CPU's cache."""

EVALUATION_SAMPLES = 128
"""Fewest samples of such a piece: a matrix product with fewer columns is slow."""


def resolve_device(name: str) -> torch.device:
    """The device that `train.device` means; ConfigError for cuda where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("train.device=cuda: no CUDA device was found (choices: auto, cpu)")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        # IEEE fp32, whatever this process was told: TF32 keeps 10 bits of the mantissa's 23.
        torch.set_float32_matmul_precision("highest")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return "cpu (one thread a stack)"


def log_probabilities(logits_KCB: Tensor, y_KB: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all classes [K, C, B] and of the right one [K, B]; minus the latter is the cross-entropy."""
    log_p = torch.log_softmax(logits_KCB, 1)
    return log_p, log_p.gather(1, y_KB[:, None])[:, 0]


def logit_gradients(log_p_KCB: Tensor, y_KB: Tensor) -> Tensor:
    """d mean cross-entropy / d logits [K, C, B]: (softmax - one-hot) / B. Overwrites the log-probabilities."""
    y_K1B = y_KB[:, None]
    minus_one = log_p_KCB.new_full((1, 1, 1), -1.0).expand(y_K1B.shape)
    return log_p_KCB.exp_().scatter_add_(1, y_K1B, minus_one).div_(y_KB.shape[1])


class Trainer:
    """State of one stack's training; `train` drives it."""

    def __init__(self, configs: Sequence[RunConfig], dataset: data.Dataset, device: torch.device) -> None:
        self.stack = Stack(configs, device)
        self.passes, self.readings = Passes(self.stack), Passes(self.stack)
        """Of training steps, whose tensors keep their place for a captured step, and of scores and probes."""
        self.optimizer = Optimizer(self.stack)
        self.batches = place_data(self.stack, dataset)
        self.settings = self.stack.configs[0].train
        self.total_steps = self.stack.configs[0].total_steps
        k = len(self.stack)
        self.alive_K = torch.ones(k, dtype=torch.bool, device=device)
        self.survived_K = torch.zeros(k, dtype=torch.long, device=device)
        """Steps whose loss was finite, up to the first that was not."""
        momentum_K = self.stack.scalars(lambda c: c.bn.momentum)
        self._member_of_running = self.stack.running.members()
        self._momentum_of_running = momentum_K[self._member_of_running]
        names = [c.activation.name for c in self.stack.configs]
        bounds = [probes.SATURATED.get(n, (torch.nan, torch.nan)) for n in names]
        self._low_K, self._high_K = torch.tensor(bounds, device=device, dtype=self.stack.dtype).unbind(1)
        # Not given the step to keep: a cycle would hold the memory of every stack until Python looks for cycles.
        self._replay = Replay() if device.type == "cuda" else None
        self._relu_K = torch.tensor([n == "relu" for n in names], device=device)

    def step(self, rows_GB: Tensor) -> None:
        """One update, on these rows, of every member that is alive; a member whose loss is not finite stops here for
        good."""
        if self._replay is None:
            self._take_step(rows_GB)
        else:
            self._replay(self._take_step, rows_GB)

    @torch.no_grad()
    def _take_step(self, rows_GB: Tensor) -> None:
        x_GBD, y_KB = self.batches.take(rows_GB)
        logits, layers = self.passes.forward(x_GBD, self.stack.t)
        log_p, right_KB = log_probabilities(logits, y_KB)
        self.keep_finite(right_KB.sum(1))
        self.survived_K += self.alive_K
        d = self.passes.backward(layers, logit_gradients(log_p, y_KB))
        # To ask costs little on a CPU, and a wait on a GPU.
        everyone = self.alive_K.device.type == "cpu" and bool(self.alive_K.all())
        alive_K = None if everyone else self.alive_K
        self.update_running(alive_K)
        self.optimizer.update(d, self.passes.batches(x_GBD), self.passes.gradients.flat, alive_K)

    def keep_finite(self, loss_K: Tensor) -> None:
        """Members whose loss is not finite are alive no longer; in place, as a captured step needs it."""
        self.alive_K &= loss_K - loss_K == 0

    def update_running(self, alive_K: Tensor | None) -> None:
        """Blend the batch's BN statistics into the running ones, each member with its own momentum."""
        if not self.stack.has_bn:
            return
        running, batch = self.stack.running.flat, self.stack.batch.flat
        if alive_K is not None:
            batch = torch.where(alive_K.index_select(0, self._member_of_running), batch, running)
        running.lerp_(batch, self._momentum_of_running)

    def first_bad_step(self) -> Tensor:
        """[K] step, from 1, whose loss was not finite; -1 where all were."""
        return torch.where(self.alive_K, -1, self.survived_K + 1)

    def epoch(self, number: int, tick: Callable[[], None] = lambda: None) -> None:
        """One pass over the training rows, each data seed in its own order; `tick` is called before every step."""
        rows = self.batches.rows["train"]
        orders = [data.batch_order(seed, number, rows.shape[1]) for seed in self.stack.data_seeds]
        shuffled = rows.gather(1, torch.stack(orders).to(rows.device))
        for rows_GB in shuffled.split(self.settings.batch_size, dim=1):
            tick()
            self.step(rows_GB)

    @torch.no_grad()
    def score(self, split: str) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy [K] over a whole split with running statistics (eval mode)."""
        rows = self.batches.rows[split]
        loss_K = torch.zeros(len(self.stack), device=rows.device, dtype=torch.float64)
        right_K = torch.zeros_like(loss_K)
        widest = max(len(self.stack) * max(self.stack.sizes[1:]), len(rows) * self.stack.sizes[0])
        samples = max(EVALUATION_SAMPLES, EVALUATION_ELEMENTS[rows.device.type] // widest)
        for rows_GB in rows.split(samples, dim=1):
            x_GBD, y_KB = self.batches.take(rows_GB)
            logits = self.readings.evaluate(x_GBD)
            loss_K -= log_probabilities(logits, y_KB)[1].sum(1)
            # Contiguous first: argmax over a strided axis is five times slower on a CPU.
            right_K += (logits.transpose(1, 2).contiguous().argmax(2) == y_KB).sum(1)
        return loss_K / rows.shape[1], right_K / rows.shape[1]

    @torch.no_grad()
    def probe(self, histograms: bool) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Diagnostics [K] by metric name on the probe batch, mean loss: batch statistics as in training, but without
        dropout, whose draws would be noise between readings."""
        x_GBD, y_KB = self.batches.take(self.batches.rows["probe"])
        logits, layers = self.readings.forward(x_GBD)
        log_p, _ = log_probabilities(logits, y_KB)
        d_logits = logit_gradients(log_p, y_KB)
        flow = [probes.norms(d_logits)]
        d = self.readings.backward(layers, d_logits, lambda d: flow.append(probes.norms(d)))
        first = torch.zeros_like(self.stack.first)
        add_products(first, d, self.readings.batches(x_GBD))
        weight_grads = [first, *self.stack.parts(self.readings.gradients)[0]]
        values: dict[str, Tensor] = {}
        for i, (g_activation, g_weight) in enumerate(zip(reversed(flow), weight_grads, strict=True), start=1):
            values[f"layer/{i}/grad_activation"] = g_activation
            values[f"layer/{i}/grad_weight"] = probes.norms(g_weight)
        for i, layer in enumerate(layers[:-1], start=1):
            values |= {f"layer/{i}/{name}": v for name, v in self._of_outputs(layer).items()}
        low, high, bins = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1], len(HISTOGRAM_EDGES) - 1
        counts = [
            torch.cat([probes.histogram_counts(h, low, high, bins) for h in layer.outputs])
            for layer in layers[:-1]
            if histograms
        ]
        return values, counts

    def _of_outputs(self, layer: Layer) -> dict[str, Tensor]:
        """Diagnostics [K] of a hidden layer's activation outputs, segment by segment."""
        found = []
        for s, h in zip(self.stack.bn_segments, layer.outputs, strict=True):
            mean, std = probes.means_stds(h)
            saturation = probes.saturation(h, self._low_K[s], self._high_K[s])
            found.append({"mean": mean, "std": std, "saturation": saturation})
            found[-1]["dead"] = probes.dead_units(h, self._relu_K[s])
        return {name: torch.cat([values[name] for values in found]) for name in found[0]}

    def evaluate(self, epoch: int, histograms: bool) -> Evaluation:
        """Every number of this moment in one transfer to the host."""
        values: dict[str, Tensor] = {}
        for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
            values[f"{name}/loss"], values[f"{name}/accuracy"] = self.score(split)
        if epoch > 0:  # before the first step nothing has diverged: BN may yet train what overflows without it
            before_K = self.alive_K.clone()
            self.keep_finite(values["train/loss"])
            self.survived_K -= (before_K & ~self.alive_K).long()  # its last step led there
        diagnostics, counts = self.probe(histograms)
        values |= diagnostics
        table_MK = torch.stack([v.double() for v in values.values()])
        table_MK = torch.where(self.alive_K, table_MK, torch.nan)
        lr_K = self.optimizer.lr_K(self.stack.t.clamp(max=self.total_steps - 1)).double()
        extra = [c.double().flatten(1).T for c in counts]
        host = torch.cat([table_MK, lr_K[None], self.first_bad_step().double()[None], *extra]).cpu()
        m = len(values)
        layers = host[m + 2 :].split(len(HISTOGRAM_EDGES) - 1) if counts else ()
        return Evaluation(
            epoch=epoch,
            step=int(self.stack.t),
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
