"""(f): JAX, jit of a scan over the steps of vmapped members, in fp32 at highest precision."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from bnsweep.config.run import RunConfig
from bnsweep.nets.activation import Activation
from bnsweep.nets.plain import build
from bnsweep.nets.pool import GlobalAverage
from tests.benchmarks.arm import Arm, NotRun
from tests.benchmarks.work import BATCH, Work


def activations(jax: Any) -> dict[str, Any]:
    return {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}


class Network:
    """One member as a function of its parameters."""

    def __init__(self, jax: Any, config: RunConfig) -> None:
        self.jax, self.eps = jax, config.bn.eps
        self.act = activations(jax)[config.activation.name]
        self.modules = dict(build(config).named_children())

    def loss(self, trained: Any, fixed: Any, x: Any, y: Any) -> Any:
        """Its batch statistics come beside it."""
        p, stats = {**trained, **fixed}, dict[str, Any]()
        for name, module in self.modules.items():
            x = self.run(module, name, x, p, stats)
        chosen = self.jax.numpy.take_along_axis(self.jax.nn.log_softmax(x), y[:, None], axis=1)
        return -chosen.mean(), stats

    def run(self, module: nn.Module, name: str, x: Any, p: Any, stats: Any) -> Any:
        lax = self.jax.lax
        match module:
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                return self.norm(x, name, p, stats)
            case nn.Linear():
                return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]
            case nn.Conv2d():
                pads = [(int(size), int(size)) for size in module.padding]
                y = lax.conv_general_dilated(x, p[f"{name}.weight"], module.stride, pads)
                return y + p[f"{name}.bias"].reshape(-1, 1, 1)
            case nn.Unflatten():
                return x.reshape(len(x), *module.unflattened_size)
            case nn.MaxPool2d():
                window = (1, 1, *module.kernel_size)  # type: ignore[misc]
                return lax.reduce_window(x, -self.jax.numpy.inf, lax.max, window, window, "VALID")
            case GlobalAverage():
                return x.mean((2, 3))
        assert isinstance(module, Activation)
        return self.act(x)

    def norm(self, h: Any, name: str, p: Any, stats: Any) -> Any:
        over = tuple(axis for axis in range(h.ndim) if axis != 1)
        n, column = h.size // h.shape[1], (-1, *[1] * (h.ndim - 2))
        mean, variance = h.mean(over), h.var(over)
        stats[f"{name}.running_mean"] = mean
        stats[f"{name}.running_var"] = variance * (n / (n - 1))
        scale = self.jax.lax.rsqrt(variance + self.eps) * p[f"{name}.weight"]
        return (h - mean.reshape(column)) * scale.reshape(column) + p[f"{name}.bias"].reshape(column)


class Jax(Arm):
    label = "(f) JAX jit(scan(vmap))"

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # else it takes three quarters of a GPU's memory
        try:
            import jax
        except ImportError as error:
            raise NotRun(f"JAX is not installed ({error})") from None
        if work.device.type == "cuda" and jax.default_backend() != "gpu":
            raise NotRun("this JAX has no GPU backend")
        self.jax = jax
        jax.config.update("jax_default_matmul_precision", "highest")
        self.groups = work.groups()
        self.seeds = sorted({c.data_seed for c in work.configs})
        self.x, self.y = jax.numpy.asarray(work.dataset.x_ND.numpy()), jax.numpy.asarray(work.dataset.y_N.numpy())
        self.states = [self.initial(members) for members in self.groups]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backend that cannot reuse donated buffers says so
            self.run = jax.jit(self.program(), donate_argnums=0)
        self.note = f"{len(self.groups)} groups of equal architecture, JAX {jax.__version__}"

    def initial(self, members: Sequence[int]) -> dict[str, Any]:
        """Stacked arrays of one group: trained, fixed, buffers and learning rates."""
        models = [build(self.configs[i]) for i in members]
        free = {name for name, p in models[0].named_parameters() if p.requires_grad}
        values: dict[str, dict[str, Any]] = {"trained": {}, "fixed": {}, "buffers": {}}
        for name in models[0].state_dict():
            kind = "trained" if name in free else "buffers" if "running" in name else "fixed"
            if not name.endswith("num_batches_tracked"):
                stacked = np.stack([m.state_dict()[name].numpy() for m in models])
                values[kind][name] = self.jax.numpy.asarray(stacked)
        lr = np.array([self.configs[i].lr.value for i in members], np.float32)
        return {**values, "lr": self.jax.numpy.asarray(lr)}

    def program(self) -> Any:
        jax = self.jax
        configs = [self.configs[members[0]] for members in self.groups]
        places = [self.seeds.index(c.data_seed) for c in configs]
        gradients = [
            jax.vmap(jax.grad(Network(jax, c).loss, has_aux=True), in_axes=(0, 0, None, None)) for c in configs
        ]

        def update(config: RunConfig, gradient: Any, state: Any, x: Any, y: Any) -> Any:
            g, stats = gradient(state["trained"], state["fixed"], x, y)
            lr, m = state["lr"], config.bn.momentum
            moved = {n: p - lr.reshape(-1, *[1] * (p.ndim - 1)) * g[n] for n, p in state["trained"].items()}
            buffers = {n: (1 - m) * b + m * stats[n] for n, b in state["buffers"].items()}
            return {**state, "trained": moved, "buffers": buffers}

        def epoch(states: Any, x: Any, y: Any, rows_SGB: Any) -> Any:
            def step(states: Any, rows_GB: Any) -> Any:
                batches = [(x[rows], y[rows]) for rows in rows_GB]
                each = zip(configs, gradients, states, places, strict=True)
                return [update(c, g, state, *batches[i]) for c, g, state, i in each], None

            return jax.lax.scan(step, states, rows_SGB)[0]

        return epoch

    def epoch(self, number: int) -> None:
        one_of = {c.data_seed: c for c in self.configs}
        orders = torch.stack([self.work.order(one_of[seed], number) for seed in self.seeds])
        rows_SGB = orders.view(len(self.seeds), -1, BATCH).transpose(0, 1).int().numpy()
        self.states = self.jax.block_until_ready(self.run(self.states, self.x, self.y, rows_SGB))

    @property
    def device_bytes(self) -> int:
        return int(self.jax.devices()[0].memory_stats()["peak_bytes_in_use"])

    def models(self, members: Sequence[int]) -> list[nn.Sequential | None]:
        return [self.export(i) for i in members]

    def export(self, i: int) -> nn.Sequential:
        group = next(g for g, members in enumerate(self.groups) if i in members)
        k, model = self.groups[group].index(i), build(self.configs[i])
        state = {n: v for kind in ("trained", "fixed", "buffers") for n, v in self.states[group][kind].items()}
        known = {name: torch.from_numpy(np.array(value[k])) for name, value in state.items()}
        model.load_state_dict({**model.state_dict(), **known})
        return model
