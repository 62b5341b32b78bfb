"""Dropout by kernels drops the units that torch's operators drop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from interpreted import DEVICE, quiet  # noqa: F401
from members import changed, make
from torch import Tensor

from bnsweep.nets.dropout import Dropout
from bnsweep.nets.stack import Stack
from bnsweep.nets.workspace import Buffer, Workspace

pytestmark = pytest.mark.usefixtures("quiet")

KINDS: dict[str, dict[str, Any]] = {
    "scaled in training": {},
    "scaled at test": {"model.dropout_scaling": "test"},
    "alpha": {"model.dropout_kind": "alpha"},
}


def passed(kernels: bool, kind: str, dtype: str, steps: list[int]) -> list[Tensor]:
    """Outputs and gradients of members of other rates and seeds, layer 2, 33 units."""
    arm = ("relu", "he", "constant", "none")
    configs = [changed(make(arm, i, "sgd", dtype), KINDS[kind] | {"model.hidden": (16, 33)}) for i in range(6)]
    stack = Stack(configs, DEVICE)
    layer = Dropout(2, 33).stacked(stack, {})
    layer.kernels = kernels
    space, found = Workspace(len(stack), [], DEVICE, stack.dtype, False), []
    generator = torch.Generator().manual_seed(0)
    for number in steps:
        x, d = (torch.randn(6, 33, 20, generator=generator).to(DEVICE, stack.dtype) for _ in "xd")
        x[2, 3, 4] = torch.inf
        found.append(layer.forward(Buffer(x, []), space, torch.tensor(number, device=DEVICE)).full.clone())
        found.append(layer.backward(Buffer(d, []), space).full)
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_are_those_of_torch(kind: str, dtype: str) -> None:
    steps = [0, 1, 4680, 10**6]
    ours, torchs = (passed(kernels, kind, dtype, steps) for kernels in (True, False))
    assert not torch.equal(ours[1] == 0, ours[3] == 0), "each step drops others"
    for a, b in zip(ours, torchs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6 if dtype == "float32" else 1e-14, atol=1e-7, equal_nan=True)
        if kind != "alpha":
            assert torch.equal(a == 0, b == 0), "the same units"
