"""Random draws of a training step that depend on nothing but seed, step, layer, unit and sample."""

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


NOISE_LAYERS = 1_000_000
"""Where the draws for noise begin, counted as layers: far above those for dropout."""


def bn_noise(
    seeds_S: Tensor, step: int | Tensor, layer: int, units: int, batch: int, amplitude_S: Tensor
) -> tuple[Tensor, Tensor]:
    """Scales and shifts [S, H, B], float64, of the noise put behind a BN layer at 0-based `step`.

    Each unit has moments of its own, drawn anew in each step: mean uniform in [-n, n], scale uniform in [1, 1 + n/2];
    each sample's shift and scale are uniform within n/5 of them. Amplitude n = 0.5 gives the ranges of Santurkar et al.
    2018 (1805.11604, section 2.1 and appendix A: n_mu = 0.5, n_sigma = 1.25, r = 0.1).
    """
    n = amplitude_S.double().view(-1, 1, 1)

    def uniforms(i: int, samples: int) -> Tensor:
        return dropout_uniforms(seeds_S, step, NOISE_LAYERS + 4 * layer + i, units, samples)

    shift = n * (2 * uniforms(0, 1) - 1) + n / 5 * (2 * uniforms(1, batch) - 1)
    scale = 1 + n / 2 * uniforms(2, 1) + n / 5 * (2 * uniforms(3, batch) - 1)
    return scale, shift


CROP_LAYER, FLIP_LAYER = 2_000_000, 2_000_001
"""Where the draws for augmentation are, counted as layers: above those for noise."""


def crop_draws(seeds_S: Tensor, step: int | Tensor, batch: int, padding: int) -> tuple[Tensor, Tensor]:
    """How far down and to the right each sample's image is cut out at 0-based `step`: [S, B] whole numbers, uniform in
    [-padding, padding]."""
    uniform_S2B = dropout_uniforms(seeds_S, step, CROP_LAYER, 2, batch)
    down, right = ((uniform_S2B * (2 * padding + 1)).long() - padding).unbind(1)
    return down, right


def flip_draws(seeds_S: Tensor, step: int | Tensor, batch: int) -> Tensor:
    """[S, B] whether each sample's image is mirrored at 0-based `step`, one in two."""
    return dropout_uniforms(seeds_S, step, FLIP_LAYER, 1, batch)[:, 0] < 0.5
