"""The runs of very many jobs, of which few are composed.

A group of a job's config depends on the overrides of that group alone, unless a choice reads or writes elsewhere or a
value refers to another; then every job is composed. So a few jobs that were composed hold the groups of all the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnsweep.config.checks import ConfigError
from bnsweep.config.fields import Checked
from bnsweep.config.run import RunConfig
from bnsweep.config.tree import GROUPS, check_typed, from_composed

if TYPE_CHECKING:
    from hydra_plugins.bnsweep.launcher import Jobs

Texts = tuple[str, ...]


class QuickRuns:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        counts = Counter(text for overrides in jobs.overrides for text in dict.fromkeys(overrides))
        self._varied = {text: group_of(text) for text, count in counts.items() if count < len(jobs)}
        self._apart = all(self._varied.values()) and jobs.are_apart(list(self._varied))
        self._groups: dict[tuple[str, Texts], Checked] = {}
        self._refused: dict[tuple[tuple[str, Texts], ...], list[str]] = {}
        """What was said of jobs that differ in their seed alone."""
        self._seed = 0

    def run(self, place: int) -> RunConfig:
        """Of the job at this place. Raises ConfigError, as composing it does."""
        check_typed(self._jobs.overrides[place])
        if not self._apart:
            return from_composed(self._jobs[place])
        own = self._own(self._jobs.overrides[place])
        seed = seed_in(own.pop("seed", ()))
        keys = {group: (group, own.get(group, ())) for group in GROUPS}
        if seed is None or any(key not in self._groups for key in keys.values()):
            run = self._composed(place, tuple(keys.values()), seed)
            self._groups |= {key: getattr(run, group) for group, key in keys.items()}
            if "seed" not in {*self._varied.values()}:
                self._seed = run.seed
            return run
        parts = {group: self._groups[key] for group, key in keys.items()}
        return RunConfig(**parts, seed=self._seed if seed < 0 else seed)  # type: ignore[arg-type]

    def _composed(self, place: int, keys: tuple[tuple[str, Texts], ...], seed: int | None) -> RunConfig:
        """Where a rule says the same of two seeds, the seed plays no part in it, and no third one is composed."""
        said = self._refused.setdefault(keys, [])
        if seed is not None and len(said) == 2 and said[0] == said[1]:
            raise ConfigError(said[0])
        try:
            return from_composed(self._jobs[place])
        except ConfigError as error:
            if len(said) < 2:
                said.append(str(error))
            raise

    def _own(self, overrides: Sequence[str]) -> dict[str, Texts]:
        """Group -> what this job, and not every job, sets in it."""
        found: dict[str, Texts] = {}
        for text in overrides:
            group = self._varied.get(text)
            if group:
                found[group] = (*found.get(group, ()), text)
        return found


NOT_VARIED = -1


def seed_in(texts: Texts) -> int | None:
    """NOT_VARIED where no text sets the seed; None where it is to be read by composing."""
    if not texts:
        return NOT_VARIED
    value = texts[-1].removeprefix("seed=")
    return int(value) if len(texts) == 1 and value.isdecimal() and value.isascii() and len(value) < 16 else None


def group_of(text: str) -> str:
    """Where an override sets something; empty where that is not told by its text."""
    key, _, value = text.partition("=")
    group = key.partition(".")[0]
    plain = "${" not in value and (group in GROUPS or key == "seed")
    return group if plain else ""
