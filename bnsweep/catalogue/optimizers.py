"""The optimizers: one row each, and one YAML in conf/optimizer. The formulas are torch.optim's, on stacked tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
"""Adam's constants (Kingma & Ba 2015, algorithm 1), torch's defaults."""


def momentum(g: Tensor, state: Sequence[Tensor], t: Tensor, momentum: Tensor) -> Tensor:
    return state[0].mul_(momentum).add_(g)


def adam(g: Tensor, state: Sequence[Tensor], t: Tensor, momentum: Tensor) -> Tensor:
    steps, (first, second) = t.double(), state
    first.lerp_(g, 1 - BETA1)
    second.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
    denominator = second.sqrt().div_((1 - BETA2**steps).sqrt()).add_(EPS)
    return first.div(denominator).div_(1 - BETA1**steps)


@dataclass(frozen=True)
class OptimizerKind:
    name: str
    direction: Callable[[Tensor, Sequence[Tensor], Tensor, Tensor], Tensor] | None = None
    """(gradient, state, steps taken, momentum): what a parameter moves against; None: the gradient itself. States are
    updated in place, and are linear in the gradient where `accumulates`."""
    states: int = 0
    """Tensors as large as the parameters that are kept between steps."""
    accumulates: bool = False
    """Whether the gradient may be added straight into state 0 once that was multiplied by the momentum."""
    temporaries: int = 0
    """Tensors as large as the parameters that a step holds besides, the gradient among them."""


ROWS = (
    OptimizerKind("sgd"),
    OptimizerKind("momentum", momentum, states=1, accumulates=True),
    OptimizerKind("adam", adam, states=2, temporaries=2),
)
OPTIMIZERS = {row.name: row for row in ROWS}
