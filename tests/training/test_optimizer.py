"""The stacked optimizers do to every member what torch.optim does to it alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from members import CPU, make
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from bnsweep.config.groups import OptimizerConfig
from bnsweep.config.run import RunConfig
from bnsweep.nets.linear import Product
from bnsweep.nets.stack import Stack
from bnsweep.training.optimizer import Optimizer

BATCH = 5
OPTIMIZERS = pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
DECAYS = pytest.mark.parametrize("decays", [(0.0, 0.0, 0.0), (0.0, 0.01, 0.3)], ids=["no decay", "decay"])


def members(name: str, decays: tuple[float, ...], schedules: tuple[str, ...]) -> list[RunConfig]:
    """Without BN, so that every parameter is trained; one order of the data."""
    configs = [make(("tanh", "xavier", schedule, "none"), 3 * i, name) for i, schedule in enumerate(schedules)]
    return [
        replace(
            c,
            seed=i,
            data=replace(c.data, seed=0),
            optimizer=OptimizerConfig(name, momentum=0.5 + i / 10, weight_decay=decay),
        )
        for i, (c, decay) in enumerate(zip(configs, decays, strict=True))
    ]


class Alone:
    """One member's parameters under torch.optim."""

    def __init__(self, stack: Stack, k: int) -> None:
        config = stack.configs[k]
        self.parameters = {name: p[k].clone().requires_grad_() for name, p in stack.parameters.items()}
        parameters = list(self.parameters.values())
        o, lr = config.optimizer, config.rate
        if o.name == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, lr, weight_decay=o.weight_decay)
        else:
            momentum = o.momentum if o.name == "momentum" else 0.0
            self.optimizer = torch.optim.SGD(parameters, lr, momentum, weight_decay=o.weight_decay)
        self.schedule = LambdaLR(self.optimizer, lambda t: config.lr.scale(t, config.total_steps))

    def step(self, gradients: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name].clone()
        self.optimizer.step()
        self.schedule.step()


def run(stack: Stack, steps: int, alive: list[bool] | None = None) -> list[Alone]:
    """The same random gradients for the stack and for each member alone."""
    optimizer, alone = Optimizer(stack), [Alone(stack, k) for k in range(len(stack))]
    generator, members = torch.Generator().manual_seed(0), len(stack)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    for _ in range(steps):
        products = {
            name: (draw(members, units, BATCH), draw(1, BATCH, inputs))
            for name, (_, units, inputs) in ((name, p.shape) for name, p in stack.products.items())
        }
        rest = stack.rest.alike()
        rest.flat.copy_(draw(len(rest.flat)))
        for k, member in enumerate(alone):
            member.step({name: d[k] @ x[0] for name, (d, x) in products.items()} | {n: v[k] for n, v in rest.items()})
        given = [Product(name, d, [(slice(0, members), x)]) for name, (d, x) in products.items()]
        optimizer.update(given, rest.flat, None if alive is None else torch.tensor(alive))
    return alone


def assert_equal(stack: Stack, k: int, member: Alone) -> None:
    for name, theirs in member.parameters.items():
        torch.testing.assert_close(stack.parameters[name][k], theirs.detach(), rtol=1e-11, atol=1e-13, msg=name)


@DECAYS
@OPTIMIZERS
def test_every_member_moves_as_torchs_optimizer_moves_it(name: str, decays: tuple[float, ...]) -> None:
    """Each with its own rate, momentum, weight decay and schedule, over all steps of its training."""
    stack = Stack(members(name, decays, ("constant", "cosine", "warmup")), CPU)
    alone = run(stack, stack.configs[0].total_steps)
    for k, member in enumerate(alone):
        assert_equal(stack, k, member)


@DECAYS
@OPTIMIZERS
def test_a_frozen_member_stays_as_it_is_and_the_others_move(name: str, decays: tuple[float, ...]) -> None:
    stack = Stack(members(name, decays, ("constant",) * 3), CPU)
    before = {name: p[1].clone() for name, p in stack.parameters.items()}
    alone = run(stack, 5, alive=[True, False, True])
    assert all(torch.equal(stack.parameters[name][1], p) for name, p in before.items())
    for k in (0, 2):
        assert_equal(stack, k, alone[k])


@OPTIMIZERS
def test_a_hidden_rate_scales_the_steps_of_hidden_weights_alone(name: str) -> None:
    (config,) = members(name, (0.0,), ("constant",))
    moved = []
    for hidden in (1.0, 0.25):
        stack = Stack([replace(config, lr=replace(config.lr, hidden=hidden))], CPU)
        before = {name: p.clone() for name, p in stack.parameters.items()}
        run(stack, 1)
        moved.append({name: p - before[name] for name, p in stack.parameters.items()})
    full, scaled = moved
    hidden_weights = stack.weight_names[:-1]
    for name, step in full.items():
        factor = 0.25 if name in hidden_weights else 1
        torch.testing.assert_close(scaled[name], factor * step, rtol=1e-9, atol=1e-13, msg=name)


def test_learning_rates_follow_each_members_schedule_and_stay_at_the_last() -> None:
    stack = Stack(members("sgd", (0.0,) * 3, ("constant", "cosine", "warmup")), CPU)
    optimizer, total = Optimizer(stack), stack.configs[0].total_steps
    for step in (0, 1, total // 2, total - 1, total + 5):
        expected = [c.rate * c.lr.scale(min(step, total - 1), total) for c in stack.configs]
        assert optimizer.lr_K(torch.tensor(step)).tolist() == pytest.approx(expected, rel=1e-12)
