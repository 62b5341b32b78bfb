"""Networks as users write them, of many kinds, for images of 1 x 8 x 8 and ten classes."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SkipMlp(nn.Module):
    """An MLP with a skip connection, of the parts that are swept."""

    def __init__(self, activation: Any, norm: Any, init: Any, sizes: list[int]) -> None:
        super().__init__()
        n_in, width, *_, n_out = sizes
        self.first, self.second, self.last = nn.Linear(n_in, width), nn.Linear(width, width), nn.Linear(width, n_out)
        self.norm1, self.norm2 = norm(width), norm(width)
        self.act1, self.act2 = activation(), activation()
        init(self)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act1(self.norm1(self.first(x.flatten(1))))
        return self.last(self.act2(h + self.norm2(self.second(h))))


class NormAfter(nn.Module):
    def __init__(self, activation: Any, norm: Any) -> None:
        super().__init__()
        parts = [nn.Flatten(), nn.Linear(64, 16), norm(16, "before"), activation(), norm(16, place="after")]
        self.body = nn.Sequential(*parts, nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def small_conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(32, 10),
    )  # fmt: skip


def conv_bn_relu() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, stride=2, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10),
    )  # fmt: skip


class ResNetBlock(nn.Module):
    """One activation module is called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv1, self.conv2 = (nn.Conv2d(n, 6, 3, padding=1, bias=False) for n in (1, 6, 6))
        self.bn0, self.bn1, self.bn2 = (nn.BatchNorm2d(6) for _ in "012")
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn0(self.stem(x)))
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x
        return self.fc(self.relu(out).mean((2, 3)))


def group_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)
    )


def layer_norm() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 10))


class EmbeddingBag(nn.Module):
    """Each pixel's grey value is a word."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.EmbeddingBag(17, 12, mode="mean"), nn.Linear(12, 10)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.words((x.flatten(1) * 16).long().clamp(0, 16))))


class Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.last, self.act = nn.Embedding(17, 4), nn.Linear(256, 10), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.words((x.flatten(1) * 16).long().clamp(0, 16))).flatten(1))


def depthwise() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=4, padding=1), nn.BatchNorm2d(4), nn.Hardswish(),
        nn.Conv2d(4, 8, 1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


class Dropouts(nn.Module):
    """By modules and by functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc1, self.fc2 = nn.Conv2d(1, 4, 3), nn.Linear(144, 16), nn.Linear(16, 10)
        self.drop2d, self.act, self.alpha = nn.Dropout2d(0.2), nn.SELU(), nn.AlphaDropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop2d(self.conv(x)).flatten(1)
        h = self.alpha(self.act(self.fc1(F.dropout(h, 0.3, self.training))))
        return self.fc2(h)


class Noisy(nn.Module):
    """Noise of its own in training."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x.flatten(1))
        if self.training:
            h = h + 0.1 * torch.randn_like(h) + torch.rand(16, dtype=h.dtype) * torch.bernoulli(torch.full_like(h, 0.5))
        return self.fc2(self.act(h))


def in_place() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Linear(16, 16),
        nn.LeakyReLU(inplace=True), nn.Linear(16, 10),
    )  # fmt: skip


class Tied(nn.Module):
    """An encoder's weights are the decoder's, transposed, and two layers are one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.again, self.last = (
            nn.Linear(n, m) for n, m in ((64, 16), (16, 16), (16, 16), (64, 10))
        )
        self.again.weight = self.middle.weight
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.again(self.act(self.middle(self.act(self.first(x.flatten(1)))))))
        return self.last(self.act(F.linear(h, self.first.weight.t())))


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.bn, self.act = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU()
        self.heads = nn.ModuleList(nn.Linear(16, 10) for _ in "12")

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.bn(self.body(x.flatten(1))))
        return self.heads[0](h) + self.heads[1](h.square())


class Buffers(nn.Module):
    """A mean of its own that it keeps, a count, and a table that stays."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(64, 16), nn.Sigmoid(), nn.Linear(16, 10)
        self.register_buffer("mean", torch.zeros(16))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("table", torch.randn(16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x.flatten(1))
        if self.training:
            with torch.no_grad():
                self.mean.mul_(0.9).add_(0.1 * h.mean(0))
                self.count += 1
        return self.fc2(self.act((h - self.mean) * self.table))


class Assigned(nn.Module):
    """A mean of its own that it puts in the place of the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 16), nn.Linear(16, 10)
        self.register_buffer("mean", torch.zeros(16))

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x.flatten(1))
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * h.mean(0).detach()
        return self.fc2(F.silu(h - self.mean))


