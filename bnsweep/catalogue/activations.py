"""The activations: one row each, and one YAML in conf/activation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsweep.catalogue.own import Table, title_of

if TYPE_CHECKING:
    from torch import Tensor


SELU = 1.6732632423543772, 1.0507009873554805
"""Its alpha and scale: with them a layer of LeCun's weights keeps mean 0 and variance 1 (Klambauer et al. 2017, arXiv
1706.02515, eq. 2 and 14)."""


@dataclass(frozen=True)
class Functions:
    """What an activation computes. NaN stays NaN."""

    plain: Callable[[Tensor], Tensor]
    """h = f(a), which autograd can follow: what the ordinary network calls."""
    forward: Callable[[Tensor, Tensor], object] | None = None
    """(a, h): h = f(a) written into h. Without both, a stack takes `plain` and autograd: slower."""
    backward: Callable[[Tensor, Tensor, Tensor], object] | None = None
    """(d, a, h): d = dL/dh turned into dL/da in place."""


@dataclass(frozen=True)
class ActivationKind:
    name: str
    title: str
    """As text writes it."""
    functions: Callable[[Any], Functions] | None = None
    """Of torch, which is given so that a row can be read without it. Kernels are those that torch.nn.functional and
    autograd call. None: a function of the user's, by its dotted path."""
    lowest: float = -math.inf
    """Outputs are never below."""
    highest: float = math.inf
    """Outputs are never above."""
    flat: tuple[float, float] | None = None
    """Outputs outside are saturated: there the function is about flat. None: there is no such notion."""
    rectifier: bool = False
    """Whether it passes large inputs and holds back negative ones. He's weights are made for them: ReLU and its kin."""
    linear: bool = False
    """Whether it is a multiple of its input: what BN after it removes, it removes before it."""
    dies: bool = False
    """Whether a unit whose output is 0 on every sample gets no gradient from any of them."""

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.lowest) and math.isfinite(self.highest)


ROWS = (
    ActivationKind(
        "sigmoid",
        "sigmoid",
        lambda torch: Functions(
            torch.sigmoid,
            lambda a, h: torch.sigmoid(a, out=h),
            lambda d, a, h: torch.ops.aten.sigmoid_backward.grad_input(d, h, grad_input=d),
        ),
        lowest=0.0,
        highest=1.0,
        flat=(0.05, 0.95),
    ),
    ActivationKind(
        "tanh",
        "tanh",
        lambda torch: Functions(
            torch.tanh,
            lambda a, h: torch.tanh(a, out=h),
            lambda d, a, h: torch.ops.aten.tanh_backward.grad_input(d, h, grad_input=d),
        ),
        lowest=-1.0,
        highest=1.0,
        flat=(-0.95, 0.95),
    ),
    ActivationKind(
        "relu",
        "ReLU",
        lambda torch: Functions(
            torch.relu,
            lambda a, h: torch.clamp_min(a, 0.0, out=h),
            lambda d, a, h: torch.ops.aten.threshold_backward.grad_input(d, h, 0.0, grad_input=d),
        ),
        rectifier=True,
        lowest=0.0,
        dies=True,
    ),
    ActivationKind(
        "leaky_relu",
        "leaky ReLU",
        lambda torch: Functions(
            torch.nn.functional.leaky_relu,
            lambda a, h: torch.ops.aten.leaky_relu.out(a, out=h),
            lambda d, a, h: torch.ops.aten.leaky_relu_backward.grad_input(d, a, 0.01, False, grad_input=d),
        ),
        rectifier=True,
    ),
    ActivationKind(
        "elu",
        "ELU",
        lambda torch: Functions(
            torch.nn.functional.elu,
            lambda a, h: torch.ops.aten.elu.out(a, out=h),
            lambda d, a, h: torch.ops.aten.elu_backward.grad_input(d, 1.0, 1.0, 1.0, False, a, grad_input=d),
        ),
        rectifier=True,
        lowest=-1.0,
    ),
    ActivationKind(
        "selu",
        "SELU",
        lambda torch: Functions(
            torch.selu,
            lambda a, h: torch.ops.aten.elu.out(a, *SELU, 1.0, out=h),
            lambda d, a, h: torch.ops.aten.elu_backward.grad_input(d, *SELU, 1.0, False, a, grad_input=d),
        ),
        rectifier=True,
        lowest=-SELU[0] * SELU[1],
    ),
    ActivationKind(
        "gelu",
        "GELU",
        lambda torch: Functions(
            torch.nn.functional.gelu,
            lambda a, h: torch.ops.aten.gelu.out(a, out=h),
            lambda d, a, h: torch.ops.aten.gelu_backward.grad_input(d, a, grad_input=d),
        ),
        rectifier=True,
        lowest=-0.17,
    ),
    ActivationKind(
        "silu",
        "SiLU",
        lambda torch: Functions(
            torch.nn.functional.silu,
            lambda a, h: torch.ops.aten.silu.out(a, out=h),
            lambda d, a, h: torch.ops.aten.silu_backward.grad_input(d, a, grad_input=d),
        ),
        rectifier=True,
        lowest=-0.28,
    ),
    ActivationKind(
        "identity",
        "linear",
        lambda torch: Functions(lambda a: a, lambda a, h: h.copy_(a), lambda d, a, h: None),
        linear=True,
    ),
)
ACTIVATIONS = Table(ROWS, lambda dotted: ActivationKind(dotted, title_of(dotted)))
