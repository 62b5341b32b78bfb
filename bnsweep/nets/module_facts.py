"""A network of the user's is tried before anything is trained: on a few samples, alone, and two members as one."""

from __future__ import annotations

import json
import random
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bnsweep.catalogue.own import is_own
from bnsweep.config.checks import ConfigError, check
from bnsweep.config.network import MOST_LAYERS, ActivationCalls, NetworkFacts
from bnsweep.config.run import RunConfig
from bnsweep.nets.engine import Engine
from bnsweep.nets.member_chance import DRAWS, MemberChance
from bnsweep.nets.module_checks import DIFFERENT, alike, check_calls
from bnsweep.nets.module_parts import KEY, Parts, build_module, generators_kept, seed_generators, taken_by
from bnsweep.nets.module_recorder import Called, Recorder
from bnsweep.nets.stack import Stack
from bnsweep.own.call import called, error_text
from bnsweep.own.functions import own_network

SAMPLES = 4
"""Of the data, that a network is tried on."""
DRAWS_TRIED = 16
"""Members of which a network whose way depends on random numbers is to call the same activations."""
NUMBERS = ("__bool__", "__int__", "__float__", "__index__", "item", "tolist", "numpy", "nonzero")
DECIDES = {getattr(Tensor, name) for name in NUMBERS} | {torch.nonzero}
"""Functions by which a module's way can depend on a tensor's numbers."""
OUTSIDE = "it draws from Python's or numpy's random numbers, of which vmap knows nothing"
REASONS = {
    "randomness error mode": "it draws random numbers where members cannot have their own, as does dropout inside of "
    "attention",
    "escaped from inside": "it keeps a tensor from one call to the next, which vmap takes for another's",
    "override the setup_context": "it has a torch.autograd.Function without setup_context and a rule for vmap",
}
"""What vmap says -> what it means here."""
CPU = torch.device("cpu")

Rows = Callable[[RunConfig], Tensor]
"""Some samples [B, D] of a run's data."""


def with_networks(configs: Iterable[RunConfig], rows: Rows) -> list[RunConfig]:
    """The runs, of which those with networks of the user's know the facts of these. Raises ConfigError for a network
    that cannot be trained, and where a setting does not fit it."""
    known: dict[str, NetworkFacts] = {}
    found = []
    for config in configs:
        if config.model.is_own and not config.model.is_tried:
            key = architecture(config)
            if key not in known:
                known[key] = facts_of(config, rows(config)[:SAMPLES])
            config = config.with_network(known[key])
        found.append(config)
    check_swept(found)
    return found


def architecture(config: RunConfig) -> str:
    """Equal where networks differ in nothing but the numbers that they start with; an init of the user's is tried with
    each."""
    own_init = config.init.name if is_own(config.init.name) else ""
    told = (config.model, config.activation, config.bn, config.norm, config.placement, config.train.dtype)
    return json.dumps([*map(repr, told), config.sample_shape, config.sizes, own_init])


def facts_of(config: RunConfig, x_BD: Tensor) -> NetworkFacts:
    """Raises ConfigError."""
    parts = Parts(config)
    module = build_module(config, parts)
    check_places(config, parts)
    dtype = getattr(torch, config.train.dtype)
    x = x_BD.to(dtype).nan_to_num().view(-1, *config.sample_shape)
    facts = Trial(config, module, x.clone()).facts()
    fixed = starts_fixed(config)
    check_calls(config, x)
    alone = why_alone(config.with_network(facts), x_BD.to(dtype).nan_to_num())
    return may_use(replace(facts, alone=alone, fixed=fixed), module) if alone else replace(facts, fixed=fixed)


def may_use(facts: NetworkFacts, module: nn.Module) -> NetworkFacts:
    """Of a network whose way may depend on numbers: what its trial left out may be used yet, and is trained."""
    parameters = tuple(
        (name, shape, is_trained or module.get_parameter(name).requires_grad)
        for name, shape, is_trained in facts.parameters
    )
    return replace(facts, parameters=parameters, leaves_out=facts.leaves_out or parameters != facts.parameters)


