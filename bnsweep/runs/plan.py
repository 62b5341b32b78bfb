"""What a sweep will do before it does it: what is done, what is left, which runs train together, what it will take."""

from __future__ import annotations

import heapq
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby, pairwise
from types import MappingProxyType

import torch

from bnsweep.catalogue.own import is_own
from bnsweep.config.checks import check
from bnsweep.config.identity import identity, numbers, stack_key
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.nets.activation import has_kernels
from bnsweep.nets.families import layers_of
from bnsweep.nets.module_calls import why_alone
from bnsweep.nets.stack import lies_inside
from bnsweep.runs.checkpoints import Begun, begun_stacks, steps_of
from bnsweep.runs.machine import worker_count
from bnsweep.runs.memory import (
    WORKER_BYTES,
    activation_bytes,
    batch_size,
    fixed_bytes,
    history_bytes,
    input_bytes,
    member_bytes,
    parameter_bytes,
    stack_bytes,
)
from bnsweep.runs.resources import Resources, this_machine
from bnsweep.training.device import describe_device

CACHE_BYTES = 32 * 2**20
"""What a stack works on in one step on a CPU at most, about. Larger stacks leave the caches and gain nothing."""

FEWEST_IMAGES = 4
"""Members of a stack of convolutional networks that pay whatever the cache holds: their first layer is one product."""

SMALL_STEP = 20e6
"""Floating-point operations of a step that keep one core busy about as long as its operators take to be called: runs
that come to less together are not split among cores."""

SMALL_SWEEP = 3e10
"""Floating-point operations of runs that are over about as soon in this process as others could be started for them."""

ROUNDS = 4
"""Stacks that each worker trains one after the other, at most, where shapes are shared out among workers."""

SPLIT_SEED_COST = 1.1
"""What stacks may take, as a share, that split the runs of one data seed: each more seed in a stack costs 1 to 2 %."""

MEMORY_SHARE = 0.5
"""Share of the free memory that a stack may plan to use."""


@dataclass
class Plan:
    """Jobs by their place in the list of configs."""

    configs: list[RunConfig]
    identities: list[str]
    done: set[str]
    """Identities that need no training."""
    stacks: list[list[int]]
    """Jobs that train together, in order; one job for each identity that is left."""
    bytes: int
    """Memory of the largest stack, estimated."""
    device: torch.device
    workers: int
    """Stacks trained at a time."""
    where: str = ""
    """What trains them, in words, where it is not this machine."""
    begun: dict[int, int] = field(default_factory=dict)
    """Of stacks that go on from a checkpoint: first job -> step."""

    @property
    def runs(self) -> int:
        """Runs that differ; jobs that mean the same run are trained once."""
        return len(set(self.identities))

    @property
    def left(self) -> int:
        return sum(len(stack) for stack in self.stacks)

    @property
    def combinations(self) -> int:
        """Combinations of everything but the seeds."""
        seeds = ("seed", "data.seed")
        return len({tuple(item for item in numbers(c).items() if item[0] not in seeds) for c in self.configs})


