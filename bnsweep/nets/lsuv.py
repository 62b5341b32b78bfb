"""Layer-sequential unit variance (Mishkin & Matas 2016, arXiv 1511.06422): weights are orthonormal, then scaled, from
the input on, so that the outputs of every linear map and convolution have variance 1 on the first batch.

Once for each layer: outputs are proportional to the weights, as biases start at 0, so that the paper's loop ends there.
G data seeds, B samples, D inputs.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from bnsweep.catalogue.inits import INITS
from bnsweep.nets.stack import Stack


@torch.no_grad()
def scale_to_unit_variance(model: nn.Module, x_BD: Tensor) -> None:
    """In training mode, with the statistics of the batch and without dropout. In place; only weights change. Outputs
    that do not vary leave theirs as they are."""
    twin = copy.deepcopy(model).train()

    def scale(module: nn.Module, inputs: object, z: Tensor) -> Tensor:
        std = z.double().std(correction=0)
        if not 0 < std < torch.inf:
            return z
        for name, parameter in module.named_parameters():
            if name.startswith("weight"):  # v and g of a normalised one
                parameter.div_(std)
        return z.div_(std)

    for module in twin.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(scale)
        elif "Dropout" in type(module).__name__:
            module.eval()
    twin(x_BD)
    for own, scaled in zip(model.parameters(), twin.parameters(), strict=True):
        own.copy_(scaled)


def scale_members(stack: Stack, x_GBD: Tensor) -> None:
    """Those that start so, each on its own data seed's batch, as the ordinary network of that run."""
    for k, config in enumerate(stack.configs):
        if INITS[config.init.name].by_batch:
            model = stack.export(k).to(stack.device)
            scale_to_unit_variance(model, x_GBD[stack.data_seeds.index(config.data_seed)])
            state = model.state_dict()
            for name in state.keys() & set(stack.all_weight_names):
                weight = stack.parameters[name][k]
                weight.copy_(state[name].view_as(weight))
