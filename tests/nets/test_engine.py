"""What is written out by hand is what autograd and torch's own kernels give."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from members import CPU, changed, make, mix

from bnsweep.catalogue.norms import NORM_CHOICES
from bnsweep.config.groups import DataConfig
from bnsweep.data import dataset as data
from bnsweep.nets import plain as model
from bnsweep.nets.engine import Engine
from bnsweep.nets.linear import blocks_of
from bnsweep.nets.norm import BatchNorm, RunningStatistics
from bnsweep.nets.stack import Stack
from bnsweep.training.trainer import Trainer, train


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_batch_norm_in_whole_tensor_operations_equals_torchs_kernel(
    offset: float,
) -> None:
    """In float64; test_batch_norm.py holds float32 to its rounding."""
    generator = torch.Generator().manual_seed(0)
    configs = [make(("relu", "he", "constant", "before"), i) for i in (0, 2)]
    gamma = torch.empty(2, 32, 1).uniform_(0.5, 2, generator=generator)
    beta = torch.randn(2, 32, 1, generator=generator)
    x = torch.randn(2, 32, 50, dtype=torch.float64, generator=generator) + offset
    x[0, 3] = 7.0  # a dead unit's variance is 0
    d = torch.randn(2, 32, 50, dtype=torch.float64, generator=generator)
    seen = []
    for small in (0, 10**9):
        stack = Stack(configs, CPU, native_below=small)
        norm = BatchNorm(stack, stack.rest.alike(), "bn1", slice(0, 2), 1e-5)
        norm.gamma.copy_(gamma)
        norm.beta.copy_(beta)
        y, dx, spare = torch.empty_like(x), d.clone(), torch.empty_like(x)
        saved = norm.forward(x.clone(), y, torch.empty_like(x))
        assert len(saved) == (3 if small else 2), "each of the two ways is taken once"
        norm.backward(dx, saved, spare)
        seen.append([t.clone() for t in (y, dx, norm.d_gamma, norm.d_beta, norm.batch_mean, norm.batch_variance)])
    for ours, torchs in zip(*seen, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("small", [0, 10**9])
def test_backward_gives_what_autograd_gives(small: int) -> None:
    """The gradients of the sum of the losses of 12 different members, in the training mode of plain modules."""
    digits = data.load(DataConfig())
    x, y = digits.x_ND[:40].double(), digits.y_N[:40]
    stack = Stack([c for c in mix() if c.model.dropout == 0], CPU, native_below=small)
    engine = Engine(stack)
    logits = engine.forward(x[None]).clone().requires_grad_()
    losses_K = torch.nn.functional.cross_entropy(logits, y.expand(len(stack), -1), reduction="none").mean(1)
    first = torch.autograd.grad(losses_K.sum(), logits)[0]
    engine.backward(first)
    (product,) = engine.products
    gradients = {**engine.gradients, product.name: torch.zeros_like(stack.parameters[product.name])}
    product.add_to(gradients[product.name])
    for k, config in enumerate(stack.configs):
        plain = model.build(config).train()
        torch.nn.functional.cross_entropy(plain(x), y).backward()
        expected = {name: p.grad for name, p in plain.named_parameters()}
        for name, gradient in expected.items():
            if gradient is not None:
                ours = gradients[name][k].reshape(gradient.shape)
                torch.testing.assert_close(ours, gradient, rtol=1e-9, atol=1e-12, msg=f"{config} {name}")


@pytest.mark.parametrize("pool", ["max", "average"])
@pytest.mark.parametrize("family", ["conv", "resnet"])
def test_images_in_either_order_in_memory_give_the_same(family: str, pool: str) -> None:
    """All normalisations at both places, with skips and without: logits of both modes, and all gradients."""
    digits = data.load(DataConfig())
    x = digits.x_ND[:24].double()
    values = {
        "model.family": family,
        "model.channels": (1, 4),
        "model.pool": pool,
        "model.head": "flat",
        "model.dropout": 0.3,
    }
    configs = [
        changed(c, values | {"norm.name": name, "skip.name": "on" if family == "resnet" and i % 2 else "off"})
        for name in NORM_CHOICES
        if name != "none"
        for i, c in enumerate(mix())
        if c.placement != "none"
    ]
    seen = []
    for inside in (True, False):
        stack = Stack(configs, CPU, channels_inside=inside)
        engine = Engine(stack)
        x_GBD = x.expand(len(stack.data_seeds), -1, -1)
        logits = engine.forward(x_GBD, stack.t).clone()
        engine.backward(logits.cos())
        RunningStatistics(stack).update(len(x), None)
        seen.append([logits, engine.gradients.flat, stack.running.flat, engine.evaluate(x_GBD)])
    for one, other in zip(*seen, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_training_step_keeps_its_memory_whatever_is_evaluated_in_between() -> None:
    """A captured step reads and writes where it did when it was captured."""
    digits = data.load(DataConfig())
    trainer = Trainer(mix(), digits, CPU)
    trainer.epoch(0)

    def places() -> list[int]:
        trainer.engine.forward(digits.x_ND[None, :20].double().repeat(3, 1, 1))
        return [t.data_ptr() for layer in trainer.engine.activated for some in layer for t in (some.a, some.h)]

    before = places()
    trainer.evaluate(0)
    trainer.epoch(1)
    assert before == places()


def test_blocks_of_layer_1_join_only_seeds_with_as_many_members() -> None:
    def blocks(seeds: list[int]) -> list[tuple[int, int, int, int]]:
        return [(s.start, s.stop, g.start, g.stop) for s, g in blocks_of(seeds, [3, 5, 8])]

    assert blocks([3, 3, 5, 5, 8, 8]) == [(0, 6, 0, 3)]
    assert blocks([3, 3, 5, 5, 5, 8]) == [(0, 2, 0, 1), (2, 5, 1, 2), (5, 6, 2, 3)]
    assert blocks([3, 8, 3, 5, 5, 8, 8]) == [(0, 1, 0, 1), (1, 2, 2, 3), (2, 3, 0, 1), (3, 7, 1, 3)]


def test_a_balanced_grid_of_several_data_seeds_gives_each_run_its_own_batches() -> None:
    digits = data.load(DataConfig())
    arms = [("relu", "he", "constant", "before"), ("sigmoid", "he", "constant", "none")]
    configs = [
        replace(make(arm, i=2 * lr), seed=seed, bn=replace(make(arm).bn))
        for arm in arms
        for lr in (0, 1)
        for seed in range(3)
    ]
    trainer = Trainer(configs, digits, CPU)
    trainer.epoch(0)
    assert [len(product.x) for product in trainer.engine.products] == [2], "one block an arm"
    records, _ = train(configs, digits, CPU)
    for config, record in zip(configs, records, strict=True):
        (alone,), _ = train([config], digits, CPU)
        for name, values in alone.history.items():
            assert record.history[name] == pytest.approx(values, rel=1e-9, abs=1e-12, nan_ok=True), name


def test_a_trainer_is_gone_when_it_is_let_go() -> None:
    """Its memory, hundreds of MB a stack, must not wait for Python to look for cycles."""
    trainer = Trainer(mix(), data.load(DataConfig()), CPU)
    trainer.epoch(0)
    trainer.evaluate(trainer.total_steps)
    gone = weakref.ref(trainer), weakref.ref(trainer.engine), weakref.ref(trainer.stack.weights[0])
    gc.disable()
    try:
        del trainer
        assert [ref() for ref in gone] == [None] * 3
    finally:
        gc.enable()
