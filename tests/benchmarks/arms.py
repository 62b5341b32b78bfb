"""The arms by their keys on the command line."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.arm import Arm
from tests.benchmarks.arm_func import Vmap, VmapCompiled
from tests.benchmarks.arm_grouped import Grouped
from tests.benchmarks.arm_hfta import Hfta
from tests.benchmarks.arm_jax import Jax
from tests.benchmarks.arm_loaders import TensorLoop, UsualLoop
from tests.benchmarks.arm_ours import Ours, OursAdam, OursKernels, OursKernelsAdam
from tests.benchmarks.arm_own import Own
from tests.benchmarks.arm_single import PerCore, Single, SingleAdam
from tests.benchmarks.work import Work

ARMS: dict[str, type[Arm]] = {
    "a": UsualLoop,
    "b": TensorLoop,
    "c": Single,
    "d": PerCore,
    "e": Vmap,
    "ec": VmapCompiled,
    "f": Jax,
    "h": Grouped,
    "ours": Ours,
    "own": Own,
    "c-adam": SingleAdam,
    "g": Hfta,
    "ours-adam": OursAdam,
    "kernels": OursKernels,
    "kernels-adam": OursKernelsAdam,
}

OF_MODEL = {
    "mlp": [key for key in ARMS if key not in ("e", "h", "kernels", "kernels-adam")],
    "conv": ["a", "b", "c", "d", "e", "f", "h", "ours", "own"],
}
"""Arms that are timed where none are named, by what they train. Of torch.func the faster way: compiled for the MLP; the
groups of convolutions take minutes to compile."""


def make(key: str, work: Work, **settings: Any) -> Arm:
    return ARMS[key](work, **settings)
