"""BN's running statistics by the kernel are those by torch's operators."""

from __future__ import annotations

import pytest
import torch
from interpreted import DEVICE, quiet  # noqa: F401
from members import changed, mix
from torch import Tensor

from bnsweep.nets.norm import RunningStatistics
from bnsweep.nets.stack import Stack

pytestmark = pytest.mark.usefixtures("quiet")


def blended(kernels: bool, dtype: str, biased: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Before, after, and which of them are of a member that has ended: its batch is not finite."""
    members = enumerate(mix("sgd", dtype, hidden=(7, 5)))
    configs = [changed(c, {"bn.unbiased": not (biased and i % 2)}) for i, c in members]
    stack = Stack(configs, DEVICE)
    ended = stack.running.members() == 2
    drawn = torch.randn(2, len(stack.running.flat), generator=torch.Generator().manual_seed(0)).to(DEVICE, stack.dtype)
    stack.running.flat.copy_(drawn[0])
    stack.batch.flat.copy_(torch.where(ended, torch.nan, drawn[1]))
    before, alive_K = stack.running.flat.clone(), torch.arange(len(stack), device=DEVICE) != 2
    RunningStatistics(stack, kernels).update(20, alive_K)
    return before, stack.running.flat, ended


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-14), ("float32", 1e-6)])
@pytest.mark.parametrize("biased", [True, False])
def test_members_blend_their_batch_in_and_one_that_has_ended_keeps_its_own(
    biased: bool, dtype: str, bound: float
) -> None:
    (before, ours, ended), (_, torchs, _) = (blended(kernels, dtype, biased) for kernels in (True, False))
    assert torch.equal(ours[ended], before[ended])
    assert bool((ours[~ended] != before[~ended]).all())
    torch.testing.assert_close(ours, torchs, rtol=bound, atol=bound)