def describe(plan: Plan) -> str:
    """The plan in words, with what `auto` chose."""
    left = [plan.configs[job] for stack in plan.stacks for job in stack]
    sizes = Counter(len(stack) for stack in plan.stacks)
    stacks = ", ".join(f"{n} of {size}" for size, n in sorted(sizes.items(), reverse=True)) or "none"
    doubles = len(plan.configs) - plan.runs
    lines = [
        f"plan: {plan.combinations} combinations, {plan.runs} runs, {len(plan.done)} already done, {plan.left} left"
        + (f" ({doubles} jobs mean the same run as another)" if doubles else ""),
        f"on {plan.where or describe_device(plan.device)}, {plan.workers} at a time; stacks: {stacks}"
        + (f"; largest about {plan.bytes / 2**20:.0f} MiB" if plan.stacks else ""),
    ]
    lines += [describe_begun(plan)] if plan.begun else []
    activations = {c.activation.name for c in left if not c.model.is_own or "activation" in c.model.network.takes}
    slow = ", ".join(sorted(name for name in activations if not has_kernels(name)))
    lines += [f"without kernels, so trained by autograd, which is slower: {slow}"] if slow else []
    own = ", ".join(sorted(filter(is_own, activations)))
    lines += [f"not read of {own}: saturation and dead units, which are known of the catalogue's alone"] if own else []
    orders = {lies_inside(c, plan.device) for c in left if c.model.is_convolutional}
    side_by_side = " or ".join(("positions", "channels")[inside] for inside in sorted(orders))
    lines += [f"convolutions: member by member, {side_by_side} side by side in memory"] if orders else []
    networks = {config.model.target: config.model for config in left if config.model.is_own}
    lines += [line for model in networks.values() for line in describe_network(model, plan.device)]
    return "\n".join(lines)


def describe_begun(plan: Plan) -> str:
    """Which stacks go on from where."""
    counts = Counter((step, plan.configs[job].total_steps) for job, step in plan.begun.items())
    parts = [f"{n} from step {step:,} of {total:,}" for (step, total), n in sorted(counts.items(), reverse=True)]
    shown = ", ".join(parts[:3]) + (f", {sum(list(counts.values())[3:])} from elsewhere" if len(parts) > 3 else "")
    return f"stacks that go on from checkpoints: {shown}"


def describe_network(model: ModelConfig, device: torch.device) -> list[str]:
    """What is to be known of a network of the user's."""
    target, facts, read = model.target, model.network, model.layers
    parts = {"activation": "activation", "norm": "bn", "init": "init", "sizes": "model.hidden"}
    unused = ", ".join(setting for part, setting in parts.items() if part not in facts.takes)
    lines = [f"{target} takes {', '.join(facts.takes) or 'no argument of ours'}"]
    lines[0] += f"; settings that say nothing about it: {unused}" if unused else ""
    if read:
        lines += [f"{target}: layer metrics are those of its {read} activation{'s' * (read > 1)}, none of its weights"]
    else:
        lines += [f"{target}: no layer metrics, as {facts.unread}"]
    lines += [f"{target} starts with the same parameters whatever the seed"] if facts.fixed else []
    if facts.leaves_out:
        says = "parameters that a step leaves out have a gradient of 0 in it; torch's optimizers would let them rest"
        lines += [f"{target}: {says}"]
    alone = why_alone(facts, device)
    return lines + ([f"{target} trains one by one: {alone}"] if alone else [])


def step_flops(config: RunConfig) -> int:
    """Multiplications and additions of a sample's way forward and back."""
    return sum(layer.flops for layer in layers_of([config]))


def flops_of(config: RunConfig) -> int:
    """Of a run's steps."""
    return step_flops(config) * batch_size(config) * config.total_steps


