"""Compiles the kernels of a real training step for a GPU that need not be there, and says what they take of it.

`python -m tests.benchmarks.kernel_registers`: Triton brings ptxas, and nothing is launched.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from bnsweep.config.groups import ActivationConfig, BnConfig, DataConfig, OptimizerConfig, TrainConfig
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.training.trainer import Trainer

PTXAS = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
HOPPER = 90


class Absent:
    """A driver of a GPU that is not there."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", HOPPER, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


@dataclass(frozen=True)
class Compiled:
    name: str
    numbers: str
    warps: int
    registers: int
    spilled: int
    """Bytes."""


def compiled(name: str, kernel: Any, numbers: str) -> Compiled:
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as ptx:
        ptx.write(kernel.asm["ptx"])
        ptx.flush()
        command = [PTXAS, "-v", f"--gpu-name=sm_{HOPPER}a", ptx.name, "-o", "/dev/null"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    registers, spilled = re.search(r"Used (\d+) registers", said), re.search(r"(\d+) bytes spill stores", said)
    assert registers is not None and spilled is not None
    return Compiled(name, numbers, kernel.metadata.num_warps, int(registers[1]), int(spilled[1]))


@contextmanager
def compiling(found: list[tuple[str, Any]]) -> Iterator[None]:
    """In place of launches."""
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        found.append((self.fn.__name__, run(self, *args, grid=grid, warmup=True, **kwargs)))

    driver.set_active(Absent())
    JITFunction.run = compile_only
    try:
        yield
    finally:
        JITFunction.run = run


def members(optimizer: str, dtype: str, samples: int) -> list[RunConfig]:
    return [
        RunConfig(
            ActivationConfig("relu"),
            bn=BnConfig(place),
            data=DataConfig(),
            model=ModelConfig((32, 32), dropout=0.2),
            optimizer=OptimizerConfig(optimizer),
            train=TrainConfig(epochs=1, batch_size=samples, dtype=dtype),
        )
        for place in ("none", "before", "after")
    ]


def of_steps(
    dtypes: tuple[str, ...] = ("float32", "float64"), batches: tuple[int, ...] = (128, 1000)
) -> list[Compiled]:
    """Of a step of the lecture's networks by each optimizer, and of an evaluation."""
    digits, kernels = data.load(DataConfig()), dict[tuple[str, str], tuple[str, Any, str]]()
    for dtype in ("float32", "float64"):
        for optimizer, samples in ("sgd", 128), ("sgd", 1000), ("momentum", 128), ("adam", 128):
            found: list[tuple[str, Any]] = []
            with compiling(found):
                trainer = Trainer(members(optimizer, dtype, samples), digits, torch.device("cpu"), kernels=True)
                trainer.step(next(trainer.batches_of(0)))
                trainer.score("test")
            for name, kernel in found:
                kernels[name, kernel.hash] = name, kernel, f"{dtype}, batch {samples}, {optimizer}"
    return [compiled(*kernel) for kernel in kernels.values()]


def main() -> None:
    print(f"triton {triton.__version__}, sm_{HOPPER}\n")
    print("| kernel | numbers | warps | registers | spilled bytes |\n|---|---|---|---|---|")
    for k in of_steps():
        print(f"| {k.name} | {k.numbers} | {k.warps} | {k.registers} | {k.spilled} |")


if __name__ == "__main__":
    main()
