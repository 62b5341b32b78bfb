"""The ordinary way: one `nn.Module`, `torch.optim`, a loop. What the stack is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.data import splits
from bnsweep.nets.chance import bn_noise, crop_draws, dropout_uniforms, flip_draws
from bnsweep.nets.lsuv import scale_to_unit_variance
from bnsweep.nets.member_chance import MemberChance
from bnsweep.nets.plain import build

NUDGE = 1e-7
"""Relative size of a change of the first weights that float32 hardly tells from none: its rounding is 6e-8."""


@dataclass
class PlainRun:
    model: nn.Module
    step_losses: list[float] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)


class BundleDropout(nn.Module):
    """nn.Dropout with the masks of the run's seed bundle instead of torch's global generator."""

    def __init__(self, config: RunConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer, self.step = config, layer, 0

    def forward(self, h_BH: Tensor) -> Tensor:
        if not self.training:
            return h_BH if self.config.model.dropout_scaling == "train" else h_BH * (1 - self.config.model.dropout)
        p, units = self.config.model.dropout, h_BH.shape[1]
        seed, numbers = torch.tensor([self.config.seed]), h_BH.numel() // units
        uniform = dropout_uniforms(seed, self.step, self.layer, units, numbers)[0]
        keep = uniform.view(units, -1, *h_BH.shape[2:]).transpose(0, 1) >= p
        self.step += 1
        if self.config.model.dropout_kind == "alpha":
            return alpha_dropout(h_BH, keep, p)
        return h_BH * keep / ((1 - p) if self.config.model.dropout_scaling == "train" else 1)


def alpha_dropout(h: Tensor, keep: Tensor, p: float) -> Tensor:
    """As torch's AlphaDropout has it, by the mask of what is kept."""
    alpha = 1.7580993408473766
    a = ((alpha**2 * p + 1) * (1 - p)) ** -0.5
    return a * torch.where(keep, h, -alpha) + alpha * a * p


class NoisyBatchNorm(nn.Module):
    """BN with the noise of the run's seed bundle behind it in training."""

    def __init__(self, norm: nn.Module, config: RunConfig, layer: int) -> None:
        super().__init__()
        self.norm, self.config, self.layer, self.step = norm, config, layer, 0

    def forward(self, x_BH: Tensor) -> Tensor:
        y = self.norm(x_BH)
        if not self.training:
            return y
        seed, amplitude = torch.tensor([self.config.seed]), torch.tensor([self.config.bn.noise])
        scale, shift = bn_noise(seed, self.step, self.layer, y.shape[1], y.shape[0], amplitude)
        self.step += 1
        return y * scale[0].T.to(y.dtype) + shift[0].T.to(y.dtype)


def make_optimizer(config: RunConfig, model: nn.Module) -> torch.optim.Optimizer:
    o, last = config.optimizer, f"linear{config.model.layers + 1}.weight"
    modules = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    maps = [(f"{n}.{of}", p) for n, m in modules for of, p in m.named_parameters() if of.startswith("weight")]
    if config.model.is_own:
        maps = [(n, p) for n, p in model.named_parameters() if p.dim() > 1]
    hidden = [p for n, p in maps if n != last]
    outer = [p for n, p in maps if n == last]
    vectors = [p for p in model.parameters() if not any(p is m for m in hidden + outer)]
    decay = o.weight_decay if o.decayed == "all" else 0.0
    groups = [
        {"params": outer},
        {"params": vectors, "weight_decay": decay},
        {"params": hidden, "lr": config.rate * config.lr.hidden},
    ]
    if o.name == "adam":
        return torch.optim.Adam(groups, lr=config.rate, weight_decay=o.weight_decay)
    momentum = o.momentum if o.name == "momentum" else 0.0
    return torch.optim.SGD(groups, lr=config.rate, momentum=momentum, weight_decay=o.weight_decay)


def rows_of(config: RunConfig, train: Tensor) -> Iterator[Tensor]:
    """The training rows of every step."""
    n, size = len(train), config.train.batch_size
    for epoch in count():
        if config.train.replacement:
            order = splits.batch_draws(config.data_seed, epoch, n, size * config.steps_per_epoch)
        else:
            order = splits.batch_order(config.data_seed, epoch, n)
        yield from train[order].split(size)


