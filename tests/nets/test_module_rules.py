"""Rules for members called as one give what vmap's own do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from bnsweep.nets.module_rules import MemberRules

K, B = 3, 5


def draws(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def called(function: Any, dims: tuple[int | None, ...], tensors: list[Tensor], rules: bool) -> list[Tensor]:
    """What a function of all members' tensors gives, its gradients, and the tensors as it leaves them."""
    given = [t.clone().requires_grad_() for t in tensors]

    def one(*of_member: Tensor) -> Tensor:
        buffers = [t.detach() for t in of_member]
        if not rules:
            return function(of_member, buffers)
        with MemberRules():
            return function(of_member, buffers)

    y = vmap(one, dims)(*given)
    gradients = torch.autograd.grad((y * y.cos()).sum(), given, allow_unused=True, materialize_grads=True)
    return [y.detach(), *gradients, *(t.detach() for t in given)]


@pytest.mark.parametrize(
    "sizes", [{}, {"stride": 2, "padding": 1}, {"padding": "same", "dilation": 2}, {"groups": 2}], ids=str
)
@pytest.mark.parametrize("dims", [(0, 0, 0), (None, 0, 0), (1, 2, 1), (0, None, None), (0, 0, None)], ids=str)
def test_convolutions_of_members_are_groups_of_one(dims: tuple[int | None, ...], sizes: dict[str, Any]) -> None:
    shapes = [(B, 4, 6, 6), (6, 4 // sizes.get("groups", 1), 3, 3), (6,)]
    tensors = [draws(*s) if at is None else draws(K, *s).movedim(0, at) for s, at in zip(shapes, dims, strict=True)]
    for bias in (True, False):

        def function(t: tuple[Tensor, ...], buffers: list[Tensor], bias: bool = bias) -> Tensor:
            return F.conv2d(t[0], t[1], t[2] if bias else None, **sizes)

        for found, wanted in zip(*(called(function, dims, tensors, rules) for rules in (True, False)), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("given", ["all", "no weights", "no statistics"])
@pytest.mark.parametrize("dims", [(0, 0, 0, 0, 0), (2, 0, 0, 0, 0), (None, 0, 0, 0, 0), (0, 0, 0, None, None)], ids=str)
def test_bn_of_members_is_one_of_all_their_channels(dims: tuple[int | None, ...], given: str, training: bool) -> None:
    shapes = [(B, 4, 3, 3), (4,), (4,), (4,), (4,)]
    tensors = [draws(*s) if at is None else draws(K, *s).movedim(0, at) for s, at in zip(shapes, dims, strict=True)]
    tensors[2] = tensors[2].abs() + 1

    def function(t: tuple[Tensor, ...], buffers: list[Tensor]) -> Tensor:
        statistics = (None, None) if given == "no statistics" else tuple(buffers[1:3])
        weights = (None, None) if given == "no weights" else t[3:]
        return F.batch_norm(t[0], *statistics, *weights, training or given == "no statistics", 0.3)

    found, wanted = (called(function, dims, tensors, rules) for rules in (True, False))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    moved = training and given != "no statistics"
    assert torch.equal(found[-4], tensors[1]) is not moved


@pytest.mark.parametrize("dims", [(0, 0, 0), (2, 0, 1), (None, 0, 0), (0, None, None)], ids=str)
def test_group_norm_of_members_is_one_of_all_their_groups(dims: tuple[int | None, ...]) -> None:
    shapes = [(B, 4, 3, 3), (4,), (4,)]
    tensors = [draws(*s) if at is None else draws(K, *s).movedim(0, at) for s, at in zip(shapes, dims, strict=True)]
    for groups in (1, 2, 4):

        def function(t: tuple[Tensor, ...], buffers: list[Tensor], groups: int = groups) -> Tensor:
            return F.group_norm(t[0], groups, t[1], t[2]) + F.group_norm(t[0] * t[1].sum(), groups)

        for found, wanted in zip(*(called(function, dims, tensors, rules) for rules in (True, False)), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_what_all_members_share_is_computed_once() -> None:
    x, weight = draws(B, 4, 6, 6), draws(6, 4, 3, 3)
    shifted = called(lambda t, buffers: F.conv2d(x, weight) + t[0], (0,), [draws(K, 1)], rules=True)[0]
    torch.testing.assert_close(shifted, F.conv2d(x, weight) + draws(K, 1).view(K, 1, 1, 1, 1), rtol=1e-12, atol=1e-12)
