"""A training step on a CPU as a list of calls: traced once, then repeated without the Python between them, which takes
longer than the calls where networks are few and small.

It is to a CPU what a CUDA graph is to a GPU, and asks the same of a step: all that differs from one to the next lies in
tensors that keep their place. G data seeds, B samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Call = Callable[[], object]

WARM_UP = 2
"""Steps of a batch size that are taken in the ordinary way before one is traced."""

SAME = {
    "_set_grad_enabled",
    "dim",
    "is_contiguous",
    "is_floating_point",
    "numel",
    "size",
    "stride",
    "__get__",
    "__len__",
}
"""What tells Python nothing that differs between steps; `__get__` is of a tensor's attributes."""

OPERATORS = {
    "__add__": "add",
    "__and__": "bitwise_and",
    "__eq__": "eq",
    "__mul__": "mul",
    "__rmul__": "mul",
    "__rshift__": "bitwise_right_shift",
    "__sub__": "sub",
    "__truediv__": "div",
    "__xor__": "bitwise_xor",
}
"""Functions that do the same and can write into memory that they are given."""

MOST_COPIED, MOST_KEPT = 2**20, 2**23
"""Bytes that a step makes anew, of those that are copied to where they were before, and of all: each is kept."""


class Steps(Protocol):
    """What takes steps, in two halves of which the second needs to know whether all members are alive after the
    first."""

    @property
    def alive_K(self) -> Tensor: ...

    def look(self, rows_GB: Tensor) -> None:
        """Leaves losses and what the way back needs; may be taken twice."""

    def judge(self) -> None:
        """Whose loss is not finite is alive no longer."""

    def move(self, everyone: bool) -> None:
        """The way back and the update, of `everyone` or of those that are alive."""


@dataclass
class Traced:
    rows_GB: Tensor
    """Where the calls read which samples their batch has."""
    first: list[Call]
    second: list[Call]


class Retake:
    """Takes steps on a CPU: the same operators on the same numbers."""

    def __init__(self) -> None:
        self._taken = Counter[tuple[torch.Size, bool]]()
        self._traced: dict[tuple[torch.Size, bool], Traced | None] = {}
        """By the shape of a batch and whether every member was alive; None for a step that cannot be traced."""
        self._everyone = True

    @torch.no_grad()
    def __call__(self, steps: Steps, rows_GB: Tensor) -> None:
        key = rows_GB.shape, self._everyone
        traced = self._traced.get(key)
        if traced is not None:
            traced.rows_GB.copy_(rows_GB)
            for call in traced.first:
                call()
            if self._still(steps):
                for call in traced.second:
                    call()
            else:  # one was lost in this step: what `move` looks at is that of the last `look` in the ordinary way
                steps.look(rows_GB)
                steps.move(everyone=False)
            return
        self._taken[key] += 1
        if key not in self._traced and self._taken[key] > WARM_UP:
            self._trace(steps, key, rows_GB.clone())
            return
        steps.look(rows_GB)
        steps.judge()
        self._still(steps)
        steps.move(self._everyone)

    def _still(self, steps: Steps) -> bool:
        """Whether it is as before: with all members alive, or without."""
        before = self._everyone
        self._everyone = before and bool(steps.alive_K.all())
        return self._everyone == before

    def _trace(self, steps: Steps, key: tuple[torch.Size, bool], rows_GB: Tensor) -> None:
        first, second = Recorder(), Recorder()
        with first:
            steps.look(rows_GB)
            steps.judge()
        still = self._still(steps)
        with second:
            steps.move(self._everyone)
        if not (first.is_whole and second.is_whole):
            self._traced[key] = None
        elif still:
            self._traced[key] = Traced(rows_GB, first.calls, second.calls)


class Recorder(TorchFunctionMode):
    """Keeps the calls of torch's functions that are made meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.is_whole = True
        """Whether the calls do all that was done."""
        self._copied = self._kept = 0

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call = partial(function, *args, **(kwargs or {}))
        result = call()
        self.is_whole = self.is_whole and self._keep(call, result)
        return result

    def _keep(self, call: partial[Any], result: Any) -> bool:
        """Whether it can be made again."""
        name, given = getattr(call.func, "__name__", ""), list(tensors([*call.args, *call.keywords.values()]))
        if torch.is_grad_enabled():
            return False  # autograd's own calls are not seen
        found = list(tensors(result))
        writes = name == "__setitem__" or "out" in call.keywords
        if writes or any(tensor is one for tensor in found for one in given):
            self.calls.append(call)  # into what it was given
            return True
        if not found:
            return name in SAME
        memory = {place(tensor) for tensor in given}
        fresh = [tensor for tensor in found if place(tensor) not in memory]
        if fresh and not name.startswith(("empty", "new_empty")):
            self.calls.append(self._again(name, call, fresh))
        return len(fresh) in (0, len(found)) and self._copied <= MOST_COPIED and self._kept <= MOST_KEPT

    def _again(self, name: str, call: partial[Any], fresh: list[Tensor]) -> Call:
        """The call with its result in the memory that it has now."""
        size = sum(tensor.nbytes for tensor in fresh)
        self._kept += size
        into = getattr(torch, OPERATORS.get(name, name), None)
        if len(fresh) == 1 and callable(into):
            before, again = fresh[0].clone(), partial(into, *call.args, **call.keywords, out=fresh[0])
            try:
                again()
            except TypeError:  # it has no `out`
                pass
            else:
                if same_bits(fresh[0], before):
                    return again
                fresh[0].copy_(before)
        self._copied += size
        return partial(copy_results, call, fresh)


def copy_results(call: Call, to: Sequence[Tensor]) -> None:
    for tensor, found in zip(to, tensors(call()), strict=True):
        tensor.copy_(found)


def tensors(values: object) -> Iterator[Tensor]:
    """Those among some values, and in lists and tuples of them."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from tensors(value)


def place(tensor: Tensor) -> int:
    """Of its memory."""
    return tensor.untyped_storage().data_ptr()


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.flatten().view(torch.uint8), b.flatten().view(torch.uint8))
