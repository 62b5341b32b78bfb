"""What this machine can do, measured, and the least time that the arithmetic of a sweep can take on it.

Sizes: D inputs, H units of a hidden layer, O classes, L hidden layers, B batch, K members, N samples, S steps an epoch.

- FLOPs a sample. A product of [m, n] and [n, k] costs 2mnk. Forward, weight gradient and input gradient cost 2DH each,
  and layer 1 needs no input gradient: F = 4·D·H + 6·(every further layer's inputs × units) = 108,416 for 784-32-32-10.
  A convolution costs so much at each of its positions, with as many inputs as its kernel has numbers: 2,028,096 for
  16, 32 and 32 channels on 14 x 14 pixels, pooled by two.
- Bytes a step. Per parameter (P of them): the weights are read forward (4), their gradient is written (4), and SGD
  reads both and writes the weights (12): c = 20. Adam reads and writes two more tensors: c = 36. Per hidden activation
  a = 16 passes of 4 bytes in eager execution (write, read and gradient of linear, norm and activation; about 9 when
  fused). The inputs of a batch once for each of the G data orders, 4 bytes a pixel:
  K·(c·P + 4·a·L·H·B) + 4·G·B·D.
- Launches. A stacked step is about 25 operators whatever K is; t is what one costs that does nothing.

    T_floor = max(K·F·N / peak, S·bytes / bandwidth, S·launches·t)

The largest term is the one that binds. Bytes are counted against memory: stacks that stay in cache can beat that term.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bnsweep.config.run import RunConfig
from bnsweep.nets.families import layers_of
from bnsweep.runs.machine import cores
from bnsweep.runs.memory import parameters
from bnsweep.runs.plan import step_flops
from tests.benchmarks.work import BATCH, EPOCH_STEPS, SAMPLES

LAUNCHES = 25
ACTIVATION_PASSES = 16
PARAMETER_BYTES = {"sgd": 20, "adam": 36}
LAYER1_MEMBERS = 96


@dataclass(frozen=True)
class Peaks:
    gemm: float
    """FLOP/s of the best of a few large float32 products, all cores."""
    gemm_shape: str
    layer1: float
    """FLOP/s of layer 1 of 96 members over one batch, all cores."""
    copy: float
    """Bytes/s of a large copy, reads and writes."""
    launch: float
    """Seconds of an operator on one element."""


@dataclass(frozen=True)
class Floor:
    """Seconds of one epoch of all members, by term."""

    flops: float
    bytes: float
    launches: float

    @property
    def seconds(self) -> float:
        return max(self.flops, self.bytes, self.launches)

    @property
    def binds(self) -> str:
        terms = {"FLOPs": self.flops, "bytes": self.bytes, "launches": self.launches}
        return max(terms, key=lambda name: terms[name])


def better(a: Peaks, b: Peaks) -> Peaks:
    """The better of two measurements, so that a moment's load does not pass for the machine."""
    gemm = max(a, b, key=lambda peaks: peaks.gemm)
    return Peaks(gemm.gemm, gemm.gemm_shape, max(a.layer1, b.layer1), max(a.copy, b.copy), min(a.launch, b.launch))


def floor(peaks: Peaks, config: RunConfig, members: int, orders: int) -> Floor:
    """`members` networks like that of a run, in so many orders of the data."""
    numbers = sum(math.prod(kept.shape) for kept in parameters(config))
    hidden = sum(layer.size for layer in layers_of([config])) - config.data.facts.outputs
    each = PARAMETER_BYTES[config.optimizer.name] * numbers + 4 * ACTIVATION_PASSES * hidden * BATCH
    step_bytes = members * each + 4 * orders * BATCH * config.data.facts.features
    return Floor(
        members * step_flops(config) * SAMPLES / peaks.gemm,
        EPOCH_STEPS * step_bytes / peaks.copy,
        EPOCH_STEPS * LAUNCHES * peaks.launch,
    )


def fastest(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Least seconds of a call."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    call()
    best = float("inf")
    for _ in range(repeats):
        wait()
        started = time.perf_counter()
        call()
        wait()
        best = min(best, time.perf_counter() - started)
    return best


def product_rate(m: int, n: int, k: int, device: torch.device, repeats: int) -> float:
    a, b = torch.randn(m, n, device=device), torch.randn(n, k, device=device)
    out = torch.empty(m, k, device=device)
    return 2 * m * n * k / fastest(lambda: torch.mm(a, b, out=out), device, repeats)


def measure(device: torch.device, quick: bool = False) -> Peaks:
    """Peaks in IEEE float32 (torch's default: no TF32)."""
    torch.set_num_threads(cores())
    repeats = 2 if quick else 10
    sides = [256] if quick else [1024, 2048] if device.type == "cpu" else [4096, 8192]
    rates = {side: product_rate(side, side, side, device, repeats) for side in sides}
    best = max(sides, key=lambda side: rates[side])
    layer1 = product_rate(LAYER1_MEMBERS * 32, 784, BATCH, device, 5 * repeats)
    elements = 2**20 if quick else 2**26
    source = torch.ones(elements, device=device)
    target = torch.empty_like(source)
    copy = 8 * elements / fastest(lambda: target.copy_(source), device, repeats)
    one, calls = torch.zeros(1, device=device), 2000

    def launch() -> None:
        for _ in range(calls):
            one.add_(1)

    return Peaks(rates[best], f"{best}³", layer1, copy, fastest(launch, device, repeats) / calls)
