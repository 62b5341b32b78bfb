"""The network of one run as an ordinary `nn.Module`: the reference the stack is held against.

The note's `dnn_batchnorm` is Linear 784-32, BatchNorm1d, ReLU, Linear 32-32, BatchNorm1d, ReLU, Linear 32-10 with
`xavier_normal_` weights: `model=lecture activation=relu bn=before init=xavier data=mnist`.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from bnsweep.config.run import RunConfig
from bnsweep.nets.families import layers_of
from bnsweep.nets.layer import kept_by, normals_of
from bnsweep.nets.module_parts import build_module
from bnsweep.nets.residual import Addition, ResidualNetwork


def build(config: RunConfig) -> nn.Module:
    """The network of a run, freshly initialised: weights by `init`, biases 0, BN scale 1 and shift 0.

    Modules are named `linear1` or `conv1`, `bn1`, `activation1`, `dropout1`, ..., the last linear layer has no others.
    With skips the network is a ResidualNetwork. Of model=module it is the user's own module.
    """
    if config.model.is_own:
        return build_module(config)
    layers = layers_of([config])
    modules = [(layer.name, layer.module(config)) for layer in layers]
    named = OrderedDict((name, module) for name, module in modules if module is not None)
    kind = ResidualNetwork if any(isinstance(module, Addition) for module in named.values()) else nn.Sequential
    model = kind(named)
    kept = kept_by(layers)
    normals, nothing, state = normals_of(kept, config.seed), torch.empty(0), model.state_dict()
    with torch.no_grad():
        for name, k in kept.items():
            value = k.initial(config, normals.get(name, nothing))
            if name in state:
                state[name].copy_(torch.as_tensor(value).expand(k.shape).reshape(state[name].shape))
    return model