def starts_fixed(config: RunConfig) -> bool:
    """Whether a network starts with the same numbers whatever the seed. Refuses one whose parameters are others."""
    built = [build_module(replace(config, seed=seed)) for seed in (config.seed, (config.seed + 1) % 2**31)]
    one, other = (dict(module.named_parameters()) for module in built)
    shapes = [{name: p.shape for name, p in of.items()} for of in (one, other)]
    says = "a network whose parameters have the same names and shapes whatever the seed"
    check(shapes[0] == shapes[1], KEY, str(config.model.target), says)
    return all(torch.equal(p, other[name]) for name, p in one.items())


def check_places(config: RunConfig, parts: Parts) -> None:
    """Refuses a normalisation that the network places nowhere."""
    taken = "norm" in taken_by(own_network(str(config.model.target)))
    if taken and config.placement != "none":
        asked = f"was called for {' and '.join(sorted(parts.places))}" if parts.places else "is never called"
        says = f"none or a place that {config.model.target} asks `norm` for: norm(units, place) {asked}"
        check(config.placement in parts.places, "bn", config.placement, says)


@dataclass
class Trial:
    """One network, forward and back on a few samples."""

    config: RunConfig
    module: nn.Module
    x: Tensor
    saved: list[int] = field(default_factory=list)
    """Numbers in each tensor that autograd keeps of the samples."""
    alone: str = ""
    """Why members cannot be called as one, where the trial of one says it."""

    def facts(self) -> NetworkFacts:
        dotted, batch = str(self.config.model.target), len(self.x)
        parameters = dict(self.module.named_parameters())
        check(bool(parameters), KEY, dotted, "a module with parameters, has none")
        before = self.x.clone()
        with saved_tensors_hooks(self._save, lambda t: t):
            outputs, found, functions = self._forward(self.x)
        overwrites = not torch.equal(self.x, before)
        self._check_outputs(outputs)
        reached = self._reached(outputs)
        check(bool(reached), KEY, dotted, "a module whose outputs depend on a parameter that requires a gradient")
        draws = bool(functions & {*DRAWS})
        many = self.alone or (draws and functions & DECIDES)
        again, ways = self._again(before, DRAWS_TRIED if many else 1)
        reached = reached.union(*ways)
        calls = calls_of(found, again[0])
        unread = why_unread(calls, [found, *again])
        return NetworkFacts(
            takes=taken_by(own_network(dotted)),
            parameters=tuple((name, tuple(p.shape), id(p) in reached) for name, p in parameters.items()),
            calls=() if unread else calls,
            unread=unread,
            widest=max([*self.saved, outputs.numel()]) // batch,
            held=sum(self.saved) // batch,
            flops=self._flops() // batch,
            batch_norm=any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.module.modules()),
            chance=draws,
            leaves_out=any(way != reached for way in ways),
            convolves=F.conv2d in functions,
            attends=bool(functions & {F.scaled_dot_product_attention, F.multi_head_attention_forward}),
            overwrites=overwrites,
            fixed=False,
            alone=self.alone,
        )

    def _forward(self, x: Tensor, seed: int = 0) -> tuple[Any, list[Called], set[Any]]:
        """What it gives as a member of that seed, what its activations saw and gave, and the functions of torch's that
        it calls."""
        dotted, shape = str(self.config.model.target), " x ".join(map(str, x.shape))
        takes = called(KEY, dotted, f"a module that takes inputs of {shape}")
        with takes, generators_kept():
            seed_generators(seed)
            before = generators()
            with Listener(seed) as listener, Recorder() as recorder:
                outputs = self.module(x)
            self.alone = self.alone or (OUTSIDE if generators() != before else "")
        return outputs, recorder.calls, listener.functions

    def _again(self, x: Tensor, members: int) -> tuple[list[list[Called]], list[set[int]]]:
        """Of as many members, with a sample more: the calls of activations, and the parameters that gradients reach."""
        one_more, calls, ways = torch.cat([x, x[:1]]), [], []
        for seed in range(members):
            outputs, called_here, _ = self._forward(one_more.clone(), seed)
            calls.append(called_here)
            ways.append(self._reached(outputs))
        return calls, ways

    def _reached(self, outputs: Tensor) -> set[int]:
        """Ids of the parameters that a gradient reaches."""
        trained = [p for p in self.module.parameters() if p.requires_grad]
        if not (outputs.requires_grad and trained):
            return set()
        with called(KEY, str(self.config.model.target), "a module that autograd can go back through"):
            ways: Sequence[Tensor | None] = torch.autograd.grad(outputs.sum(), trained, allow_unused=True)
        return {id(p) for p, way in zip(trained, ways, strict=True) if way is not None}

    def _save(self, t: Tensor) -> Tensor:
        of_samples = t.shape[:1] == self.x.shape[:1] and t.data_ptr() != self.x.data_ptr()
        if of_samples and not isinstance(t, nn.Parameter):
            self.saved.append(t.numel())
        return t

    def _check_outputs(self, outputs: Any) -> None:
        dotted, wanted = str(self.config.model.target), self.config.data.facts.outputs
        if not isinstance(outputs, Tensor):
            raise ConfigError(f"{KEY}={dotted}: must be a module that gives a tensor, gives {type(outputs).__name__}")
        found, batch = tuple(outputs.shape), len(self.x)
        ok = found == (batch, wanted) or (wanted == 1 and found == (batch,))
        says = f"a module that gives {wanted} numbers a sample, as {self.config.task.name} wants: of {batch} samples it"
        check(ok, KEY, dotted, f"{says} gives {found}")
        says = f"a module that gives numbers of the kind it is given, {self.x.dtype}, as `.to(x.dtype)` does, gives"
        check(outputs.dtype == self.x.dtype, KEY, dotted, f"{says} {outputs.dtype}")

    def _flops(self) -> int:
        """Three times those forward; of a network that cannot be counted, those of its parameters."""
        from torch.utils.flop_counter import FlopCounterMode

        counter = FlopCounterMode(display=False)
        with suppress(Exception), torch.no_grad(), generators_kept(), counter:
            self.module.eval()(self.x.clone())
        least = 2 * len(self.x) * sum(p.numel() for p in self.module.parameters())
        return 3 * (int(counter.get_total_flops()) or least)


