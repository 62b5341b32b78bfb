"""Members of a stack of the user's networks called as one function, or one after the other.

K members, B samples.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bnsweep.config.network import NetworkFacts
from bnsweep.nets.member_chance import MemberChance
from bnsweep.nets.module_parts import GENERATOR, build_module
from bnsweep.nets.module_recorder import recorded
from bnsweep.nets.module_rules import MemberRules

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack

Tensors = dict[str, Tensor]
Recorded = list[tuple[Tensor, ...]]

LARGE = 4096
"""Numbers that a sample holds, up to which a CPU gains by calling members as one. Convolutions of 8 members, 8 to 64
channels: .8 to .9 times as long as one by one at 2,800 to 3,100 numbers, .95 to 1.1 times at 4,100 to 12,400, 1.2 times
at 21,000 and more (28x28)."""
EVAL, TRAIN, RECORD = "eval", "train", "record"
"""In eval mode; in training mode; in training mode with the activations recorded."""


def why_alone(facts: NetworkFacts, device: torch.device) -> str:
    """Why members are called one after the other on a device; empty where they are called as one."""
    if facts.alone or device.type != "cpu" or facts.held <= LARGE:
        return facts.alone
    return f"a sample holds {facts.held:,} numbers, of which a CPU works on one member's at a time as fast"


@dataclass
class Given:
    """What members are called with: tensors [K, …]."""

    parameters: Tensors
    buffers: Tensors
    """Overwritten, as modules overwrite theirs."""
    x: Tensor
    """[B, …] where all members see the same samples."""
    shared: bool
    """Whether they do."""
    step: Tensor | None
    """Of training, 0-based; None: without dropout."""
    zeros: list[Tensor] = field(default_factory=list)
    """Added to what each activation sees."""


class Calls(ABC):
    def __init__(self, stack: Stack) -> None:
        facts = stack.configs[0].model.network
        self._seed_K, self._facts = stack.index(lambda c: c.seed), facts

    @abstractmethod
    def __call__(self, given: Given, mode: str) -> tuple[Tensor, Recorded]:
        """Outputs [K, B, …], and of every activation what it saw and gave."""

    def _draws(self, seed: Tensor, step: Tensor | None, mode: str) -> Any:
        """Where random numbers come from."""
        return MemberChance(seed, step) if self._facts.chance and mode != EVAL else nullcontext()


def copied(module: nn.Module, stack: Stack, mode: str) -> nn.Module:
    return copy.deepcopy(module).to(stack.device).train(mode != EVAL)


class Together(Calls):
    """By vmap: one module stands for all members."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        built = build_module(stack.configs[0])
        self._modules = {mode: copied(built, stack, mode) for mode in (EVAL, TRAIN, RECORD)}
        self._tied = len([*built.named_parameters(remove_duplicate=False)]) > len([*built.named_parameters()])

    def __call__(self, given: Given, mode: str) -> tuple[Tensor, Recorded]:
        module, tensors = self._modules[mode], given.parameters | given.buffers

        # One after the other: what is nested costs torch more than small networks do.
        def one(x: Tensor, seed: Tensor, *of_member: Tensor) -> tuple[Tensor, Recorded]:
            values, zeros = dict(zip(tensors, of_member, strict=False)), of_member[len(tensors) :]

            def result() -> Tensor:
                found: Tensor = functional_call(module, values, (x,), tie_weights=self._tied)
                return found

            with MemberRules() if self._facts.convolves else nullcontext(), self._draws(seed, given.step, mode):
                return recorded(result, self._facts.calls, zeros) if mode == RECORD else (result(), [])

        members, x, shared = (self._seed_K, *tensors.values(), *given.zeros), given.x, given.shared
        if self._facts.overwrites:
            x, shared = (x.expand(len(self._seed_K), *x.shape) if shared else x).clone(), False
        over = (None if shared else 0, *[0] * len(members))
        found: tuple[Tensor, Recorded] = vmap(one, over, randomness="error")(x, *members)
        return found


class OneByOne(Calls):
    """Each member by its own module; what draws from torch's generator draws by seed and step."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self._modules = [copied(build_module(config), stack, TRAIN) for config in stack.configs]

    def __call__(self, given: Given, mode: str) -> tuple[Tensor, Recorded]:
        of_names = {name: p.unbind() for name, p in given.parameters.items()}
        zeros = [zero.unbind() for zero in given.zeros]
        outputs, recorded = [], []
        with GENERATOR, torch.random.fork_rng(devices=[] if given.x.device.type == "cpu" else None):
            for k, module in enumerate(self._modules):
                p = {name: parts[k] for name, parts in of_names.items()}
                b = {name: buffer[k] for name, buffer in given.buffers.items()}
                x = given.x if given.shared else given.x[k]
                x = x.clone() if self._facts.overwrites else x
                result, seen = self._call(
                    k, module.train(mode != EVAL), (p, b), x, given.step, mode, [z[k] for z in zeros]
                )
                outputs.append(result)
                recorded.append(seen)
        pairs = [tuple(torch.stack(parts) for parts in zip(*call, strict=True)) for call in zip(*recorded, strict=True)]
        return torch.stack(outputs), pairs

    def _call(
        self,
        k: int,
        module: nn.Module,
        tensors: tuple[Tensors, Tensors],
        x: Tensor,
        step: Tensor | None,
        mode: str,
        zeros: Sequence[Tensor],
    ) -> tuple[Tensor, Recorded]:
        if mode != EVAL:
            torch.manual_seed((int(self._seed_K[k]) << 32) + (0 if step is None else int(step)))
        with self._draws(self._seed_K[k], step, mode):
            if mode != RECORD:
                return functional_call(module, tensors, (x,)), []
            return recorded(lambda: functional_call(module, tensors, (x,)), self._facts.calls, zeros)
