"""What a stack takes of a device's memory, estimated from shapes before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from bnsweep.catalogue.metrics import LEVELS, measured
from bnsweep.config.run import RunConfig
from bnsweep.nets.families import layers_of
from bnsweep.nets.layer import Kept
from bnsweep.probes.diagnostics import GPU_PART, PART
from bnsweep.training.optimizer import tensors_held
from bnsweep.training.trainer import EVALUATION_ELEMENTS, EVALUATION_IMAGES

WORKER_BYTES = 300 * 2**20
"""Of a process that has imported torch, before it trains anything."""

FULL = 5
"""Tensors as large as the parameters that a full probe holds besides: those before and after a step, gradients here and
there, what lies between."""

VALUE_BYTES = 100
"""Of a number in a run's history, as the worker keeps it and hands it over."""


def member_bytes(config: RunConfig) -> int:
    """Memory that one more member of a stack takes, estimated from shapes: parameters with all that stands beside
    them, and the activations of a training batch, of an evaluation's piece, and of the probe batch where that passes
    for all members at once."""
    passing = activation_bytes(config, batch_size(config)) + activation_bytes(config, EVALUATION_IMAGES)
    return parameter_bytes(config) + passing + full_probe_bytes(config)


def full_probe_bytes(config: RunConfig) -> int:
    """Of a full probe: activations of the probe batch, parameters and gradients put by, and dropout drawn for it."""
    held = 0
    if config.probes.name == "full":
        samples = config.probe_samples
        held = activation_bytes(config, samples)
        held += FULL * item_bytes(config) * sum(math.prod(k.shape) for k in parameters(config))
        if config.model.dropout > 0:
            sizes = [layer.size for layer in layers_of([config])]
            held += samples * (item_bytes(config) * sum(sizes) + 40 * max(sizes))
    return held


def batch_size(config: RunConfig) -> int:
    """Samples of the largest batch; with replacement it can hold more than there are to train on."""
    train = config.train
    return train.batch_size if train.replacement else min(train.batch_size, config.data.train_size)


def parameters(config: RunConfig) -> list[Kept]:
    """What the layers of a run keep and train."""
    return [kept for layer in layers_of([config]) for kept in layer.kept().values() if not kept.statistic]


def parameter_bytes(config: RunConfig) -> int:
    name, clips = config.optimizer.name, config.optimizer.clip is not None
    numbers = (math.prod(k.shape) * (tensors_held(name, k.as_product) + clips) for k in parameters(config))
    return item_bytes(config) * sum(numbers)


def activation_bytes(config: RunConfig, samples: int) -> int:
    """What the layers hold, and the loss: logits, log-probabilities and gradients."""
    held = sum(layer.held for layer in layers_of([config])) + 4 * config.data.facts.outputs
    return item_bytes(config) * samples * held


def input_bytes(config: RunConfig) -> int:
    """Memory of the batches of one data seed. Augmentation holds a copy, and where each pixel of it comes from."""
    copies = 2 * item_bytes(config) + 8 * 3 if config.augmented else 0
    features = config.data.facts.features
    return (item_bytes(config) * batch_rows(config) + copies * batch_size(config)) * features


def item_bytes(config: RunConfig) -> int:
    return 8 if config.train.dtype == "float64" else 4


def batch_rows(config: RunConfig) -> int:
    """Samples that pass with their gradients at once: a training batch or the probe batch."""
    return max(batch_size(config), config.probe_samples)


def history_bytes(config: RunConfig) -> int:
    """Memory of a run's history, which is kept until the run is logged."""
    levels = LEVELS[: LEVELS.index(config.probes.name) + 1]
    one, two = (sum(not m.single and m.level in levels for m in measured(n, config.task).values()) for n in (1, 2))
    return VALUE_BYTES * config.evaluation_count * (one + (two - one) * (config.model.layers - 1))


def stack_bytes(configs: Sequence[RunConfig]) -> int:
    """All members keep what a member with weight normalisation has."""
    seeds = len({config.data_seed for config in configs})
    each = max(map(member_bytes, {c.weight_norm: c for c in configs}.values())) + history_bytes(configs[0])
    return len(configs) * each + seeds * input_bytes(configs[0]) + light_probe_bytes(configs[0])


def light_probe_bytes(config: RunConfig, elements: int = 0) -> int:
    """Activations of the probe batch of the members that a light probe reads at once: one, or those that have so many
    elements in their largest layer."""
    if config.probes.name != "light":
        return 0
    samples = config.probe_samples
    widest = max(layer.size for layer in layers_of([config]))
    return activation_bytes(config, samples) * max(1, elements // (widest * samples))


def fixed_bytes(config: RunConfig, device: torch.device) -> int:
    """Memory of a stack whatever its size: its worker's process, the samples, an evaluation's pieces and what a light
    probe reads at once."""
    facts = config.data.facts
    process = WORKER_BYTES if device.type == "cpu" else 0
    process += light_probe_bytes(config, PART if device.type == "cpu" else GPU_PART)
    return process + 8 * (8 * EVALUATION_ELEMENTS[device.type] + facts.features * (facts.pool + facts.test))
