"""A GPU gives the numbers that a CPU gives."""

from __future__ import annotations

import pytest
import torch
from test_train import mix

from bnsweep import data
from bnsweep.config import DataConfig
from bnsweep.train import resolve_device, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-8), ("float32", 1e-3)])
def test_cuda_and_cpu_agree(optimizer: str, dtype: str, tolerance: float) -> None:
    digits = data.load(DataConfig())
    on_cpu, _ = train(mix(optimizer, dtype), digits, torch.device("cpu"))
    on_gpu, stack = train(mix(optimizer, dtype), digits, resolve_device("auto"))
    for a, b in zip(on_cpu, on_gpu, strict=True):
        assert b.device.startswith("cuda")
        for name in ("train/loss", "val/loss", "test/loss", "layer/1/grad_activation", "layer/2/std"):
            assert b.history[name] == pytest.approx(a.history[name], rel=tolerance), name
    assert stack.export(0).linear1.weight.device.type == "cpu"
