"""Which runs of a sweep one of several machines trains: told by the runs alone, so that machines that know nothing of
one another agree."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from bnsweep.config.checks import check, shard_of
from bnsweep.config.identity import identity, numbers, stack_key
from bnsweep.config.run import RunConfig
from bnsweep.config.sweep import SweepConfig
from bnsweep.runs.plan import SPLIT_SEED_COST, flops_of


@dataclass(frozen=True)
class Share:
    """What this machine trains of a sweep."""

    whole: Sequence[RunConfig]
    """All of its runs."""
    jobs: list[int]
    """Places of this machine's among them."""
    identities: set[str]
    planned: set[str]
    """Identities of the whole sweep."""
    name: str
    """As in 2/5; empty where the sweep is not shared out."""

    @property
    def sweep(self) -> SweepConfig:
        return self.whole[0].sweep

    @property
    def configs(self) -> list[RunConfig]:
        return [self.whole[job] for job in self.jobs]

    def text(self) -> list[str]:
        if not self.name:
            return []
        return [f"sweep.shard={self.name}: {len(self.identities):,} of the {len(self.planned):,} runs of the sweep"]


@dataclass(frozen=True)
class Unit:
    """A run as it is shared out."""

    name: str
    """Its identity."""
    shape: str
    seed: int
    work: int


def share_of(configs: Sequence[RunConfig], sweep: SweepConfig) -> Share:
    """All runs where sweep.shard is null. Raises ConfigError for more shards than runs."""
    names = [identity(config) for config in configs]
    shard = shard_of(sweep.shard)
    if shard is None:
        return Share(configs, list(range(len(configs))), set(names), set(names), "")
    number, count = shard
    units = {name: unit(config, name) for config, name in zip(configs, names, strict=True)}
    says = f"of no more shards than the sweep has runs, which are {len(units):,}"
    check(count <= len(units), "sweep.shard", sweep.shard, says)
    mine = {one.name for one in shared_out([*units.values()], count)[number - 1]}
    jobs = [job for job, name in enumerate(names) if name in mine]
    return Share(configs, jobs, mine, set(names), str(sweep.shard))


def unit(config: RunConfig, name: str) -> Unit:
    shape = repr(stack_key(config, numbers(config)))
    return Unit(name, shape, config.data_seed, max(1, flops_of(config)))


def shared_out(units: Sequence[Unit], count: int) -> list[list[Unit]]:
    """Parts of about the same work, of neighbours in shape and then data seed: whole seeds where that comes out even,
    as they share their batches."""
    ordered = sorted(units, key=lambda one: (one.shape, one.seed, one.name))
    seeds = [list(same) for _, same in groupby(ordered, key=lambda one: (one.shape, one.seed))]
    even = cut([[one] for one in ordered], count)
    if len(seeds) < count:
        return even
    whole = cut(seeds, count)
    return whole if largest(whole) <= SPLIT_SEED_COST * largest(even) else even


def largest(parts: Sequence[Sequence[Unit]]) -> int:
    return max(sum(one.work for one in part) for part in parts)


def cut(pieces: Sequence[Sequence[Unit]], count: int) -> list[list[Unit]]:
    """Neighbouring pieces put together, none of the parts empty."""
    ends = list(accumulate(sum(one.work for one in piece) for piece in pieces))
    bounds = [0]
    for part in range(1, count):
        target = part * ends[-1] / count
        end = bisect_left(ends, target) + 1  # the first piece that reaches it is in
        if end > 1 and target - ends[end - 2] < ends[end - 1] - target:
            end -= 1
        bounds.append(min(max(end, bounds[-1] + 1), len(pieces) - (count - part)))
    bounds.append(len(pieces))
    return [[one for piece in pieces[start:end] for one in piece] for start, end in pairwise(bounds)]
