"""The optimizers: one row each, and one YAML in conf/optimizer. The formulas are torch.optim's, on stacked tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
"""Adam's constants (Kingma & Ba 2015, algorithm 1), torch's defaults."""


def momentum(torch: Any, g: Tensor, state: Sequence[Tensor], momentum: Tensor, epsilon: Tensor) -> Tensor:
    return state[0].mul_(momentum).add_(g)


def adam(torch: Any, g: Tensor, state: Sequence[Tensor], momentum: Tensor, epsilon: Tensor) -> Tensor:
    first, second = state
    first.lerp_(g, 1 - BETA1)
    second.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
    torch.sqrt(second, out=g).add_(epsilon)
    direction: Tensor = torch.div(first, g, out=g)
    return direction


def adam_correction(t: Tensor) -> tuple[Tensor, Tensor]:
    """What makes up for moments that start at 0 after t steps, in the form at the end of section 2 there: epsilon and a
    factor on the learning rate."""
    # 1 - BETA^t without the loss of digits that float32 would have at small t.
    below1, below2 = ((t * math.log(beta)).expm1().neg_() for beta in (BETA1, BETA2))
    root = below2.sqrt()
    return root * EPS, root / below1


@dataclass(frozen=True)
class OptimizerKind:
    name: str
    direction: Callable[[Any, Tensor, Sequence[Tensor], Tensor, Tensor], Tensor] | None = None
    """(torch, gradient, state, momentum, epsilon): what a parameter moves against; None: the gradient itself. torch is
    given so that a row can be read without it. The gradient may be overwritten. States are updated in place, and are
    linear in the gradient where `accumulates`."""
    correction: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    """(steps taken, as a floating-point number): epsilon, and a factor on the rate; None where there is neither."""
    states: int = 0
    """Tensors as large as the parameters that are kept between steps."""
    accumulates: bool = False
    """Whether the gradient may be added straight into state 0 once that was multiplied by the momentum."""


ROWS = (
    OptimizerKind("sgd"),
    OptimizerKind("momentum", momentum, states=1, accumulates=True),
    OptimizerKind("adam", adam, adam_correction, states=2),
)
OPTIMIZERS = {row.name: row for row in ROWS}
