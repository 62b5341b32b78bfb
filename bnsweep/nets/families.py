"""A family turns a run into a list of layers; a stack's list has every layer that one of its runs has."""

from __future__ import annotations

from collections.abc import Sequence

from bnsweep.config.run import RunConfig
from bnsweep.nets.activation import ActivationLayer
from bnsweep.nets.dropout import Dropout
from bnsweep.nets.layer import Layer
from bnsweep.nets.linear import Linear
from bnsweep.nets.norm import Norm


def mlp(configs: Sequence[RunConfig]) -> list[Layer]:
    """The note's network, generalised: linear maps of `sizes`, and after each but the last BN and activation, in
    the order of `bn.placement`, then dropout."""
    sizes = configs[0].sizes
    places = {c.bn.placement for c in configs}
    dropout = any(c.model.dropout > 0 for c in configs)
    layers: list[Layer] = []
    for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True), start=1):
        hidden = i < len(sizes) - 1
        layers.append(Linear(i, n_in, n_out, hidden))
        if hidden:
            layers += [Norm(i, n_out, "before")] if "before" in places else []
            layers.append(ActivationLayer(i, n_out))
            layers += [Norm(i, n_out, "after")] if "after" in places else []
            layers += [Dropout(i, n_out)] if dropout else []
    return layers


def layers_of(configs: Sequence[RunConfig]) -> list[Layer]:
    """Of runs that share shapes. There is one family so far."""
    return mlp(configs)
