"""How large gradients, weights and steps are, layer by layer, as pure functions over stacks.

K members, L hidden layers, J rows (units), I inputs of a layer. Results are [K], in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnsweep.probes.activations import pieces


def norms(g: Tensor) -> Tensor:
    """Frobenius norm [K] of each member's slice of g [K, ...]: D_l of dL/da_l, G_l of dL/dW_l.

    In float64: the squares of gradients below 1e-23, which 20 layers lead to, are 0 in float32.
    """
    return torch.cat([torch.linalg.vector_norm(p.reshape(len(p), -1), dim=1, dtype=torch.float64) for p in pieces(g)])


def flow(d_LK: Tensor) -> Tensor:
    """R = log10(D_1 / D_L) of the norms D_l [L, K] of the gradients at the hidden layers' activation inputs.

    Negative: the gradient shrinks on its way to the first layer (Glorot & Bengio 2010, section 4.2.2, fig. 7).
    0 with one hidden layer, -inf where only the first layer's gradient is 0, NaN where both are.
    """
    return (d_LK[0].double() / d_LK[-1].double()).log10()


def growth(d_LK: Tensor) -> Tensor:
    """Rate per layer lambda-hat = exp(OLS slope of ln D_l^2 over the backward step L - l) of D_l [L, K].

    What multiplies the squared gradient norm from a layer to the one below it: chi_1 of mean-field theory (Schoenholz
    et al. 2017), pi / (pi - 1) for ReLU + BN with large batches (Yang et al. 2019, theorem 8). NaN with one
    hidden layer, and where a norm is 0 or not finite.
    """
    step_L = torch.arange(len(d_LK) - 1, -1, -1, device=d_LK.device, dtype=torch.float64)
    step_L -= step_L.mean()
    rate_K = (step_L @ d_LK.double().square().log() / step_L.square().sum()).exp()
    usable_K = (d_LK > 0).all(0) & d_LK.isfinite().all(0)
    return torch.where(usable_K, rate_K, torch.nan)


def update_ratio(lr_K: Tensor, gradient_K: Tensor, weight_K: Tensor) -> Tensor:
    """lr * G_l / ||W_l|| of norms [K]: how far a plain gradient step moves a layer's weights, relative to their size
    (course notes of CS231n, "Ratio of weights:updates"). NaN where all weights are 0."""
    return torch.where(weight_K > 0, lr_K * gradient_K / weight_K, torch.nan)


def effective_lr(lr_K: Tensor, w_KJI: Tensor) -> Tensor:
    """Mean over rows of lr / ||w_j||^2: the learning rate of a row's direction where BN follows the linear map. To
    scale such a row by c is to divide its learning rate by c^2 (van Laarhoven 2017, arXiv 1706.05350). NaN where a row
    is 0, which has no direction."""
    square_KJ = torch.linalg.vector_norm(w_KJI.flatten(2), dim=2, dtype=torch.float64).square()
    mean_K = (lr_K.double()[:, None] / square_KJ).mean(1)
    return torch.where((square_KJ > 0).all(1), mean_K, torch.nan)


def angular_update(before_KJI: Tensor, after_KJI: Tensor) -> Tensor:
    """Mean over rows of the angle in radians between w_j before and after a step (Wan et al. 2020, "Spherical motion
    dynamics", arXiv 2006.08419). NaN where a row is 0.

    By 2 atan2(|u - v|, |u + v|) of the unit rows u and v: the arc cosine cannot tell angles below 1e-8 from 0.
    """
    found = []
    for pair in zip(pieces(before_KJI), pieces(after_KJI), strict=True):
        u, v = (w / torch.linalg.vector_norm(w, dim=2, keepdim=True) for w in (p.double().flatten(2) for p in pair))
        difference, total = (torch.linalg.vector_norm(x, dim=2) for x in (u - v, u + v))
        found.append((2 * torch.atan2(difference, total)).mean(1))
    return torch.cat(found)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine [K] between members' slices of a and b [K, ...], taken as vectors (Frobenius product).

    Of W and dL/dW it is 0 where BN follows the linear map, whose output does not change when W grows (van Laarhoven
    2017; Arora et al. 2019, arXiv 1812.03981). NaN where a slice is 0.
    """
    pairs = zip(pieces(a), pieces(b), strict=True)
    product_K = torch.cat([(p.double() * q).reshape(len(p), -1).sum(1) for p, q in pairs])
    return product_K / (norms(a) * norms(b))
