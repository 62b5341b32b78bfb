"""Random numbers inside the user's networks: a member's depend on its seed, the step and the place of the call alone,
so that it draws what it would have drawn by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bnsweep.nets.chance import dropout_uniforms

OWN_CALLS = 3_000_000
"""Where these draws are, counted as layers: above those for augmentation."""
SMALLEST = 2.0**-33
"""In the place of a uniform of 0, whose normal would be infinite."""


class MemberChance(TorchFunctionMode):
    """Inside, torch's functions that draw random numbers draw those of one member; `seed` may be a batched tensor of
    vmap's. What is not among `DRAWS` draws from torch's own generator."""

    def __init__(self, seed: Tensor, step: Tensor | None) -> None:
        """At 0-based `step`; None: dropout leaves its input as it is, and all else draws as at step 0."""
        super().__init__()
        self.calls = 0
        self._seed, self._step, self.drops = seed, 0 if step is None else step, step is not None

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        draw = DRAWS.get(func)
        return (func if draw is None else partial(draw, self))(*args, **kwargs or {})

    def uniforms(self, shape: Sequence[int]) -> Tensor:
        """In [0, 1), float64."""
        self.calls += 1
        draws = dropout_uniforms(self._seed.view(1), self._step, OWN_CALLS + self.calls, math.prod(shape), 1)
        return draws.reshape(tuple(shape))

    def normals(self, shape: Sequence[int]) -> Tensor:
        return math.sqrt(2) * torch.erfinv(2 * self.uniforms(shape).clamp(min=SMALLEST) - 1)


def dropped(chance: MemberChance, x: Tensor, p: float, shape: Sequence[int], inplace: bool) -> Tensor:
    keep = (chance.uniforms(shape) >= p).to(x.dtype) / max(1 - p, SMALLEST)
    return x.mul_(keep) if inplace else x * keep


def dropout(
    chance: MemberChance, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, **same: Any
) -> Tensor:
    if not (training and chance.drops and p > 0):
        return x
    return dropped(chance, x, p, x.shape, inplace)


def feature_dropout(
    chance: MemberChance, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Whole channels [B, C]."""
    if not (training and chance.drops and p > 0):
        return x
    return dropped(chance, x, p, (*x.shape[:2], *[1] * (x.dim() - 2)), inplace)


def alpha_dropout(
    chance: MemberChance, x: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """As `torch.nn.AlphaDropout` has it (Klambauer et al. 2017)."""
    if not (training and chance.drops and p > 0):
        return x
    alpha = 1.7580993408473766
    scale = ((alpha**2 * p + 1) * (1 - p)) ** -0.5
    h = torch.where(chance.uniforms(x.shape) >= p, x, -alpha)
    found: Tensor = scale * h + scale * alpha * p
    return found


def size_of(size: Sequence[Any]) -> tuple[int, ...]:
    """Of rand(2, 3), and of rand((2, 3))."""
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], Sequence) else tuple(size)


def kind(dtype: torch.dtype | None) -> torch.dtype:
    return torch.get_default_dtype() if dtype is None else dtype


def rand(chance: MemberChance, *size: Any, dtype: torch.dtype | None = None, **place: Any) -> Tensor:
    return chance.uniforms(size_of(size)).to(kind(dtype))


def randn(chance: MemberChance, *size: Any, dtype: torch.dtype | None = None, **place: Any) -> Tensor:
    return chance.normals(size_of(size)).to(kind(dtype))


def rand_like(chance: MemberChance, x: Tensor, *, dtype: torch.dtype | None = None, **place: Any) -> Tensor:
    return chance.uniforms(x.shape).to(dtype or x.dtype)


def randn_like(chance: MemberChance, x: Tensor, *, dtype: torch.dtype | None = None, **place: Any) -> Tensor:
    return chance.normals(x.shape).to(dtype or x.dtype)


def bernoulli(chance: MemberChance, x: Tensor, p: float | None = None) -> Tensor:
    share = x if p is None else p
    return (chance.uniforms(x.shape) < share).to(x.dtype)


def bernoulli_(chance: MemberChance, x: Tensor, p: float | Tensor = 0.5) -> Tensor:
    return x.copy_(chance.uniforms(x.shape) < p)


def normal_(chance: MemberChance, x: Tensor, mean: float = 0, std: float = 1) -> Tensor:
    return x.copy_(mean + std * chance.normals(x.shape))


def uniform_(chance: MemberChance, x: Tensor, low: float = 0, high: float = 1) -> Tensor:
    return x.copy_(low + (high - low) * chance.uniforms(x.shape))


DRAWS: dict[Any, Callable[..., Tensor]] = {
    F.dropout: dropout,
    torch.dropout: dropout,
    F.dropout1d: feature_dropout,
    F.dropout2d: feature_dropout,
    F.dropout3d: feature_dropout,
    F.alpha_dropout: alpha_dropout,
    torch.rand: rand,
    torch.randn: randn,
    torch.rand_like: rand_like,
    torch.randn_like: randn_like,
    torch.bernoulli: bernoulli,
    Tensor.bernoulli_: bernoulli_,
    Tensor.normal_: normal_,
    Tensor.uniform_: uniform_,
}
"""Function of torch's -> what gives a member's draws in its place."""
