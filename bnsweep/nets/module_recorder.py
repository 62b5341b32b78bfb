"""The activations of a user's network: what each call of one sees and gives.

Activations are known by the functions of torch that they call, by modules as by hand: `nn.ReLU()` calls `F.relu`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.config.network import ActivationCalls
from bnsweep.nets.activation import activate

NAMES = (
    *("celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish"),
    *("prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh"),
    *("tanhshrink", "threshold"),
)
"""Of torch's activations that go element by element."""


def forms_of(name: str) -> Iterator[Any]:
    """Functions and methods, in place and not."""
    for place in (torch, F, Tensor):
        for form in (name, f"{name}_"):
            if hasattr(place, form):
                yield getattr(place, form)


FUNCTIONS: dict[Any, str] = {
    form: name if name in ACTIVATIONS else f"torch.nn.functional:{name}" for name in NAMES for form in forms_of(name)
}
"""Function of torch's -> its row of the catalogue, or its own name."""


@dataclass(frozen=True)
class Called:
    """One call of an activation."""

    row: str
    a: Tensor
    """What it saw."""
    h: Tensor
    """What it gave."""


class Recorder(TorchFunctionMode):
    """Inside, it listens. A call within another's, as of `torch.sigmoid` in a user's activation, is not one more."""

    def __init__(self, zeros: Sequence[Tensor | None] = ()) -> None:
        """One for each call, added to what it sees so that gradients can be asked for there; None: to nothing."""
        super().__init__()
        self.calls: list[Called] = []
        self._zeros = zeros

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        row = args[1] if func is activate else FUNCTIONS.get(func)
        if row is None:
            return func(*args, **kwargs)
        given, *others = args or (kwargs.pop("input"),)
        # Python's functions of torch hand over `inplace` by its name.
        a = self._shifted(given, in_place=func.__name__.endswith("_") or kwargs.get("inplace", False))
        # Clones: the activation, or what comes after it, may write over what it was given and what it gave.
        seen, result = a.clone(), func(a, *others, **kwargs)
        self.calls.append(Called(row, seen, result.clone()))
        return result

    def _shifted(self, given: Tensor, in_place: bool) -> Tensor:
        """By the zero of this call; one in place writes over the tensor that it is given, which others may hold."""
        place = len(self.calls)
        zero = self._zeros[place] if place < len(self._zeros) else None
        if zero is None or zero.shape != given.shape:
            return given
        zero = zero.to(given.dtype)
        return given.add_(zero) if in_place else given + zero


def recorded(
    call: Callable[[], Tensor], calls: ActivationCalls, zeros: Sequence[Tensor]
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """What `call` gives, and what those of its activations that are read saw and gave: NaN where it makes other calls
    than it did on its trial."""
    left = iter(zeros)
    with Recorder([None if shape is None else next(left) for shape, _ in calls]) as recorder:
        result = call()
    found = recorder.calls
    read = [one for one, (shape, _) in zip(found, calls, strict=False) if shape is not None]
    same = [one.row for one in found] == [row for _, row in calls]
    if same and all(one.a.shape == zero.shape for one, zero in zip(read, zeros, strict=True)):
        return result, [(one.a, one.h) for one in read]
    return result, [(torch.full_like(zero, torch.nan),) * 2 for zero in zeros]
