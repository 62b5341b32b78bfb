"""The runs of a sweep, batch by batch: what is done already, what is planned, who else trains any of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bnsweep.config.run import RunConfig
from bnsweep.config.sweep import SweepConfig
from bnsweep.records import FINISHED
from bnsweep.runs.checkpoints import Checkpoints, tidy
from bnsweep.runs.conduct import Before, Setting, conduct
from bnsweep.runs.end_watch import EndWatch
from bnsweep.runs.ledger import RunResult, SweepResult, describe_shards, together
from bnsweep.runs.place import Planned, Start
from bnsweep.runs.seed_batches import Looking
from bnsweep.runs.shards import Share
from bnsweep.runs.stopped import stopped_before
from bnsweep.runs.strategies import price
from bnsweep.store.claims import Claim, check_same_sweep, wait_for_turn
from bnsweep.store.store import Done, Manifest, Store


@dataclass(frozen=True)
class Batches:
    """The runs of a sweep, in the batches in which they are planned and trained: one, unless it adds seeds."""

    share: Share
    earlier: Sequence[RunConfig]
    """Of the same sweep, trained before."""
    command: str | None
    """None for a sweep without a run of its own in MLflow."""
    looking: Looking | None
    searched: Sequence[str]
    """Settings whose values a sampler chooses: the runs are a part of those that the sweep comes to have."""
    before: Before
    checkpoints: Checkpoints | None

    def __iter__(self) -> Iterator[Sequence[RunConfig]]:
        return self.looking.batches(self.share.configs) if self.looking else iter([self.share.configs])

    @property
    def notes(self) -> list[str]:
        looks = [self.looking.text(self.share.configs)] if self.looking else []
        return [*looks, *self.share.text(), *price(self.share.sweep)]

    def manifest(self, batch: Sequence[RunConfig]) -> Manifest | None:
        """Of the sweep up to this batch."""
        if self.command is None:
            return None
        looks = self.looking.looks if self.looking else ()
        planned, sweep_id = batch if self.looking else self.share.whole, batch[0].sweep.id
        return Manifest.of([*self.earlier, *planned], sweep_id, self.command, looks, self.searched)

    def are_over(self, store: Store, result: SweepResult) -> bool:
        """Whether there is no need of another batch."""
        return self.looking is None or self.looking.is_over(store.load(result.sweep.id, result.own_run))

    def check_id(self, store: Store) -> None:
        """Refuses (ConfigError) the id of another sweep."""
        if not self.earlier:
            part, whole = bool(self.searched), self.command is not None
            most = part or self.looking is not None
            store.check_id(self.share.sweep.id, self.share.planned, whole=whole and not part, most=most)


def train_batches(batches: Batches, store: Store, start: Start, planned: Planned) -> SweepResult:
    """Train and log one batch after the other."""
    share, sweep, checkpoints = batches.share, batches.share.sweep, batches.checkpoints
    batches.check_id(store)
    parts: list[SweepResult] = []
    former = batches.before.own_run
    results: dict[str, RunResult] = {}
    with EndWatch() as watch, store.claimed(share.identities, sweep.id, share.planned) as claim:
        setting = Setting(store, start, planned, checkpoints, batches.before, partial(watch.begin, store, claim))
        for batch in batches:
            stopped = partial(stopped_before, store, batch)
            done = done_at_turn(store, claim, sweep, batches.command is not None, stopped)
            over = {*results} if sweep.rerun else {*results, *done}
            if checkpoints is not None and not parts:
                tidy(checkpoints, over, share.identities)
            current = conduct(planned(batch, over), setting, claim, done, results, batches.manifest(batch))
            results, result = current.results, current.result()
            if former:
                store.patient.remove(former)  # the new one is of the same sweep, and of more runs
            former = result.own_run
            parts.append(result)
            if batches.are_over(store, result):
                break
    result = replace(together(parts), jobs=share.jobs)
    if share.name:
        close_shard(store, share, result)
    return result


def close_shard(store: Store, share: Share, result: SweepResult) -> None:
    """Writes the comparison of the runs that there are of the whole sweep, and says how far it is."""
    with store.last_words(result.sweep.id, share.planned) as claim:
        store.write_view(result.sweep.id, result.own_run)
        counts, under_way = store.statuses(share.planned), claim.shards_under_way(result.sweep.id)
    print(describe_shards(len(share.planned), counts, under_way), flush=True)


def done_at_turn(
    store: Store, claim: Claim, sweep: SweepConfig, whole: bool, stopped: Callable[[], dict[str, Done]]
) -> dict[str, Done]:
    """The done runs that need no training, once no other sweep trains any of those that do; what an earlier command
    trained and could not log is among them."""
    if whole:
        check_same_sweep(claim, sweep.id)
    done: dict[str, Done] = {}

    def left() -> set[str]:
        nonlocal done
        done = stopped() | reusable(store.done(claim.wanted), sweep)
        return claim.wanted if sweep.rerun else claim.wanted - done.keys()

    wait_for_turn(claim, left)
    rest = left()
    logged = store.log_kept(rest - done.keys(), claim.wanted & done.keys())
    if logged:
        print(f"{logged} runs that were trained before are logged now", flush=True)
        left()
    return done


def reusable(done: dict[str, Done], sweep: SweepConfig) -> dict[str, Done]:
    """The done runs that need no training; one that kept no network needs it where networks are kept."""
    return {name: run for name, run in done.items() if run.model or run.status != FINISHED or not sweep.save_models}
