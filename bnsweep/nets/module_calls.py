"""Members of a stack of the user's networks called as one function, or one after the other.

K members, B samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from bnsweep.config.network import NetworkFacts
from bnsweep.nets.member_chance import MemberChance
from bnsweep.nets.module_parts import build_module, generators_kept, seed_generators
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
    _tied: bool

    def __init__(self, stack: Stack) -> None:
        facts = stack.configs[0].model.network
        self._seed_K, self._facts = stack.index(lambda c: c.seed), facts

    @abstractmethod
    def __call__(self, given: Given, mode: str) -> tuple[Tensor, Recorded]:
        """Outputs [K, B, …], and of every activation what it saw and gave."""

    def _one(
        self,
        module: nn.Module,
        values: Tensors,
        buffers: Collection[str],
        x: Tensor,
        zeros: Sequence[Tensor],
        mode: str,
    ) -> tuple[Tensor, Recorded, Tensors]:
        """Of one member, and what its module has put in the place of its buffers, as `self.mean = …` does."""
        before = {name: values[name] for name in buffers}

        def call() -> Tensor:
            outputs: Tensor = functional_call(module, values, (x,), tie_weights=self._tied)
            return outputs

        outputs, seen = recorded(call, self._facts.calls, zeros) if mode == RECORD else (call(), [])
        return outputs, seen, {name: values[name].detach() for name, t in before.items() if values[name] is not t}

    def _draws(self, seed: Tensor, step: Tensor | None, mode: str) -> Any:
        """Where random numbers come from."""
        if not self._facts.chance:
            return nullcontext()
        return MemberChance(seed, torch.zeros_like(seed) if mode == EVAL else step)


def is_tied(module: nn.Module) -> bool:
    """Whether a parameter or a buffer has several names."""
    tensors = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return len({id(t) for _, t in tensors}) < len(tensors)


class Together(Calls):
    """By vmap: one module stands for all members."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        evaluated, trained = (build_module(stack.configs[0]).to(stack.device) for _ in "12")
        self._modules = {EVAL: evaluated.eval(), TRAIN: trained, RECORD: trained}
        self._tied = is_tied(trained)

    def __call__(self, given: Given, mode: str) -> tuple[Tensor, Recorded]:
        module, tensors, facts = self._modules[mode], given.parameters | given.buffers, self._facts
        # In a mode attention in eval mode takes the same way as in training, of which vmap has rules.
        rules = MemberRules() if facts.convolves or facts.attends else nullcontext()

        # One after the other: what is nested costs torch more than small networks do.
        def one(x: Tensor, seed: Tensor, *of_member: Tensor) -> tuple[Tensor, Recorded, Tensors]:
            values, zeros = dict(zip(tensors, of_member, strict=False)), of_member[len(tensors) :]
            with rules, self._draws(seed, given.step, mode):
                return self._one(module, values, given.buffers, x, zeros, mode)

        members, x, shared = (self._seed_K, *tensors.values(), *given.zeros), given.x, given.shared
        if facts.overwrites:
            x, shared = (x.expand(len(self._seed_K), *x.shape) if shared else x).clone(), False
        over = (None if shared else 0, *[0] * len(members))
        with sdpa_kernel(SDPBackend.MATH) if facts.attends else nullcontext():
            outputs, seen, replaced = vmap(one, over, randomness="error")(x, *members)
        for name, t in replaced.items():
            given.buffers[name].copy_(t)
        return outputs, seen


class OneByOne(Calls):
    """Each member by its own module; what draws from a generator of the process draws by seed and step."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self._modules = [build_module(config).to(stack.device) for config in stack.configs]
        self._tied = is_tied(self._modules[0])

    def __call__(self, given: Given, mode: str) -> tuple[Tensor, Recorded]:
        of_names = {name: p.unbind() for name, p in given.parameters.items()}
        zeros = [zero.unbind() for zero in given.zeros]
        outputs, seen = [], []
        step = 0 if given.step is None else int(given.step)
        with generators_kept(given.x.device):
            for k, module in enumerate(self._modules):
                p = {name: parts[k] for name, parts in of_names.items()}
                b = {name: buffer[k] for name, buffer in given.buffers.items()}
                x = given.x if given.shared else given.x[k]
                x = x.clone() if self._facts.overwrites else x
                seed_generators((int(self._seed_K[k]) << 32) + step, x.device)
                with self._draws(self._seed_K[k], given.step, mode):
                    result, pairs, replaced = self._one(
                        module.train(mode != EVAL), p | b, b, x, [z[k] for z in zeros], mode
                    )
                for name, t in replaced.items():
                    given.buffers[name][k] = t
                outputs.append(result)
                seen.append(pairs)
        of_calls = zip(*seen, strict=True)
        return torch.stack(outputs), [tuple(map(torch.stack, zip(*call, strict=True))) for call in of_calls]
