"""The equality gate: an arm has a speed only if its members reach the losses of the plain nn.Module loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig
from bnsweep.nets.plain import build
from tests.benchmarks.arm import Arm
from tests.benchmarks.arm_loaders import make_optimizer
from tests.benchmarks.work import BATCH, Work, spread
from tests.plain_loop import nudge

TOLERANCE = 1e-5
"""Largest difference of a member's loss, relative to max(1, loss)."""
MEMBERS = 16
"""Of all that an arm trained, evenly spread, are compared."""
ROWS = 2048
"""Training rows of the compared loss; in eval mode, so that it judges the running statistics too."""
NUDGE, NUDGES = 1e-6, 20
"""A member that misses its loss may be off by three times the largest difference that the plain loop has from itself in
so many trainings whose first weights differ by this relative amount. Most members' losses hardly move. Others are
chaotic: one sample whose ReLU input changes sign by rounding moves them. An arm rounds at every step and a nudge comes
once, so a nudge is ten times the rounding of float32."""
COARSEST = 1e-2
"""A larger difference than this tells no right arm from a wrong one: a member that may have it is not compared."""


@dataclass(frozen=True)
class Verdict:
    members: int
    after: int
    """Passes, after which they are compared."""
    by_status: int
    """Diverged in the plain loop: the arm must say so too."""
    sensitive: int
    """Compared with the plain loop's nudged trainings."""
    worst: float
    """Largest relative difference of the others."""
    reason: str = ""
    """Why the arm is refused; empty when it is not."""
    told: bool = True
    """Whether enough members can be compared to tell a right arm from a wrong one."""


_references: dict[tuple[str, int, int, str], float] = {}


def reference(work: Work, config: RunConfig, passes: int, number: int = 0) -> float:
    """Loss of the plain loop after so many passes, NaN when it diverged; nudges are numbered from 1, 0 is none."""
    key = (identity(config), passes, number, work.dataset.info.digest)
    if key not in _references:
        _references[key] = plain_loss(work, config, passes, number)
    return _references[key]


def plain_loss(work: Work, config: RunConfig, passes: int, number: int) -> float:
    torch.set_num_threads(1)
    model = build(config)
    nudge(model, number, NUDGE)
    x_ND, y_N = work.dataset.x_ND, work.dataset.y_N
    optimizer = make_optimizer(config, model)
    finite = True
    for epoch in range(passes):
        for rows in work.order(config, epoch).split(BATCH):
            loss = F.cross_entropy(model(x_ND[rows]), y_N[rows])
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
    loss = F.cross_entropy(model.eval()(work.dataset.x_ND[rows]), work.dataset.y_N[rows]).item()
    return loss if math.isfinite(loss) else math.nan


def difference(a: float, b: float) -> float:
    return abs(a - b) / max(1.0, abs(b))


def allowed(work: Work, config: RunConfig, passes: int) -> float:
    """Difference that a member is allowed which misses TOLERANCE."""
    wanted = reference(work, config, passes)
    nudged = [reference(work, config, passes, number) for number in range(1, NUDGES + 1)]
    own = max((difference(loss, wanted) for loss in nudged if not math.isnan(loss)), default=0.0)
    return max(3 * own, TOLERANCE)


def losses(arm: Arm) -> list[float]:
    """Of the members that are compared; NaN for one that diverged."""
    members = spread(len(arm.configs), MEMBERS)
    return [final_loss(arm.work, arm.configs[i], m) for i, m in zip(members, arm.models(members), strict=True)]


def check(arm: Arm, passes: int) -> Verdict:
    """Compare an arm that was trained `passes` passes, epochs 0 to passes - 1, with the plain loop."""
    return judge(arm.work, len(arm.configs), losses(arm), passes)


def judge(work: Work, trained: int, found: Sequence[float], passes: int) -> Verdict:
    """Compare the losses that an arm of so many members gave after so many passes with the plain loop's."""
    diverged, sensitive, coarse, worst, reason = 0, 0, 0, 0.0, ""
    members = spread(trained, MEMBERS)
    for i, loss in zip(members, found, strict=True):
        config = work.configs[i]
        wanted = reference(work, config, passes)
        off = difference(loss, wanted)
        if math.isnan(wanted) != math.isnan(loss):
            says = ["finished", "diverged"]
            reason = f"member {i} {says[math.isnan(loss)]}, in the plain loop it {says[math.isnan(wanted)]}"
        elif math.isnan(wanted):
            diverged += 1
        elif off <= TOLERANCE:
            worst = max(worst, off)
        elif off <= (bound := allowed(work, config, passes)):
            sensitive += 1
            coarse += bound > COARSEST
        else:
            reason = f"loss of member {i} is {loss:.6g}, {wanted:.6g} in the plain loop"
    compared = len(members) - diverged - coarse
    told = bool(reason) or 2 * compared >= len(members)
    if not told:
        reason = f"only {compared} of {len(members)} members can be compared by their loss"
    return Verdict(len(members), passes, diverged, sensitive, worst, reason, told)


def judge_passes(work: Work, trained: int, found: Sequence[Sequence[float]]) -> Verdict:
    """By the losses after each pass, the last ones where they tell: where too many members have become chaotic by then,
    those before."""
    verdicts = (judge(work, trained, found[passes - 1], passes) for passes in range(len(found), 0, -1))
    first = next(verdicts)
    return first if first.told else next((v for v in verdicts if v.told), first)