def calls_of(found: Sequence[Called], more: Sequence[Called]) -> ActivationCalls:
    """Of a pass, and of one with a sample more: tensors that grow by one have the samples first."""

    def sample(a: Tensor, larger: Tensor) -> tuple[int, ...] | None:
        of_samples = a.is_floating_point() and a.dim() > 0 and larger.shape == (len(a) + 1, *a.shape[1:])
        return tuple(a.shape[1:]) if of_samples else None

    return tuple((sample(one.a, larger.a), one.row) for one, larger in zip(found, more, strict=False))


def why_unread(calls: ActivationCalls, passes: Sequence[Sequence[Called]]) -> str:
    """Empty where activations can be read."""
    if len({tuple(one.row for one in called) for called in passes}) > 1:
        return "it calls other activations from pass to pass"
    if not calls:
        return "it calls none of torch's activations"
    if all(shape is None for shape, _ in calls):
        return "no activation that it calls sees the samples in its first dimension"
    many = len(calls) > MOST_LAYERS
    return f"it calls {len(calls):,} activations, and no more than {MOST_LAYERS:,} are read" if many else ""


def generators() -> tuple[object, ...]:
    """Where Python's and numpy's are."""
    of_numpy = np.random.get_state(legacy=False)
    return random.getstate(), of_numpy["state"]["key"].tobytes(), of_numpy["state"]["pos"], of_numpy["has_gauss"]


