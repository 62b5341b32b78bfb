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
from bnsweep.training import optimizer
from bnsweep.training.optimizer import PIECE, Optimizer

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


def with_optimizer(config: RunConfig, **settings: object) -> RunConfig:
    return replace(config, optimizer=replace(config.optimizer, **settings))  # type: ignore[arg-type]


class Alone:
    """One member's parameters under torch.optim."""

    def __init__(self, stack: Stack, k: int) -> None:
        config = stack.configs[k]
        self.parameters = {name: p[k].clone().requires_grad_() for name, p in stack.parameters.items()}
        o, lr, self.clip = config.optimizer, config.rate, config.optimizer.clip
        weights = [p for name, p in self.parameters.items() if name in stack.weight_names]
        others = [p for name, p in self.parameters.items() if name not in stack.weight_names]
        decay = o.weight_decay if o.decayed == "all" else 0.0
        groups = [{"params": weights}, {"params": others, "weight_decay": decay}]
        if o.name == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(groups, lr, weight_decay=o.weight_decay)
        else:
            momentum = o.momentum if o.name == "momentum" else 0.0
            self.optimizer = torch.optim.SGD(groups, lr, momentum, weight_decay=o.weight_decay)
        self.schedule = LambdaLR(self.optimizer, lambda t: config.lr.scale(t, config.total_steps))

    def step(self, gradients: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name].clone()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.clip)
        self.optimizer.step()
        self.schedule.step()


def run(stack: Stack, steps: int, alive: list[bool] | None = None, batch: int = BATCH) -> list[Alone]:
    """The same random gradients for the stack and for each member alone."""
    ours, alone = Optimizer(stack), [Alone(stack, k) for k in range(len(stack))]
    generator, members = torch.Generator().manual_seed(0), len(stack)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    for _ in range(steps):
        products = {
            name: (draw(members, units, batch), draw(1, batch, inputs))
            for name, (_, units, inputs) in ((name, p.shape) for name, p in stack.products.items())
        }
        rest = stack.rest.alike()
        rest.flat.copy_(draw(len(rest.flat)))
        for k, member in enumerate(alone):
            member.step({name: d[k] @ x[0] for name, (d, x) in products.items()} | {n: v[k] for n, v in rest.items()})
        given = [Product(name, d, [(slice(0, members), x)]) for name, (d, x) in products.items()]
        ours.update(given, rest.flat, None if alive is None else torch.tensor(alive))
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
def test_gradients_may_be_held_for_one_member_at_a_time(
    name: str, decays: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = []
    for piece in (PIECE, 1):
        monkeypatch.setattr(optimizer, "PIECE", piece)
        stack = Stack(members(name, decays, ("constant", "cosine", "warmup")), CPU)
        for k, member in enumerate(run(stack, 20)):
            assert_equal(stack, k, member)
        ends.append(stack.parameters)
    together, one_by_one = ends
    assert all(torch.allclose(together[name], p, rtol=1e-12, atol=1e-15) for name, p in one_by_one.items())


@pytest.mark.parametrize("most", [1, 2, 3, 4, 6, 7, 15])
def test_the_parts_of_a_product_add_what_the_whole_adds(most: int) -> None:
    """Two data seeds of three members, one of five, three of one, one of one."""
    sizes = [(2, 3), (1, 5), (3, 1), (1, 1)]
    blocks, start = [], 0
    for seeds, n in sizes:
        blocks.append((slice(start, start + seeds * n), torch.randn(seeds, 4, 6, dtype=torch.float64)))
        start += seeds * n
    product = Product("w", torch.randn(start, 2, 4, dtype=torch.float64), blocks)
    expected, found = (torch.zeros(start, 2, 6, dtype=torch.float64) for _ in "ef")
    product.add_to(expected)
    parts = product.parts(most)
    for members, part in parts:
        assert members.stop - members.start <= most
        part.add_to(found[members])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert [k for members, _ in parts for k in range(members.start, members.stop)] == list(range(start))


@DECAYS
@OPTIMIZERS
def test_a_frozen_member_stays_as_it_is_and_the_others_move(name: str, decays: tuple[float, ...]) -> None:
    stack = Stack(members(name, decays, ("constant",) * 3), CPU)
    before = {name: p[1].clone() for name, p in stack.parameters.items()}
    alone = run(stack, 5, alive=[True, False, True])
    assert all(torch.equal(stack.parameters[name][1], p) for name, p in before.items())
    for k in (0, 2):
        assert_equal(stack, k, alone[k])


# A gradient of layer 1 has a norm of about 100 (batch 5) or 400 (batch 90): some are clipped, some are short enough.
@pytest.mark.parametrize("batch", [BATCH, 90], ids=["norm by pairs of samples", "norm of the gradient itself"])
@OPTIMIZERS
def test_every_member_is_clipped_by_its_own_norm_as_torch_clips_it(name: str, batch: int) -> None:
    configs = members(name, (0.0, 0.01, 0.3, 0.0), ("constant", "cosine", "step", "constant"))
    clips = (None, 0.5, 120.0, 1e6)
    stack = Stack([with_optimizer(c, clip=clip) for c, clip in zip(configs, clips, strict=True)], CPU)
    for k, member in enumerate(run(stack, 40, batch=batch)):
        assert_equal(stack, k, member)


@OPTIMIZERS
def test_a_clip_changes_no_bit_of_the_members_beside_it(name: str) -> None:
    configs = members(name, (0.0, 0.0), ("constant", "constant"))
    ends = []
    for clip in (None, 0.1):
        stack = Stack([configs[0], with_optimizer(configs[1], clip=clip)], CPU)
        run(stack, 10)
        ends.append({name: p.clone() for name, p in stack.parameters.items()})
    without, beside = ends
    assert all(torch.equal(without[name][0], beside[name][0]) for name in without)
    assert not all(torch.equal(without[name][1], beside[name][1]) for name in without)


@OPTIMIZERS
def test_weights_alone_decay_where_that_is_asked_for(name: str) -> None:
    configs = members(name, (0.3, 0.3, 0.0), ("constant",) * 3)
    stack = Stack([with_optimizer(configs[0], decayed="weights"), *configs[1:]], CPU)
    for k, member in enumerate(run(stack, 40)):
        assert_equal(stack, k, member)


def test_a_bias_that_bn_removes_counts_for_nothing_in_a_norm() -> None:
    """torch has no gradient of it."""
    config = with_optimizer(make(("tanh", "xavier", "constant", "before")), clip=1.0)
    before = Stack([config], CPU)
    moved = []
    for size in (0.0, 1e3):
        stack = Stack([config], CPU)
        rest = stack.rest.alike()
        rest["linear1.bias"].fill_(size)
        rest["linear2.weight"].fill_(1.0)
        zero = torch.zeros(1, 32, BATCH, dtype=torch.float64), torch.zeros(1, BATCH, 64, dtype=torch.float64)
        Optimizer(stack).update([Product("linear1.weight", zero[0], [(slice(0, 1), zero[1])])], rest.flat, None)
        moved.append(stack.parameters["linear2.weight"] - before.parameters["linear2.weight"])
    assert torch.equal(*moved) and moved[0].norm().item() == pytest.approx(config.rate, rel=1e-5)


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
    ours, total = Optimizer(stack), stack.configs[0].total_steps
    for step in (0, 1, total // 2, total - 1, total + 5):
        expected = [c.rate * c.lr.scale(min(step, total - 1), total) for c in stack.configs]
        assert ours.lr_K(torch.tensor(step)).tolist() == pytest.approx(expected, rel=1e-12)
