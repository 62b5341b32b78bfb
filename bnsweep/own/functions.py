"""Activations and inits of the user's, by dotted path: imported once, and tried on small tensors before anything is
trained."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from bnsweep.catalogue.own import is_own, title_of
from bnsweep.config.checks import ConfigError, check
from bnsweep.config.run import RunConfig
from bnsweep.own.call import called, function_named
from bnsweep.own.source import digest_of

Activate = Callable[[Tensor], Tensor]
Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]

ACTIVATION = "a function of a tensor, element by element, that can be called"
NETWORK = "a class or function that gives a torch.nn.Module, and can be called"
INIT = "a function of (shape, generator) that can be called"
EXACT = 1e-12
"""Relative, float64: by how much a function that vectorises may differ between shapes."""


@cache
def own_activation(dotted: str) -> Activate:
    """As autograd can follow it. A class of torch modules without parameters will do. Raises ConfigError."""
    key = "activation.name"
    with called(key, dotted, ACTIVATION):
        found: Any = function_named(dotted)
        module = found() if isinstance(found, type) and issubclass(found, nn.Module) else None
    if module is not None:
        says = f"without parameters, of which {dotted} has some: networks with such activations are for model=module"
        check(not any(True for _ in module.parameters()), key, dotted, says)
        found = module.eval()
    check(callable(found), key, dotted, f"{ACTIVATION}, is {type(found).__name__}")
    activate: Activate = found
    _try_activation(dotted, activate)
    return activate


def _try_activation(dotted: str, activate: Activate) -> None:
    a = torch.linspace(-3, 3, 48, dtype=torch.float64)
    key, given, leaf = "activation.name", a.clone(), a.clone().requires_grad_()
    with called(key, dotted, ACTIVATION), torch.no_grad():
        results = [activate(x.clone()) for x in (a, a, a.float(), a.view(2, 3, 4, 2), a.flip(0), a[:1], a[5:6])]
        activate(given)
    check(torch.equal(given, a), key, dotted, "a function that leaves its input as it is, overwrites it")
    with called(key, dotted, ACTIVATION), torch.enable_grad():
        h = activate(leaf.view(4, 12))
    for result, shape, kind in zip(results, SHAPES, KINDS, strict=True):
        found = _check_tensor(key, dotted, result, shape).dtype
        check(found == kind, key, dotted, f"such that it keeps the kind of numbers: of {kind} it gives {found}")
    h1, h2, _, h4, back, first, sixth = results
    check(bool((h1 - h1 == 0).all()), key, dotted, "finite between -3 and 3, gives NaN or infinity there")
    check(torch.equal(h1, h2), key, dotted, "a function of its input alone: twice called, it gives two results")
    same = ((h1, h4.flatten()), (h1, back.flip(0)), (h1[:1], first), (h1[5:6], sixth))
    alone = all(torch.allclose(x, y, rtol=EXACT, atol=EXACT) for x, y in same)
    check(alone, key, dotted, "element by element: what it gives for a number depends on other numbers or on its place")
    _check_gradient(key, dotted, h, leaf)


SHAPES = ((48,), (48,), (48,), (2, 3, 4, 2), (48,), (1,), (1,))
KINDS = (torch.float64, torch.float64, torch.float32, *[torch.float64] * 4)


def _check_tensor(key: str, dotted: str, result: object, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(result, Tensor):
        raise ConfigError(f"{key}={dotted}: must give a tensor, gives {type(result).__name__}")
    found = tuple(result.shape)
    check(found == shape, key, dotted, f"such that it gives the shape it is asked for: of {shape} it gives {found}")
    return result


def _check_gradient(key: str, dotted: str, h: Tensor, leaf: Tensor) -> None:
    slope = None
    if h.requires_grad:
        with called(key, dotted, "differentiable by torch's autograd"):
            (slope,) = torch.autograd.grad(h.sum(), leaf, allow_unused=True)
    if slope is None:
        says = "differentiable by torch's autograd, which finds no way from its output to its input"
        raise ConfigError(f"{key}={dotted}: must be {says}")
    ok = bool((slope - slope == 0).all())
    check(ok, key, dotted, "a function whose gradient is finite between -3 and 3, is NaN or infinite there")
    check(bool((slope != 0).any()), key, dotted, "a function whose gradient is not 0 everywhere between -3 and 3")


@cache
def own_init(dotted: str, dimensions: int) -> Draw:
    """For weights of so many dimensions. Raises ConfigError."""
    key = "init.name"
    with called(key, dotted, INIT):
        found: Any = function_named(dotted)
    check(callable(found), key, dotted, f"{INIT}, is {type(found).__name__}")
    of = "linear layers" if dimensions == 2 else "convolutions"
    tried = [((*shape, *[3] * (dimensions - 2)), seed) for shape, seed in TRIED]
    with called(key, dotted, f"{INIT} for the {dimensions} dimensions that weights of {of} have,"):
        results = [found(shape, torch.Generator().manual_seed(seed)) for shape, seed in tried]
    for result, (shape, _) in zip(results, tried, strict=True):
        given = _check_tensor(key, dotted, result, shape)
        says = f"such that it gives floating-point numbers, gives {given.dtype}"
        check(given.is_floating_point(), key, dotted, says)
        check(bool((given - given == 0).all()), key, dotted, "finite, gives NaN or infinity")
    says = "such that it draws from the generator alone: of two with one seed it gives two results"
    check(torch.equal(results[0], results[1]), key, dotted, says)
    draw: Draw = found
    return draw


TRIED = (((7, 5), 1), ((7, 5), 1), ((3, 11), 2))
"""Outputs and inputs, and seeds."""


@cache
def own_network(dotted: str) -> Callable[..., Any]:
    """What is to give a torch module; what it gives, `nets.module_facts` tries. Raises ConfigError."""
    with called("model.target", dotted, NETWORK):
        found: Callable[..., Any] = function_named(dotted)
    check(callable(found), "model.target", dotted, f"{NETWORK}, is {type(found).__name__}")
    return found


def _init_of(config: RunConfig) -> None:
    """A network of the user's asks for the shapes that it has when it is tried."""
    for dimensions in () if config.model.is_own else (2, 4) if config.model.is_convolutional else (2,):
        own_init(config.init.name, dimensions)


