"""Whether Triton's kernels run on a device."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch


@cache
def run_on(device: torch.device) -> bool:
    """Tried once with a small one: Triton may be there and lack the C compiler that its launches need."""
    if find_spec("triton") is None:
        return False
    ones = torch.ones(2, device=device)
    running, alive = torch.zeros_like(ones), torch.tensor([True, False], device=device)
    try:
        from bnsweep.kernels.statistics import blend

        blend(running, ones, torch.arange(2, device=device, dtype=torch.int32), ones, None, alive, 1)
        return running.tolist() == [1, 0]
    except Exception:
        return False