def stack_limit(config: RunConfig, runs: int, resources: Resources, parts: int | None = None) -> int:
    """Most members of a stack of `runs` wanted: what the free memory allows, what leaves something to do for every
    worker, or for as many `parts`, and, on a CPU, what its cache does; never more than max_stack. ConfigError where not
    even one run fits."""
    device, workers, free = resources.device, resources.workers, resources.free
    one = stack_bytes([config])
    says = f"smaller: a run takes about {one / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"
    key, value = "model.hidden", str(list(config.model.hidden))
    if config.model.is_own:
        key, value = "model.target", str(config.model.target)
    if config.model.is_convolutional:
        key, value = f"model.channels={list(config.model.channels)} with model.blocks", str(config.model.blocks)
    if batch_size(config) > config.data.train_size:
        key, value = "train.batch_size", str(config.train.batch_size)
    elif config.model.family == "mlp" and config.model.depth is not None:
        key = f"model.depth={config.model.depth} with model.hidden"
    check(one <= free, key, value, says)
    each = member_bytes(config) + history_bytes(config) + input_bytes(config)
    here = WORKER_BYTES if device.type == "cpu" and workers == 1 else 0  # it trains in this process, which has them
    fits = max(1, int((MEMORY_SHARE * resources.each - fixed_bytes(config, device) + here) // each))
    limits = [fits, config.sweep.max_stack or fits]
    if device.type == "cpu":
        each = parameter_bytes(config) + activation_bytes(config, batch_size(config))
        few = math.ceil(SMALL_STEP / (step_flops(config) * batch_size(config)))
        pays = FEWEST_IMAGES if config.model.is_convolutional else 1
        limits += [max(pays, CACHE_BYTES // each), max(few, math.ceil(runs / (parts or workers)))]
    elif workers > 1:
        limits.append(math.ceil(runs / (parts or workers)))
    return min(limits)


def workers_for(configs: Sequence[RunConfig], device: torch.device) -> int:
    """Stacks to train at a time where nobody has said: one where these runs are a small sweep. OMP_NUM_THREADS says."""
    work = accumulate(map(flops_of, configs))
    is_small = "OMP_NUM_THREADS" not in os.environ and not any(done > SMALL_SWEEP for done in work)
    return 1 if is_small else worker_count(device)


def check_memory(configs: Sequence[RunConfig], device: torch.device, free: int | None = None) -> None:
    """Refuses (ConfigError) runs that could not be trained even one at a time in `free` bytes, by default what is free
    now."""
    one_at_a_time = this_machine(device, 1, free)
    for config in {stack_key(config): config for config in configs}.values():
        stack_limit(config, 1, one_at_a_time)


def make_plan(
    configs: Sequence[RunConfig],
    done: Collection[str],
    device: torch.device,
    workers: int | None = None,
    free: int | None = None,
    checkpoints: Iterable[Begun] = (),
    restack: bool = False,
) -> Plan:
    """A plan for this machine: see `plan_on` and `this_machine`."""
    return plan_on(configs, done, this_machine(device, workers, free), checkpoints, restack)


def plan_on(
    configs: Sequence[RunConfig],
    done: Collection[str],
    resources: Resources,
    checkpoints: Iterable[Begun] = (),
    restack: bool = False,
) -> Plan:
    """Stack the runs that are left: equal shapes together, whole data seeds together where they fit, in given order.

    `done`: identities that need no training. `checkpoints`: what runs go on from, in the stacks that they were in, or
    with `restack` in new ones of runs that stand at one step.
    """
    workers = resources.workers
    if resources.device.type == "cpu":
        workers = min(workers, resources.holds(WORKER_BYTES / MEMORY_SHARE))
    resources = replace(resources, workers=max(1, workers))
    identities: list[str] = []
    first: dict[str, int] = {}
    by_shape: dict[tuple[object, ...], list[int]] = {}
    held = list(checkpoints)
    stands = steps_of(held)
    for job, config in enumerate(configs):
        flat = numbers(config)
        name = identity(config, flat)
        identities.append(name)
        if name not in done and first.setdefault(name, job) == job:
            by_shape.setdefault((*stack_key(config, flat), stands.get(name, 0)), []).append(job)
    going_on = [] if restack else begun_stacks(by_shape, identities, held, configs[0].sweep.max_stack)
    stacks = [*going_on, *fastest([*by_shape.values()], configs, resources)]
    begun = {stack[0]: stands[identities[stack[0]]] for stack in stacks if identities[stack[0]] in stands}
    largest = max((stack_bytes([configs[job] for job in stack]) for stack in stacks), default=0)
    workers = max(1, min(resources.workers, len(stacks), resources.holds(largest + WORKER_BYTES)))
    # Several workers are through together if what takes longest comes first.
    stacks.sort(key=lambda stack: (-cost(stack, configs, begun) if workers > 1 else 0, min(stack)))
    over, device, where = set(done) & set(identities), resources.device, resources.where
    return Plan(list(configs), identities, over, stacks, largest, device, workers, where, begun)


def fastest(shapes: Sequence[Sequence[int]], configs: Sequence[RunConfig], resources: Resources) -> list[list[int]]:
    """Stacks of the jobs of each shape. Shapes are split among workers, each by its share of all the work, so that a
    worker has one stack, or more where all are through earlier by it."""
    workers = resources.workers
    work = [len(jobs) * flops_of(configs[jobs[0]]) for jobs in shapes]
    total = sum(work) or 1  # runs of no epochs have none
    ways: list[list[list[int]]] = []
    for rounds in range(1, (ROUNDS if workers > 1 and len(shapes) > 1 else 1) + 1):
        stacks: list[list[int]] = []
        for jobs, its in zip(shapes, work, strict=True):
            parts = max(1, min(workers, round(rounds * workers * its / total)))
            limit = stack_limit(configs[jobs[0]], len(jobs), resources, parts)
            stacks += pack(jobs, configs, limit, parts)
        ways.append(stacks)
    return min(ways, key=lambda stacks: makespan([cost(stack, configs) for stack in stacks], workers))


def cost(stack: Sequence[int], configs: Sequence[RunConfig], begun: Mapping[int, int] = MappingProxyType({})) -> float:
    """Of its training, in floating-point operations: those of its steps that are left, and what could be done while
    operators are called."""
    config = configs[stack[0]]
    left = 1 - begun.get(stack[0], 0) / max(1, config.total_steps)
    return left * (len(stack) * flops_of(config) + SMALL_STEP * config.total_steps)


def makespan(costs: Sequence[float], workers: int) -> float:
    """When all are through, if each worker takes the largest that is left as soon as it can."""
    ends = [0.0] * workers
    for each in sorted(costs, reverse=True):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def pack(jobs: Sequence[int], configs: Sequence[RunConfig], limit: int, workers: int = 1) -> list[list[int]]:
    """Stacks of at most `limit` jobs, about equal, where possible as many as keep all workers busy to the end. The jobs
    of one data seed share their batches, hence one wide product in layer 1: a seed is split where it is too large, or
    where workers would stand idle otherwise."""
    by_seed = sorted(jobs, key=lambda job: configs[job].data_seed)
    seeds = with_whole_seeds(by_seed, configs, limit, workers)
    n = math.ceil(len(jobs) / limit)
    even = slices(by_seed, math.ceil(n / workers) * workers if n > workers else n)
    seeds_end, even_end = (makespan([*map(len, stacks)], workers) for stacks in (seeds, even))
    return even if SPLIT_SEED_COST * even_end < seeds_end else seeds


def slices(jobs: Sequence[int], n: int) -> list[list[int]]:
    """About equal ones, in order."""
    ends = [len(jobs) * i // n for i in range(n + 1)]
    return [list(jobs[start:end]) for start, end in pairwise(ends)]


def with_whole_seeds(by_seed: Sequence[int], configs: Sequence[RunConfig], limit: int, workers: int) -> list[list[int]]:
    pieces: list[list[int]] = []
    for _, group in groupby(by_seed, key=lambda job: configs[job].data_seed):
        same = list(group)
        pieces += slices(same, math.ceil(len(same) / limit))
    rounds = math.ceil(len(by_seed) / (limit * workers))
    while workers * rounds < len(pieces):
        stacks = joined(pieces, workers * rounds)
        if max(map(len, stacks)) <= limit:
            return stacks
        rounds += 1
    return pieces


def joined(pieces: Sequence[list[int]], n: int) -> list[list[int]]:
    """Neighbouring pieces joined to at most n lists of about equal length."""
    stacks: list[list[int]] = [[] for _ in range(n)]
    total, before = sum(map(len, pieces)), 0
    for piece in pieces:
        stacks[int((before + len(piece) / 2) * n / total)] += piece
        before += len(piece)
    return [stack for stack in stacks if stack]
