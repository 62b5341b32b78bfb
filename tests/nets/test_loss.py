"""What a stack counts of its logits."""

from __future__ import annotations

import torch

from bnsweep.nets.loss import PLACE_BELOW, is_right


def test_of_equal_logits_and_of_nan_the_first_is_the_class() -> None:
    """As argmax has it, in few logits and in many, beside members whose logits all differ."""
    generator = torch.Generator().manual_seed(0)
    for samples in (50, PLACE_BELOW // 20):
        logits = torch.randn(6, 10, samples, generator=generator)
        logits[1] = logits[1].round()
        logits[2] = 0.0
        logits[3, 4:7] = torch.nan
        logits[4, ::3] = torch.inf
        logits[4, 1] = torch.nan
        y = torch.randint(0, 10, (6, samples), generator=generator)
        found = is_right(logits, y)
        assert torch.equal(found, logits.transpose(1, 2).contiguous().argmax(2) == y)
        assert found.any(1).all(), "each member is right somewhere"
    assert logits.numel() > PLACE_BELOW
