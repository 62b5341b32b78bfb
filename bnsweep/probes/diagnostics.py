"""What is read off a stack on the probe batch, besides its scores: the pure functions of `activations`, `gradients`,
`shift` and `landscape` on its tensors, by metric name.

K members, L hidden layers, H units, B probe samples. Nothing here changes what training computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bnsweep.catalogue.tasks import CLASSIFICATION
from bnsweep.nets.engine import Engine
from bnsweep.nets.layer import Activated
from bnsweep.nets.stack import Stack
from bnsweep.probes import gradients, shift
from bnsweep.probes.one_pass import OnePass, Values
from bnsweep.probes.trial_steps import Gradients, TrialSteps

if TYPE_CHECKING:
    from bnsweep.training.batches import Batches
    from bnsweep.training.optimizer import Optimizer

PART, GPU_PART = 2**19, 2**26
"""Elements of a layer's activations that a light probe holds at once, on a CPU and on a GPU; those of one member at the
least."""


class Diagnostics:
    """Reads a stack by an engine that training does not use. The probe batch passes with batch statistics, as in
    training, but without dropout and noise, whose draws would be noise between readings; losses are means over it."""

    def __init__(
        self, stack: Stack, engine: Engine, batches: Batches, optimizer: Optimizer, trials: Engine | None = None
    ) -> None:
        """`trials`: an engine for passes of which only losses and gradients are looked at; None: the same."""
        self.stack, self.engine, self.batches, self.optimizer = stack, engine, batches, optimizer
        self._trials = engine if trials is None else trials
        self._task = stack.configs[0].task
        self._all = OnePass(stack, engine)
        self._parts: list[tuple[slice, OnePass]] = []
        self._without_bn_K = torch.tensor([not c.batch_norm for c in stack.configs], device=stack.device)
        self._biased_K = stack.scalars(lambda c: c.model.bias) > 0
        self._nothing_K = torch.full((len(stack),), torch.nan, device=stack.device, dtype=torch.float64)
        self._hidden: list[Tensor] = []
        """The hidden layers' weights before the last step, where `remember` was told of it."""
        self._percentiles: list[Tensor] = []
        """Of every hidden layer at the last full reading."""

    @torch.no_grad()
    def light(self, histograms: bool) -> tuple[Values, list[Tensor]]:
        """One forward and backward pass, and every layer's activations, gradients and weights. With them, where
        asked for, the counts [K, bins] of every hidden layer's outputs."""
        (x_GBD, y_KB), lr_K = self._probe_batch(), self._lr_K()
        self._parts = self._parts or self._cut(x_GBD.shape[1])
        found = [part.read(histograms, x_GBD, y_KB[s], lr_K[s])[:2] for s, part in self._parts]
        values = {name: torch.cat([values[name] for values, _ in found]) for name in found[0][0]}
        return values, [torch.cat(counts) for counts in zip(*(counts for _, counts in found), strict=True)]

    def _cut(self, samples: int) -> list[tuple[slice, OnePass]]:
        """The stack in parts that are read one after the other in the same memory: fresh memory costs more than the
        pass that first touches it."""
        part = PART if self.stack.device.type == "cpu" else GPU_PART
        k, most = len(self.stack), max(1, part // (self.stack.widest * samples))
        if most >= k:
            return [(slice(0, k), self._all)]
        size, memory = -(-k // -(-k // most)), dict[str, Tensor]()
        slices = [slice(i, min(i + size, k)) for i in range(0, k, size)]
        return [(s, OnePass(part, Engine(part, memory))) for s in slices for part in [self.stack.part(s)]]

    @torch.no_grad()
    def full(self, histograms: bool) -> tuple[Values, list[Tensor]]:
        """The light reading and what takes L + 11 more passes and a sort of every layer's inputs: covariate shift in
        both senses, the landscape along the gradient, the BN gap, angular updates, dropout's shift in variance."""
        x_GBD, y_KB = self._probe_batch()
        values, counts, here = self._all.read(histograms, x_GBD, y_KB, self._lr_K())
        values |= {"batch/loss": here.loss_K, f"batch/{self._task.score}": self._score(here.logits, y_KB)}
        values |= self._of_units(here.activated) | self._of_weights(here)
        p_KCB = here.logits.softmax(1)
        values |= self._dropout_ratios(here, x_GBD)
        trial = TrialSteps(self.stack, self.optimizer, self._trials, x_GBD, y_KB)
        values |= trial.covariate_shift() | trial.landscape(self._lr_K())
        running_KB, _ = self.stack.loss.of_samples(self.engine.evaluate(x_GBD), y_KB)
        gap_K = values["batch/loss"] - running_KB.mean(1, dtype=torch.float64)
        values["bn_gap"] = torch.where(self._without_bn_K, torch.nan, gap_K)
        return values | ({"mates": self._mates(p_KCB, x_GBD)} if self._task is CLASSIFICATION else {}), counts

    @torch.no_grad()
    def remember(self) -> None:
        """Keep the hidden layers' weights: the next full reading says by what angle they have turned since."""
        self._hidden = [w.clone() for w in self.stack.weights[:-1]]

    @property
    def remembered(self) -> dict[str, Tensor]:
        """[K, …] of what the next full reading is compared with, between two steps."""
        return {str(i): q_QKH.transpose(0, 1) for i, q_QKH in enumerate(self._percentiles)}

    def make_room(self, like: Mapping[str, Tensor]) -> None:
        """For what was `remembered` of other members, where there is nothing yet."""
        if not self._percentiles:
            found = [like[str(i)].to(self.stack.device) for i in range(len(like))]
            self._percentiles = [t.new_empty(t.shape[1], len(self.stack), *t.shape[2:]) for t in found]

    def _lr_K(self) -> Tensor:
        """[K] learning rates of the step to come."""
        return self.optimizer.lr_K(self.stack.t)

    def _probe_batch(self) -> tuple[Tensor, Tensor]:
        return self.batches.take(self.batches.rows["probe"])

    def _score(self, outputs_KCB: Tensor, y_KB: Tensor) -> Tensor:
        """[K] score on the probe batch."""
        mean_K = self.stack.loss.counts(outputs_KCB, y_KB).double() / y_KB.shape[1]
        targets_GB = self.batches.targets(self.batches.rows["probe"])
        return self.stack.loss.score(mean_K, targets_GB, self.stack.group_of_K)

    def _of_units(self, layers: list[list[Activated]]) -> Values:
        """Percentiles of every unit's activation input, and how far they moved since the last full reading."""
        values: Values = {}
        now = [torch.cat([shift.percentiles(some.a) for some in layer], dim=1) for layer in layers]
        for i, q_QKH in enumerate(now, start=1):
            for name, q_KH in zip(("unit_q15", "unit_q50", "unit_q85"), q_QKH, strict=True):
                values[f"layer/{i}/{name}"] = q_KH[:, 0]
            values[f"layer/{i}/spread"] = shift.spread(q_QKH)
            moved = shift.shift(q_QKH, self._percentiles[i - 1]) if self._percentiles else self._nothing_K
            values[f"layer/{i}/shift"] = moved
        self._percentiles = now
        return values

    def _of_weights(self, here: Gradients) -> Values:
        """Of hidden layers, whose weights and biases may stand before a BN, and of its running variances."""
        values: Values = {}
        for i, name in enumerate(self.stack.weight_names[:-1]):
            w, d_bias = self.stack.parameters[name], here.parameters[name.replace("weight", "bias")]
            values[f"layer/{i + 1}/weight_cosine"] = gradients.cosine(w, here.parameters[name])
            values[f"layer/{i + 1}/grad_bias"] = torch.where(self._biased_K, gradients.norms(d_bias), torch.nan)
            turned = gradients.angular_update(self._hidden[i], w) if self._hidden else self._nothing_K
            values[f"layer/{i + 1}/angular_update"] = turned
        self._hidden = []
        variances = [self.stack.running[name] for name in self.stack.variance_names]
        for i, variance_KH in enumerate(variances, start=1):
            mean_K = variance_KH.mean(1, dtype=torch.float64)
            values[f"layer/{i}/running_variance"] = torch.where(self._without_bn_K, torch.nan, mean_K)
        return values

    def _mates(self, p_KCB: Tensor, x_GBD: Tensor) -> Tensor:
        """How much an output depends on the other samples of its batch in training mode (Wu & Johnson 2021, arXiv
        2105.07576): mean total variation distance, 0 to 1, between class probabilities of the first half of the probe
        batch in the whole of it, given as p, and alone."""
        half = max(2, p_KCB.shape[2] // 2)
        alone_KCB = self.engine.forward(x_GBD[:, :half]).softmax(1)
        return (alone_KCB - p_KCB[:, :, :half]).abs().sum(1).mean(1, dtype=torch.float64) / 2

    def _variances(self, logits: Tensor, layers: list[list[Activated]]) -> list[Tensor]:
        """[K] variance over the samples, mean over the units, of what the linear maps from the second on give."""
        of_batch = [self.stack.batch[name] for name in self.stack.variance_names]
        found = []
        for i, layer in enumerate(layers[1:], start=1):
            parts = [self._input_variances(s, of_batch[i : i + 1]) for s in layer]
            found.append(torch.cat([part.double().mean(1) for part in parts]))
        return [*found, logits.var(2).double().mean(1)]

    def _input_variances(self, some: Activated, of_batch_KH: Sequence[Tensor]) -> Tensor:
        """[k, H] of what a linear map gives. A normalisation before the activation overwrites it. BN leaves its
        variance in the stack: `of_batch_KH`, one tensor where a member has BN. Other kinds have no such number: the
        shift of Li et al. is that of BN's running variance, which is of training alone, and they divide by each
        sample's own spread in training and at test."""
        config = self.stack.configs[some.members.start]
        if config.placement != "before":
            return some.a.var(2)
        return of_batch_KH[0][some.members] if config.batch_norm else torch.full_like(some.a[..., 0], torch.nan)

    def _dropout_ratios(self, here: Gradients, x_GBD: Tensor) -> Values:
        """Variance of linear outputs without dropout over that with it (Li et al. 2019, arXiv 1801.05134), for every
        layer that has dropout below it: v / ((v + c^2) / p - c^2) for independent inputs of mean c and variance v
        that are kept with probability p."""
        rates_K = self.stack.scalars(lambda c: c.model.dropout)
        noises_K = self.stack.scalars(lambda c: c.bn.noise if c.batch_norm else 0.0)
        if not bool(rates_K.any()):
            return {}
        without = self._variances(here.logits, here.activated)
        with_it = self._variances(self.engine.forward(x_GBD, self.stack.t), self.engine.activated)
        one_of_two_K = (rates_K > 0) & (noises_K == 0)  # noise comes with dropout, and would count as dropout's
        pairs = enumerate(zip(without, with_it, strict=True), start=2)
        return {f"layer/{i}/dropout_ratio": torch.where(one_of_two_K, a / b, torch.nan) for i, (a, b) in pairs}
