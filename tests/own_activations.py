"""Networks that differ in how they call activations, for images of 1 x 8 x 8 and ten classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PLACES = {"nn": nn, "F": F, "torch": torch, "Tensor": Tensor}


class Calling(nn.Module):
    """Two hidden layers, which call an activation by its name in torch. One in place is called for what it does to the
    tensor that it is given."""

    def __init__(self, place: str, name: str, in_place: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 16), nn.Linear(16, 16), nn.Linear(16, 10)
        self.in_place = in_place
        asked = {"inplace": True} if in_place and not name.endswith("_") else {}
        found = getattr(PLACES[place], name)
        self.act: Callable[[Tensor], Tensor] = found(**asked) if place == "nn" else lambda x: found(x, **asked)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x.flatten(1))
        h = self.act(a)
        a = self.second(a if self.in_place else h)
        h = self.act(a)
        return self.last(a if self.in_place else h)


class Mixed(nn.Module):
    """Activations of many kinds, and what is none: by modules, by functions, by the one that is swept, and of tensors
    that are no samples."""

    def __init__(self, activation: Any) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(n, 16) for n in (64, 16, 16, 16))
        self.gate, self.spread = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4, 16))
        self.swept, self.prelu, self.drop = activation(), nn.PReLU(), nn.Dropout(0.5)
        self.last = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(torch.tanh(self.maps[0](x.flatten(1))))
        h = self.swept(self.maps[1](h)) * torch.sigmoid(self.gate).mean()
        h = self.prelu(self.maps[2](h)) * F.softplus(self.spread).mean()
        h = F.leaky_relu(self.maps[3](h), 0.2).relu_()
        return self.last(torch.softmax(h, 1))


class BySign(nn.Module):
    """Its second activation depends on the sign of a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.sigmoid(self.first(x.flatten(1)))
        return self.last(torch.relu(h) if self.last.bias[0] > 0 else torch.tanh(h))
