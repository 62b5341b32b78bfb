"""The activations of a user's network: which of its modules they are, and what each call of them sees and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from bnsweep.nets.activation import Activation

ROWS: dict[type[nn.Module], str] = {
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.ELU: "elu",
    nn.SELU: "selu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
}
"""Modules of torch that the catalogue has rows of."""
NOT_ELEMENTWISE = (nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax, nn.GLU, nn.MultiheadAttention)


def row_of(module: nn.Module) -> str | None:
    """Name under which the catalogue has facts of an activation; None for another module."""
    if isinstance(module, Activation):
        return module.name
    kind = type(module)
    if kind.__module__ != nn.ReLU.__module__ or issubclass(kind, NOT_ELEMENTWISE):
        return None
    return ROWS.get(kind, f"torch.nn:{kind.__name__}")


class Recorder:
    """Listens to the activations of one module."""

    def __init__(self, module: nn.Module) -> None:
        self.rows: list[str] = []
        """Of each call in the last `run`."""
        self._recorded: list[list[Tensor]] | None = None
        self._zeros: Sequence[Tensor] = ()
        for inner in module.modules():
            if (row := row_of(inner)) is not None:
                inner.register_forward_pre_hook(self._before)
                inner.register_forward_hook(self._after(row))

    def run(self, call: Callable[[], Any], zeros: Sequence[Tensor] = ()) -> tuple[Any, list[tuple[Tensor, ...]]]:
        """What the call gives, and what each activation in it saw and gave, in the order of the calls. `zeros` are
        added to what they see, so that gradients can be asked for there."""
        self._recorded, self._zeros, self.rows = [], zeros, []
        try:
            result = call()
            return result, [tuple(pair) for pair in self._recorded]
        finally:
            self._recorded = None

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._recorded is None or not args or not isinstance(args[0], Tensor):
            return None
        place = len(self._recorded)
        a = args[0] + self._zeros[place] if place < len(self._zeros) else args[0]
        # A clone: the activation, or what comes after it, may write over what it was given.
        self._recorded.append([a.clone()])
        return a, *args[1:]

    def _after(self, row: str) -> Callable[..., None]:
        def listen(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if self._recorded and len(self._recorded[-1]) == 1 and isinstance(output, Tensor):
                self._recorded[-1].append(output.clone())
                self.rows.append(row)

        return listen


def seen(recorded: Sequence[tuple[Tensor, ...]], samples: int) -> bool:
    """Whether every activation saw and gave a tensor with the samples first."""
    return all(len(pair) == 2 and all(t.shape[:1] == (samples,) for t in pair) for pair in recorded)
