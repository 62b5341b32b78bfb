"""A stack between two steps, member by member: whoever goes on from it gets the bits of a training that never stopped.

K members, Q percentiles, H units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bnsweep.training.record import Evaluation, side_by_side

if TYPE_CHECKING:
    from bnsweep.training.trainer import Trainer


@dataclass
class State:
    """Members of one `stack_key` after `step` steps, on the host, in the order of the configs that they were given
    as. A new stack can be made of some of them, and of those of several states of one step."""

    step: int
    tensors: dict[str, Tensor]
    """[K, …] of all that a member carries from one step to the next."""
    evaluations: list[Evaluation]
    seconds: list[float]
    """Each member's share of the training time so far."""

    def __len__(self) -> int:
        return len(self.seconds)

    def of(self, members: Sequence[int]) -> State:
        """Some of them, in this order."""
        rows = torch.tensor(members, dtype=torch.long)
        return State(
            self.step,
            {name: tensor.index_select(0, rows) for name, tensor in self.tensors.items()},
            [evaluation.of(members) for evaluation in self.evaluations],
            [self.seconds[member] for member in members],
        )


def state_of(
    trainer: Trainer, rows: Sequence[int], evaluations: Sequence[Evaluation], seconds: Sequence[float]
) -> State:
    """Of those members, copied, with their `seconds`."""
    host, order = torch.device("cpu"), torch.tensor(rows, device=trainer.stack.device)
    tensors = {name: t.index_select(0, order).to(host) for name, t in trainer.tensors().items()}
    return State(int(trainer.stack.t), tensors, [e.of(rows) for e in evaluations], list(seconds))


@torch.no_grad()
def restore(trainer: Trainer, rows: Sequence[int], states: Sequence[State]) -> tuple[list[Evaluation], list[float]]:
    """Put a new trainer's members, which in the order of `rows` are those of the states one after the other, where the
    states left them. In place, as captured steps need it. Gives back the evaluations so far, in the stack's order, and
    the seconds of each.

    A tensor that a state does not know stays as it starts: its members make no use of it.
    """
    (step,) = {state.step for state in states}
    device = trainer.stack.device
    assert len(rows) == sum(map(len, states))
    ends = list(accumulate(map(len, states)))
    for state, end in zip(states, ends, strict=True):
        places = torch.tensor(rows[end - len(state) : end], device=device)
        of_probes = {n.partition(".")[2]: t for n, t in state.tensors.items() if n.startswith("probes.")}
        trainer.diagnostics.make_room(of_probes)
        for name, live in trainer.tensors().items():
            if name in state.tensors:
                live.index_copy_(0, places, state.tensors[name].to(device))
    trainer.stack.t.fill_(step)
    together = [side_by_side(parts) for parts in zip(*(state.evaluations for state in states), strict=True)]
    seconds = [each for state in states for each in state.seconds]
    return [evaluation.of(trainer.stack.positions) for evaluation in together], seconds
