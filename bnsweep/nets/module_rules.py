"""Convolutions and BN of images for members that are called as one, in place of vmap's own rules, which are slower.

vmap hands a rule the tensors of all members; autograd goes back through what the rule calls. K members, B samples,
C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Dims = tuple[int | None, ...]
"""Where members are in each argument of a function; None: all have the same."""


class MemberRules(TorchFunctionMode):
    """Inside, under vmap, members are called by these rules."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return RULES.get(func, func)(*args, **kwargs or {})


def conv2d(
    input: Tensor,  # noqa: A002 torch's name
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    rule = Conv2d.apply if input.dim() == 4 else F.conv2d
    found: Tensor = rule(input, weight, bias, stride, padding, dilation, groups)
    return found


def batch_norm(
    input: Tensor,  # noqa: A002 torch's name
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    rule = BatchNorm.apply if input.dim() == 4 else F.batch_norm
    found: Tensor = rule(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return found


def group_norm(
    input: Tensor,  # noqa: A002 torch's name
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    rule = GroupNorm.apply if input.dim() == 4 else F.group_norm
    found: Tensor = rule(input, num_groups, weight, bias, eps)
    return found


RULES: dict[Any, Callable[..., Tensor]] = {
    F.conv2d: conv2d,
    F.batch_norm: batch_norm,
    F.group_norm: group_norm,
}
"""Function of torch's -> what is called in its place."""


class Rule(torch.autograd.Function):
    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: the way back is that of the functions that a rule calls."""


class Conv2d(Rule):
    """Members' channels are groups of one convolution. vmap does so, too, but with positions side by side in memory,
    where grouped convolutions take a CPU 1.0 to 2.0 times as long."""

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        """Where all members have the same."""
        return F.conv2d(*arguments)

    @staticmethod
    def vmap(
        info: Any,
        dims: Dims,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> tuple[Tensor, int]:
        k = info.batch_size
        weight, shared = first(weight, dims[1], k), dims[0] is None and groups == 1
        images = x if shared else channels(x, dims[0], k)
        if images.device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)
        y = F.conv2d(
            images, weight.flatten(0, 1), flat(bias, dims[2], k), stride, padding, dilation, 1 if shared else groups * k
        )
        return y.unflatten(1, (k, -1)), 1


class BatchNorm(Rule):
    """Members' channels are those of one BN. vmap's own rule scales and shifts after it."""

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        """Where all members have the same."""
        return F.batch_norm(*arguments)

    @staticmethod
    def vmap(
        info: Any,
        dims: Dims,
        x: Tensor,
        mean: Tensor | None,
        variance: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        *settings: Any,
    ) -> tuple[Tensor, int]:
        k = info.batch_size
        # Views, or an error: running statistics are written in place.
        mean, variance = (
            None if t is None else first(t, at, k).view(-1) for t, at in ((mean, dims[1]), (variance, dims[2]))
        )
        weight, bias = flat(weight, dims[3], k), flat(bias, dims[4], k)
        # With channels side by side torch's statistics are off 10 to 40 times as far.
        images = channels(x, dims[0], k).contiguous()
        y = F.batch_norm(images, mean, variance, weight, bias, *settings)
        return y.unflatten(1, (k, -1)), 1


class GroupNorm(Rule):
    """Members' groups are those of one normalisation. vmap's own rule takes no channels side by side."""

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        """Where all members have the same."""
        return F.group_norm(*arguments)

    @staticmethod
    def vmap(
        info: Any, dims: Dims, x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, int]:
        k = info.batch_size
        weight, bias = flat(weight, dims[2], k), flat(bias, dims[3], k)
        y = F.group_norm(channels(x, dims[0], k).contiguous(), groups * k, weight, bias, eps)
        return y.unflatten(1, (k, -1)), 1


def flat(t: Tensor | None, at: int | None, k: int) -> Tensor | None:
    """Vectors of members end to end."""
    return None if t is None else first(t, at, k).reshape(-1)


def first(t: Tensor, at: int | None, k: int) -> Tensor:
    """[K, …]"""
    return t.expand(k, *t.shape) if at is None else t.movedim(at, 0)


def channels(x: Tensor, at: int | None, k: int) -> Tensor:
    """Images [B, C, H, W] of K members as [B, K·C, H, W]."""
    return (x.unsqueeze(1).expand(-1, k, -1, -1, -1) if at is None else x.movedim(at, 1)).flatten(1, 2)