READERS: dict[str, Callable[[RunConfig], object]] = {
    "activation": lambda config: own_activation(config.activation.name),
    "init": _init_of,
    "model": lambda config: own_network(str(config.model.target)),
}
"""Group -> what imports and tries the function that a run names there."""


def with_sources(config: RunConfig) -> RunConfig:
    """The run, which knows the digests of the user's code that it names. Raises ConfigError for code that cannot be
    had or is refused, and for a run that was recorded with another text of it."""
    found: dict[str, str | None] = {}
    for group in config.own_code:
        READERS[group](config)
        found[group] = _unchanged(config, group)
    return config.with_sources(found)


def check_names(configs: Collection[RunConfig]) -> None:
    """Refuses two functions of one name in a sweep: reports leave the module out."""
    named: dict[tuple[str, str], str] = {}
    for config in configs if any(config.own_code for config in configs) else ():
        chosen = {"activation": config.activation.name, "init": config.init.name} | config.own_code
        for group, name in chosen.items():
            other = named.setdefault((group, title_of(name) if is_own(name) else name), name)
            own, key = (name if is_own(name) else other), "model.target" if group == "model" else f"{group}.name"
            says = f"of another name than {other if own == name else name}, as reports leave the module out"
            check(other == name, key, own, says)


def check_unchanged(configs: Collection[RunConfig]) -> None:
    """Refuses runs whose code has changed since they were planned; for the process that is to train them."""
    for config in configs:
        for group in config.own_code:
            _unchanged(config, group)


def _unchanged(config: RunConfig, group: str) -> str | None:
    """Digest of the code that this process has imported, or will."""
    name, source = config.own_code[group], getattr(config, group).source
    found = digest_of(name)
    says = f"{found}: the text of {name} has changed since this run was made"
    check(source in (None, found), f"{group}.source", source, says)
    return found