class DropPath(nn.Module):
    """A residual branch is left out sample by sample; numbers are drawn in place, in eval mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.branch, self.fc2 = nn.Linear(64, 16), nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.fc1(x.flatten(1)))
        kept = h.new_empty(len(h), 1).bernoulli_(0.8) / 0.8
        noise = torch.empty_like(h).normal_(0, 0.1) + torch.empty_like(h).uniform_(-0.1, 0.1)
        return self.fc2(h + (kept * F.gelu(self.branch(h)) + noise if self.training else F.gelu(self.branch(h))))


def weight_normed() -> nn.Module:
    """By a hook before each call, as it was done before there were parametrisations."""
    first, second = nn.Linear(64, 16), nn.Linear(16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(first)
    return nn.Sequential(
        nn.Flatten(), first, nn.ReLU(), nn.utils.parametrizations.spectral_norm(second), nn.ReLU(), nn.Linear(16, 10)
    )


class Transformer(nn.Module):
    """Rows of the image are tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True)
        self.last = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.encoder(x.squeeze(1)).mean(1))


class ByFunction(nn.Module):
    """Its activation is a function; its BN has no parameters and a mean over all batches."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.bn, self.fc2 = (
            nn.Linear(64, 16),
            nn.BatchNorm1d(16, affine=False, momentum=None),
            nn.Linear(16, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.bn(self.fc1(x.flatten(1)))))


def linear_map() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, affine=False), nn.Linear(64, 10))


def conv_1d() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Unflatten(1, (1, 64)), nn.Conv1d(1, 6, 5, stride=2), nn.BatchNorm1d(6), nn.ELU(),
        nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip


class Attention(nn.Module):
    """Rows of the image are tokens; scaled dot products written out."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.norm, self.act, self.last = nn.Linear(8, 24), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x[:, 0]).chunk(3, -1)
        mixed = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(8), -1) @ v
        return self.last(self.act(self.norm(x[:, 0] + mixed)).mean(1))


class Frozen(nn.Module):
    """A layer that is not trained, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(64, 32).requires_grad_(False)
        self.unused, self.act, self.last = nn.Linear(3, 3), nn.ReLU(), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.features(x.flatten(1))))


class Prelu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.PReLU(16), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(10))


class DataDependent(nn.Module):
    """Takes a way that depends on numbers: torch.func cannot call its members as one."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.bn, self.act, self.fc2 = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Softplus(), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn(self.fc1(x.flatten(1)))
        return self.fc2(self.act(2 * h if h.max().item() > 2.5 else h))


class HiddenTensor(nn.Module):
    """Random features that are no buffer: each member has its own."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.act, self.last = torch.randn(64, 16, dtype=torch.float64), nn.ReLU(), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(x.flatten(1) @ self.features.to(x.dtype) / 8))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.cell(x[:, 0])[0][:, -1])


class Overwriting(nn.Module):
    """Writes into what it is given."""

    def __init__(self, alone: bool = False) -> None:
        super().__init__()
        self.alone, self.fc1, self.act, self.fc2 = alone, nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x.add_(0.5).pow_(2)
        scale = 2 if self.alone and self.fc1.weight.sum().item() > 1e9 else 1
        return self.fc2(self.act(scale * self.fc1(x.flatten(1))))


class Regressor(nn.Module):
    """Of rows of eight numbers; one number a sample, in no column."""

    def __init__(self, column: bool = False) -> None:
        super().__init__()
        self.column = column
        self.body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if self.column else self.body(x)[:, 0]


def signal_net() -> nn.Module:
    """Of a signal of 40 numbers."""
    return nn.Sequential(nn.Conv1d(1, 6, 5, stride=2), nn.BatchNorm1d(6), nn.ReLU(), nn.Flatten(), nn.Linear(108, 10))


class Plain(nn.Sequential):
    """The package's fully connected network, by the names that it has there."""

    def __init__(self, activation: Any, norm: Any) -> None:
        layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
        for i, n in enumerate((64, 16), start=1):
            layers += [(f"linear{i}", nn.Linear(n, 16)), (f"bn{i}", norm(16)), (f"activation{i}", activation())]
        super().__init__(OrderedDict([*layers, ("linear3", nn.Linear(16, 10))]))


KINDS: dict[str, Callable[..., nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *(SkipMlp, NormAfter, small_conv, conv_bn_relu, ResNetBlock, group_norm, layer_norm, EmbeddingBag, Embedding),
        *(depthwise, Dropouts, Noisy, in_place, Tied, TwoHeads, Buffers, ByFunction, linear_map, conv_1d),
        *(Attention, Frozen, Prelu, lazy, DataDependent, HiddenTensor, Recurrent, Assigned, DropPath, weight_normed),
        Transformer,
    )
}
