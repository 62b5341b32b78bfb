"""Dropout draws that depend on nothing but seed, step, layer, unit and sample."""

from __future__ import annotations

import torch
from torch import Tensor

MASK = 0xFFFFFFFF


def mix(x: Tensor) -> Tensor:
    """The 32-bit mixer "lowbias32" by C. Wellons, on int64."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & MASK
    return x ^ (x >> 16)


def dropout_uniforms(seeds_S: Tensor, step: int | Tensor, layer: int, units: int, batch: int) -> Tensor:
    """Uniforms [S, H, B] in [0, 1), float64, at 0-based `step` (a number or an integer tensor of one element).

    Counter-based, so that every arm of a seed drops the same units, on every device, whatever it is stacked with.
    """
    key_S = mix(mix(seeds_S & MASK) + 0x9E3779B9 * (step + 1) + 0x85EBCA6B * (layer + 1) & MASK)
    counter_N = torch.arange(units * batch, device=seeds_S.device)
    bits_SN = mix(mix(counter_N) ^ key_S[:, None])
    return (bits_SN.double() / 2**32).view(-1, units, batch)