def loss_of(outputs: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Of classes, or of a regression's numbers."""
    if y.is_floating_point():
        return F.mse_loss(outputs[:, 0], y)
    return F.cross_entropy(outputs, y, label_smoothing=smoothing)


def score(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Loss, and accuracy or R²."""
    model.eval()
    with torch.no_grad():
        outputs = model(x)
        if y.is_floating_point():
            value = 1 - (outputs[:, 0] - y).double().square().sum() / (y - y.mean()).double().square().sum()
        else:
            value = (outputs.argmax(1) == y).double().mean()
        return loss_of(outputs, y).item(), value.item()


def targets(dataset: data.Dataset, train: Tensor, dtype: torch.dtype) -> Tensor:
    """Classes, or numbers with mean 0 and variance 1 over the training rows."""
    if not dataset.y_N.is_floating_point():
        return dataset.y_N
    y = dataset.y_N.double()
    return ((y - y[train].mean()) / y[train].std(correction=0)).to(dtype)


def augmented(config: RunConfig, step: int, x_BD: Tensor) -> Tensor:
    """Image by image: padded, cut out and mirrored."""
    pad, seeds, images = config.data.crop, torch.tensor([config.data_seed]), x_BD.view(-1, *config.image)
    if pad:
        frame = (pad, pad, pad if config.image[1] > 1 else 0, pad if config.image[1] > 1 else 0)
        _, height, width = config.image
        downs, rights = (draws[0].tolist() for draws in crop_draws(seeds, step, len(x_BD), pad))
        tops = [frame[2] + (down if frame[2] else 0) for down in downs]
        images = torch.stack(
            [
                F.pad(image, frame)[:, top : top + height, pad + right : pad + right + width]
                for image, top, right in zip(images, tops, rights, strict=True)
            ]
        )
    if config.data.flip:
        flips = flip_draws(seeds, step, len(x_BD))[0].tolist()
        images = torch.stack([image.flip(2) if flip else image for image, flip in zip(images, flips, strict=True)])
    return images.flatten(1)


def filled_and_standardised(x: Tensor, train: Tensor, config: RunConfig, of: Tensor) -> Tensor:
    """By the mean and the standard deviation of the training rows of all samples, `of`."""
    known = of[train].double().numpy()
    mean, std = np.nanmean(known, 0), np.nanstd(known, 0)
    std[std == 0] = 1
    x = torch.where(x.isnan(), torch.from_numpy(mean).to(x.dtype), x)
    return ((x - torch.from_numpy(mean)) / torch.from_numpy(std)).to(x.dtype) if config.data.standardize else x


def inputs(config: RunConfig, dataset: data.Dataset, train: Tensor) -> tuple[Tensor, Callable[[int, Tensor], Tensor]]:
    """Of all samples, and what a step is taken on by its number and rows."""
    raw = dataset.x_ND.to(getattr(torch, config.train.dtype))
    if config.data.binary:
        raw = (raw > 0.5).to(raw.dtype)
    x = filled_and_standardised(raw, train, config, raw)
    if config.model.is_own:
        x = x.view(-1, *config.sample_shape)

    def trained_on(step: int, rows: Tensor) -> Tensor:
        if not config.augmented:
            return x[rows]
        return filled_and_standardised(augmented(config, step, raw[rows]), train, config, raw)

    return x, trained_on


def nudge(model: nn.Module, number: int, size: float = NUDGE) -> None:
    """Change every first weight by about `size` of itself; number 0 changes none. A network whose loss this moves is
    chaotic: no two orders of summation agree on it."""
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for p in model.parameters() if number else ():
            p.mul_(1 + size * torch.randn(p.shape, generator=generator, dtype=p.dtype))


def take_step(
    config: RunConfig, model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, step: int
) -> float:
    """The loss before it."""
    model.train()
    with MemberChance(torch.tensor(config.seed), torch.tensor(step)) if config.model.is_own else nullcontext():
        outputs = model(x)
    loss = loss_of(outputs, y, config.train.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    if config.optimizer.clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
    optimizer.step()
    return loss.item()


_trained: dict[tuple[str, str], PlainRun] = {}


def train_plain(config: RunConfig, dataset: data.Dataset, nudged: int = 0, size: float = NUDGE) -> PlainRun:
    """The trained network is not to be changed: tests that ask for the same run are given the same one."""
    if nudged or config.model.is_own:  # whose code a test may change
        return _train(config, dataset, nudged, size)
    key = (repr(config), dataset.info.digest)
    if key not in _trained:
        _trained[key] = _train(config, dataset, nudged, size)
    return _trained[key]


def _train(config: RunConfig, dataset: data.Dataset, nudged: int, size: float) -> PlainRun:
    model = build(config)
    nudge(model, nudged, size)
    for i in range(1, config.model.layers + 1):
        if config.bn.placement != "none" and config.bn.noise > 0:
            setattr(model, f"bn{i}", NoisyBatchNorm(model.get_submodule(f"bn{i}"), config, i - 1))
        if config.model.dropout > 0:
            setattr(model, f"dropout{i}", BundleDropout(config, i - 1))
    optimizer = make_optimizer(config, model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: config.lr.scale(t, config.total_steps))
    split = splits.split(dataset, config.data, config.data_seed)
    x, trained_on = inputs(config, dataset, split.train)
    y = targets(dataset, split.train, x.dtype)
    run, batches = PlainRun(model), rows_of(config, split.train)
    if config.init.name == "lsuv":
        scale_to_unit_variance(model, trained_on(0, next(rows_of(config, split.train))))
    for step in range(config.total_steps + 1):
        if step:
            rows = next(batches)
            run.step_losses.append(take_step(config, model, optimizer, trained_on(step - 1, rows), y[rows], step - 1))
            scheduler.step()
        if step not in config.evaluations:
            continue
        for name, rows in (("train", split.train), ("val", split.validation), ("test", split.test)):
            for kind, value in zip(("loss", config.task.score), score(model, x[rows], y[rows]), strict=True):
                run.history.setdefault(f"{name}/{kind}", []).append(value)
    return run


def loss_distance(a: dict[str, list[float]], b: dict[str, list[float]]) -> float:
    """Largest difference of a training or validation loss between two histories."""
    return max(abs(x - y) for name in ("train/loss", "val/loss") for x, y in zip(a[name], b[name], strict=True))


def nudged_distance(config: RunConfig, dataset: data.Dataset) -> float:
    """Largest of 20 distances between the plain loop and the same loop from nudged weights."""
    plain = train_plain(config, dataset).history
    return max(loss_distance(train_plain(config, dataset, nudged=n).history, plain) for n in range(1, 21))
