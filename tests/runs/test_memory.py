"""What is estimated of a stack's memory grows with what takes memory."""

from __future__ import annotations

from dataclasses import replace

import torch
from quick_runs import CPU

from bnsweep.config.groups import DataConfig, OptimizerConfig, ProbesConfig, TrainConfig
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.runs.memory import (
    fixed_bytes,
    history_bytes,
    input_bytes,
    light_probe_bytes,
    member_bytes,
    parameter_bytes,
    stack_bytes,
)

CONFIG = RunConfig()


def test_a_batch_larger_than_the_data_counts_as_the_data() -> None:
    config = RunConfig(data=DataConfig(subset=200), train=TrainConfig(batch_size=20_000_000))
    assert member_bytes(config) == member_bytes(replace(config, train=TrainConfig(batch_size=200)))


def test_a_batch_drawn_with_replacement_can_be_larger_than_the_data() -> None:
    config = RunConfig(data=DataConfig(subset=200), train=TrainConfig(batch_size=200, replacement=True))
    larger = replace(config, train=replace(config.train, batch_size=20_000_000))
    assert member_bytes(larger) > 1000 * member_bytes(config)


def test_a_history_grows_with_evaluations_layers_and_what_is_read() -> None:
    often = replace(CONFIG, train=TrainConfig(steps=1000, evaluate_steps=1))
    deep = replace(often, model=ModelConfig([32], depth=20))
    held = [history_bytes(config) for config in (CONFIG, often, deep, replace(deep, probes=ProbesConfig("full")))]
    assert held == sorted(held) and held[1] > 40 * held[0]


def test_float64_takes_twice_as_much() -> None:
    double = replace(CONFIG, train=replace(CONFIG.train, dtype="float64"))
    assert member_bytes(double) == 2 * member_bytes(CONFIG)
    assert input_bytes(double) == 2 * input_bytes(CONFIG)


def test_parameters_are_counted_with_their_gradients_and_the_optimizers_state() -> None:
    config = RunConfig(model=ModelConfig([1000, 1000]))
    weights = 4 * (64 * 1000 + 1000 * 1000 + 1000 * 10)
    sgd, adam = (parameter_bytes(replace(config, optimizer=OptimizerConfig(name))) for name in ("sgd", "adam"))
    assert 2 * weights <= sgd < adam


def test_full_probes_take_more_than_light_ones() -> None:
    full = replace(CONFIG, probes=ProbesConfig("full"))
    dropout = replace(full, model=replace(CONFIG.model, dropout=0.5))
    assert member_bytes(CONFIG) < member_bytes(full) < member_bytes(dropout)


def test_members_of_one_data_seed_share_their_batches() -> None:
    same, other = [CONFIG, CONFIG], [CONFIG, replace(CONFIG, seed=1)]
    each, probed = member_bytes(CONFIG) + history_bytes(CONFIG), light_probe_bytes(CONFIG)
    assert stack_bytes(same) == 2 * each + input_bytes(CONFIG) + probed
    assert stack_bytes(other) == stack_bytes(same) + input_bytes(CONFIG)


def test_a_worker_of_a_cpu_is_a_process_with_torch_in_it() -> None:
    mnist = RunConfig(data=DataConfig("mnist"))
    assert fixed_bytes(mnist, CPU) > 300 * 2**20 + 8 * 784 * 70_000
    assert fixed_bytes(mnist, torch.device("cuda")) > 8 * 784 * 70_000
