"""What a network of the user's must be so that a member has the numbers of the ordinary loop: its parameters can be
exchanged, and what it gives depends on them, its buffers and its inputs alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bnsweep.config.checks import check
from bnsweep.config.run import RunConfig
from bnsweep.nets.member_chance import MemberChance
from bnsweep.nets.module_parts import KEY, build_module, generators_kept, seed_generators
from bnsweep.own.call import called

DIFFERENT = {torch.float32: 1e-3, torch.float64: 1e-8}
"""Relative: members that are called in another way may differ by so much from those called as usual."""
NOTHING = torch.empty(0, dtype=torch.float64)
TINY = 1e-6
"""Below this nothing is told apart."""

EXCHANGED = (
    "a module whose parameters others can stand in for, as torch.func.functional_call does it: called so it gives "
    "something else. A Python list of them, or torch.utils.checkpoint, holds on to the old ones"
)
ALONE = (
    "a module that gives the same for the same inputs, parameters and buffers: called again it gives something else. "
    "What it keeps from call to call has to be a buffer (register_buffer)"
)
EVALUATED = (
    "a module that draws no random numbers in eval mode: its scores would be luck. F.dropout, say, wants "
    "`training=self.training`"
)
MOVED = (
    "a module that changes its parameters where they are, by `copy_` under torch.no_grad(): it puts others in their "
    "place, as `weight.data = …` does"
)


def check_calls(config: RunConfig, x: Tensor) -> None:
    """Refuses (ConfigError) a network whose numbers in a stack would be others than in the ordinary loop."""
    dotted, module = str(config.model.target), build_module(config)
    given = Exchanged(module, {name: t.detach().clone() for name, t in tensors_of(module).items()}, x)
    with called(KEY, dotted, "a module that torch.func.functional_call can call, forward and back"), generators_kept():
        wanted = given.own(build_module(config))
        evaluated, found, again, later = (given(training) for training in (False, True, True, False))
    check(not given.moved, KEY, dotted, MOVED)
    check(same(again, found) and same(later, evaluated), KEY, dotted, ALONE)
    check(same(found, wanted), KEY, dotted, EXCHANGED)
    with generators_kept():
        check(same(given(False, seed=1), evaluated), KEY, dotted, EVALUATED)


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@dataclass
class Exchanged:
    """A module, and what it was made with, which stands outside of it: it has NaN itself."""

    module: nn.Module
    start: dict[str, Tensor]
    x: Tensor
    moved: bool = False
    """Whether a call has put other parameters in the place of those that it was given."""

    def __post_init__(self) -> None:
        with torch.no_grad():
            for t in tensors_of(self.module).values():
                if t.is_floating_point():
                    t.fill_(torch.nan)

    def __call__(self, training: bool, seed: int = 0) -> list[Tensor]:
        """Outputs, and in training gradients of the parameters."""
        trained = [name for name, p in self.module.named_parameters() if p.requires_grad]
        tensors = {name: t.clone().requires_grad_(name in trained) for name, t in self.start.items()}
        leaves = [tensors[name] for name in trained]
        places = [t.data_ptr() for t in leaves]
        seed_generators(seed)
        with torch.set_grad_enabled(training), MemberChance(torch.tensor(seed), torch.tensor(0)):
            outputs = functional_call(self.module.train(training), tensors, (self.x.clone(),))
        self.moved |= places != [t.data_ptr() for t in leaves]
        return gradients_of(outputs, leaves) if training else [outputs]

    def own(self, module: nn.Module) -> list[Tensor]:
        """Those of an ordinary module in training mode."""
        seed_generators(0)
        with torch.enable_grad(), MemberChance(torch.tensor(0), torch.tensor(0)):
            outputs = module(self.x.clone())
        return gradients_of(outputs, [p for p in module.parameters() if p.requires_grad])


def gradients_of(outputs: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """With the outputs before them."""
    # Another number for each sample and output: BN passes back nothing of what is the same for all samples.
    d = torch.arange(outputs.numel(), dtype=outputs.dtype).cos().view(outputs.shape)
    found = torch.autograd.grad(outputs, leaves, d, materialize_grads=True, allow_unused=True)
    return [outputs.detach(), *found]


def same(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    """The outputs, and all gradients together; NaN where the others are NaN."""
    limit = DIFFERENT[found[0].dtype]
    holes = all(torch.equal(a.isnan(), b.isnan()) for a, b in zip(found, wanted, strict=True))
    return holes and alike(found[:1], wanted[:1], limit) and alike(found[1:], wanted[1:], limit)


def alike(found: Sequence[Tensor], wanted: Sequence[Tensor], limit: float) -> bool:
    """Whether tensors of one kind agree, by the largest number among them: what should be 0, as the gradient of a bias
    before BN, is noise. What is not finite says nothing."""
    a, b = (torch.cat([NOTHING, *(t.double().flatten() for t in of)]).nan_to_num(0, 0, 0) for of in (found, wanted))
    return not b.numel() or float((a - b).abs().max()) <= limit * max(float(b.abs().max()), TINY)
