"""A sweep that adds seeds until its claims are decided: batch by batch of whole seeds, with a look after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnsweep.config.run import RunConfig
from bnsweep.inference import Look

if TYPE_CHECKING:
    from bnsweep.store.sweep_data import SweepFrame


@dataclass(frozen=True)
class Looking:
    """When a sweep is looked at, and what ends it."""

    looks: Sequence[Look]
    is_over: Callable[[SweepFrame], bool]
    """Told of the sweep up to a look: whether its claims are decided, which it says."""

    def batches(self, configs: Sequence[RunConfig]) -> Iterator[list[RunConfig]]:
        """The runs that are to be over at each look, those of earlier looks among them."""
        rank = {seed: place for place, seed in enumerate(sorted({config.seed for config in configs}))}
        for look in self.looks:
            yield [config for config in configs if rank[config.seed] < look.seeds]

    def text(self, configs: Sequence[RunConfig]) -> str:
        """The schedule, and how many runs it may come to."""
        least, most = len(next(self.batches(configs))), len(configs)
        seeds = [str(look.seeds) for look in self.looks]
        after = f"{', '.join(seeds[:-1])} and {seeds[-1]}" if len(seeds) > 1 else seeds[0]
        runs = f"{least:,} runs at the least, {most:,} at the most" if least < most else f"{most:,} runs"
        return f"seed=auto: a look at the claims after {after} seeds; {runs}"