class Listener(MemberChance):
    """Notes which functions are called."""

    def __init__(self, seed: int) -> None:
        super().__init__(torch.tensor(seed), torch.zeros((), dtype=torch.long))
        self.functions: set[Any] = set()

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.functions.add(func)
        return super().__torch_function__(func, types, args, kwargs)


def why_alone(config: RunConfig, x_BD: Tensor) -> str:
    """Why members cannot be called as one; empty where they can: two of them then give what each gives alone."""
    runs = [replace(config, seed=seed) for seed in sorted({config.seed, (config.seed + 1) % 2**31})]
    alone = [run.with_network(replace(config.model.network, alone="to compare")) for run in runs]
    with called(KEY, str(config.model.target), "a module that can be called as a member"):
        wanted = pass_of(alone, x_BD)
    if config.model.network.alone:
        return config.model.network.alone
    try:
        with warnings.catch_warnings():
            # What vmap has no rule for, it calls member by member itself: that is slower than to do so.
            warnings.filterwarnings("error", message="There is a performance drop")
            found = pass_of(runs, x_BD)
    except Exception as error:
        said = error_text(error).removeprefix("RuntimeError: ").partition(". ")[0]
        without_rule = re.search(r"atching rule .*(aten::\w+)", said)
        known = [reason for words, reason in REASONS.items() if words in said]
        return f"torch.func has no batching rule for {without_rule[1]}" if without_rule else (*known, said)[0]
    far = [kind for kind in wanted if not alike(found[kind], wanted[kind], DIFFERENT[x_BD.dtype])]
    says = "alone: what differs between seeds has to be a parameter or a buffer, and modules in an nn.ModuleList"
    return f"as one they would differ in their {far[0]} from the same networks {says}" if far else ""


def pass_of(runs: Sequence[RunConfig], x_BD: Tensor) -> dict[str, list[Tensor]]:
    """What two passes forward and back in training mode, and one in eval mode, leave, by kind."""
    stack = Stack(runs, CPU)
    engine = Engine(stack)
    seeds = len(stack.data_seeds)
    x_GBD = x_BD.expand(seeds, *x_BD.shape).contiguous()
    found: dict[str, list[Tensor]] = {"outputs": [], "gradients": []}
    for step in (None, stack.t):
        outputs = engine.forward(x_GBD, step)
        # Another number for each sample and output: BN passes back nothing of what is the same for all samples.
        d = torch.arange(outputs.numel(), dtype=outputs.dtype).cos().view(outputs.shape)
        engine.backward(d, (lambda d: None) if step is None else None)
        found["outputs"].append(outputs.clone())
        found["gradients"].append(engine.gradients.flat.clone())
    engine.keep_buffers(None)
    return found | {"buffers": list(stack.buffers.values()), "outputs in eval mode": [engine.evaluate(x_GBD)]}


def check_swept(configs: Sequence[RunConfig]) -> None:
    """Refuses to sweep over what a network does not take."""
    by_target: dict[str, list[RunConfig]] = {}
    for config in configs:
        if config.model.is_own:
            by_target.setdefault(str(config.model.target), []).append(config)
    for target, runs in by_target.items():
        takes = runs[0].model.network.takes
        for key, part, value in SWEPT:
            values = list(dict.fromkeys(value(run) for run in runs))
            says = f"one value with model.target={target}, which takes no argument `{part}`"
            check(part in takes or len(values) < 2, key, ",".join(values), says)


SWEPT: tuple[tuple[str, str, Callable[[RunConfig], str]], ...] = (
    ("activation", "activation", lambda run: run.activation.name),
    ("init", "init", lambda run: run.init.name),
    ("bn", "norm", lambda run: run.normalisation),
    ("model.hidden", "sizes", lambda run: str(list(run.model.hidden))),
)
"""Setting, part of a network, and its value."""
