"""The equality gate: an arm has a speed only if its members reach the losses of the plain nn.Module loop."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from bnsweep.config import RunConfig
from bnsweep.identity import identity
from bnsweep.model import build
from tests.benchmarks.arm import Arm
from tests.benchmarks.arm_loaders import make_optimizer
from tests.benchmarks.work import BATCH, Work, spread

TOLERANCE = 1e-4
"""Largest difference of a member's loss, relative to max(1, loss)."""
MEMBERS = 16
"""Of all that an arm trained, evenly spread, are compared."""
ROWS = 2048
"""Training rows of the compared loss; in eval mode, so that it judges the running statistics too."""


@dataclass(frozen=True)
class Verdict:
    members: int
    by_status: int
    """Compared by finished or diverged alone: diverged, or so sensitive that float64 moves the plain loop itself."""
    worst: float
    """Largest relative difference of the others."""
    reason: str = ""
    """Why the arm is refused; empty when it is not."""


_references: dict[tuple[str, int, str, str], float] = {}


def reference(work: Work, config: RunConfig, passes: int, dtype: str) -> float:
    """Loss of the plain loop after so many passes; NaN when it diverged."""
    key = (identity(config), passes, dtype, work.dataset.info.digest)
    if key not in _references:
        _references[key] = plain_loss(work, config, passes, dtype)
    return _references[key]


def plain_loss(work: Work, config: RunConfig, passes: int, dtype: str) -> float:
    config = replace(config, train=replace(config.train, dtype=dtype))
    torch.set_num_threads(1)
    model = build(config)
    x_ND, y_N = work.dataset.x_ND, work.dataset.y_N
    optimizer = make_optimizer(config, model)
    finite = True
    for epoch in range(passes):
        for rows in work.order(config, epoch).split(BATCH):
            loss = F.cross_entropy(model(x_ND[rows].to(getattr(torch, dtype))), y_N[rows])
            finite = finite and math.isfinite(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return final_loss(work, config, model) if finite else math.nan


@torch.no_grad()
def final_loss(work: Work, config: RunConfig, model: nn.Module | None) -> float:
    """Loss in eval mode on training rows; NaN for a network that diverged."""
    if model is None:
        return math.nan
    rows = work.train_rows(config)[:ROWS]
    x_BD = work.dataset.x_ND[rows].to(getattr(torch, config.train.dtype))
    loss = F.cross_entropy(model.eval()(x_BD), work.dataset.y_N[rows]).item()
    return loss if math.isfinite(loss) else math.nan


def difference(a: float, b: float) -> float:
    return abs(a - b) / max(1.0, abs(b))


def check(arm: Arm, passes: int) -> Verdict:
    """Compare an arm that was trained `passes` passes, epochs 0 to passes - 1, with the plain loop."""
    work, by_status, worst = arm.work, 0, 0.0
    members = spread(len(arm.configs), MEMBERS)
    for i, model in zip(members, arm.models(members), strict=True):
        config = work.configs[i]
        wanted, found = reference(work, config, passes, "float32"), final_loss(work, config, model)
        exact = reference(work, config, passes, "float64")
        if math.isnan(wanted) != math.isnan(found):
            says = ["finished", "diverged"]
            reason = f"member {i} {says[math.isnan(found)]}, in the plain loop it {says[math.isnan(wanted)]}"
            return Verdict(len(members), by_status, worst, reason)
        if math.isnan(wanted) or not difference(wanted, exact) <= TOLERANCE / 10:
            by_status += 1
            continue
        worst = max(worst, difference(found, wanted))
        if worst > TOLERANCE:
            reason = f"loss of member {i} is {found:.6g}, {wanted:.6g} in the plain loop"
            return Verdict(len(members), by_status, worst, reason)
    return Verdict(len(members), by_status, worst)
