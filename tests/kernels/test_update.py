"""The optimizer's kernels take the step that torch's operators take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from interpreted import DEVICE, quiet  # noqa: F401
from members import changed, mix
from torch import Tensor

from bnsweep.nets.layer import Product
from bnsweep.nets.stack import Stack
from bnsweep.training.optimizer import Optimizer

pytestmark = pytest.mark.usefixtures("quiet")

CASES: dict[str, dict[str, Any]] = {
    "members differ": {},
    "without decay": {"optimizer.weight_decay": 0.0},
    "decay of weights alone": {"optimizer.weight_decay": 0.1, "optimizer.decayed": "weights"},
    "hidden weights slower": {"lr.hidden": 0.25},
    "clipped": {"optimizer.clip": 0.1},
    "one rate": {"lr.schedule": "constant"},
}


def stepped(kernels: bool, optimizer: str, values: dict[str, Any], steps: int, dtype: str = "float64") -> list[Tensor]:
    """Parameters and state after so many steps by made-up gradients; a member has ended after the first."""
    stack = Stack([changed(c, values) for c in mix(optimizer, dtype, hidden=(5, 3))], DEVICE)
    taken = Optimizer(stack, kernels)
    generator, k = torch.Generator().manual_seed(0), len(stack)

    def normals(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE, stack.dtype)

    (name,) = stack.products
    alive_K = torch.ones(k, dtype=torch.bool, device=DEVICE)
    for step in range(steps):
        d, x, rest = normals(k, 5, 7), normals(1, 7, 64), normals(len(stack.rest.flat))
        if step:
            alive_K[4] = False
            d[4], rest[stack.rest.members() == 4] = torch.nan, torch.inf
        taken.update([Product(name, d, [(slice(0, k), x)])], rest, alive_K if step else None)
    assert int(stack.t) == steps
    # Of the one that has ended the state is nobody's.
    going = [torch.repeat_interleave(alive_K, 5 * 64), alive_K[stack.rest.members()]]
    state = [t.flatten()[some] for t in taken.state for some in going if some.numel() == t.numel()]
    assert len(state) == len(taken.state)
    return [*stack.parameters.values(), *state]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("case", CASES)
def test_a_step_by_kernels_is_a_step_by_operators(optimizer: str, case: str) -> None:
    ours, wanted = (stepped(kernels, optimizer, CASES[case], steps=3) for kernels in (True, False))
    assert all(bool(t.isfinite().all()) for t in wanted)
    for a, b in zip(ours, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_float32_steps_are_as_exact_as_those_of_operators(optimizer: str) -> None:
    exact = stepped(False, optimizer, {}, 3)
    for a, b, c in zip(*(stepped(k, optimizer, {}, 3, "float32") for k in (True, False)), exact, strict=True):
        by_kernels, by_operators = ((t.double() - c).abs().max() for t in (a, b))
        assert by_kernels <= 2 * by_operators + 1e-7 * c.abs().max()


def test_schedules_end_with_their_last_rate() -> None:
    """Steps beyond the run's own, as probes take them."""
    values = {"train.epochs": 1, "data.subset": 110}
    ours, wanted = (stepped(kernels, "sgd", values, steps=9) for kernels in (True, False))
    for a, b in zip(ours, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
