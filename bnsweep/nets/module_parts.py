"""What the user's network is built from: the parts that a sweep varies, and the call of the user's factory."""

from __future__ import annotations

import inspect
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bnsweep.catalogue.norms import PLACEMENTS
from bnsweep.config.checks import check, check_choice
from bnsweep.config.run import RunConfig
from bnsweep.nets.activation import Activation
from bnsweep.nets.init import initial_weight
from bnsweep.nets.norm import Norm
from bnsweep.own.call import called
from bnsweep.own.functions import NETWORK, own_network

NAMES = ("activation", "norm", "init", "sizes")
KEY = "model.target"
GENERATOR = threading.RLock()
"""Held by the thread that has seeded the generators of the process, until it has drawn its numbers."""
CPU = torch.device("cpu")
MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Modules whose weights `init` draws."""


class BatchNorm(nn.BatchNorm1d):
    """torch's, of inputs [B, H] and [B, C, …] alike."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass


@dataclass
class Parts:
    """Of one run; `places` is what its network asked `norm` for."""

    config: RunConfig
    places: set[str] = field(default_factory=set)

    def activation(self, inplace: bool = False) -> nn.Module:
        """A new activation of the swept kind. It never overwrites its input, whatever `inplace` says."""
        return Activation(self.config.activation.name)

    def norm(self, units: int, place: str = "before") -> nn.Module:
        """The swept normalisation of so many units or channels, where it stands at this place ("before" or "after" the
        activation); else nothing."""
        check_choice(f"{self.config.model.target}: norm at place", place, PLACEMENTS[1:])
        self.places.add(place)
        if self.config.placement != place:
            return nn.Identity()
        if self.config.norm.name != "batch":
            found = Norm(1, units, place, images=len(self.config.sample_shape) > 1).module(self.config)
            assert found is not None
            return found
        bn = self.config.bn
        norm = BatchNorm(units, eps=bn.eps, momentum=bn.momentum, affine=bn.affine)
        assert norm.running_var is not None
        norm.running_var.fill_(bn.initial_variance)
        return norm

    @torch.no_grad()
    def init(self, given: nn.Module | Tensor) -> None:
        """Draws the weights of a tensor, or of all linear maps and convolutions of a module, as `init` says."""
        if isinstance(given, nn.Module):
            for module in given.modules():
                if isinstance(module, MATRICES):
                    self.init(module.weight)
            return
        says = "given weights of two dimensions or more, or a module"
        check(given.dim() > 1, f"{self.config.model.target}: init", tuple(given.shape), says)
        z = torch.randn(given.shape, dtype=torch.float64)
        given.copy_(initial_weight(self.config.init, z) * self.config.init.gain)

    @property
    def sizes(self) -> list[int]:
        return self.config.sizes


@contextmanager
def generators_kept(device: torch.device = CPU) -> Iterator[None]:
    """What is drawn inside from the generators that the process has, torch's, numpy's and Python's, changes no draw
    outside."""
    with GENERATOR, torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
        of_python, of_numpy = random.getstate(), np.random.get_state()
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


def seed_generators(number: int, device: torch.device = CPU) -> None:
    """Inside of `generators_kept`."""
    # torch.manual_seed looks for devices of all kinds, which takes 50 times as long.
    (torch.default_generator.manual_seed if device.type == "cpu" else torch.manual_seed)(number)
    np.random.seed([number >> 32, number & 0xFFFFFFFF])
    random.seed(number)


def taken_by(target: Callable[..., Any]) -> tuple[str, ...]:
    """Those of NAMES that it has parameters for."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return ()
    return tuple(name for name in NAMES if name in parameters)


def build_module(config: RunConfig, parts: Parts | None = None) -> nn.Module:
    """The user's network as a run starts with it, in training mode: its random numbers come from the generators that
    the process has, seeded by the run's seed. Raises ConfigError."""
    dotted, first, parts = str(config.model.target), parts is not None, parts or Parts(config)
    target = own_network(dotted)
    given = {name: getattr(parts, name) for name in taken_by(target)} | dict(config.model.kwargs)
    with called(KEY, dotted, NETWORK), generators_kept():
        seed_generators(config.seed)
        if not first:  # the trial's module has shown the user's warnings
            warnings.simplefilter("ignore")
        module = target(**given)
        if isinstance(module, nn.Module) and any(map(is_lazy, module.parameters())):
            with torch.no_grad():  # lazy modules get their sizes from what they see first
                module.eval()(torch.zeros(2, *config.sample_shape))
    check(isinstance(module, nn.Module), KEY, dotted, f"{NETWORK}, gives {type(module).__name__}")
    unreal = [name for name, t in (*module.named_parameters(), *module.named_buffers()) if t.is_complex()]
    says = "a module of real parameters and buffers (torch.view_as_complex makes complex numbers of them), has complex"
    check(not unreal, KEY, dotted, f"{says} {', '.join(unreal)}")
    built: nn.Module = module.to(getattr(torch, config.train.dtype))
    return built.train()
