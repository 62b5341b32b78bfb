"""Training by Triton's kernels beside training by torch's operators, on a GPU: steps, and a whole training.

`python -m tests.benchmarks.kernel_steps`, about three minutes. The same members and batches, turn by turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch

from bnsweep.config.groups import ProbesConfig
from bnsweep.config.run import RunConfig
from bnsweep.training.trainer import Trainer, train
from tests.benchmarks.work import Spec, Work

MEMBERS = (1, 8, 32, 96, 360, 1024, 4096)
WAYS = {False: "operators", True: "kernels"}
Times = dict[bool, list[float]]


def microseconds(work: Work, steps: int, turns: int) -> Times:
    """Of a step, turn by turn, captured and warm; no evaluation and no probe."""
    trainers = {way: Trainer(work.configs, work.dataset, work.device, kernels=way) for way in WAYS}
    rows = list(trainers[True].batches_of(0))[:steps]
    found: Times = {way: [] for way in WAYS}
    for turn in range(turns + 1):
        for way, trainer in trainers.items():
            torch.cuda.synchronize()
            started = time.perf_counter()
            for rows_GB in rows:
                trainer.step(rows_GB)
            torch.cuda.synchronize()
            found[way] += [1e6 * (time.perf_counter() - started) / len(rows)] if turn else []
    alive, also = (trainer.alive_K for trainer in trainers.values())
    if not torch.equal(alive, also):
        print(f"of {len(alive)} members {int(alive.sum())} and {int(also.sum())} are alive after {turns + 1} turns")
    return found


def largest(work: Work, way: bool, count: int = 16) -> str:
    """The kernels that a step spends its time in."""
    trainer = Trainer(work.configs, work.dataset, work.device, kernels=way)
    rows = list(trainer.batches_of(0))[:24]
    for rows_GB in rows[:4]:
        trainer.step(rows_GB)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for rows_GB in rows[4:]:
            trainer.step(rows_GB)
        torch.cuda.synchronize()
    events = sorted(profile.key_averages(), key=lambda e: -e.self_device_time_total)
    steps = len(rows) - 4
    total, launches = sum(e.self_device_time_total for e in events) / steps, sum(e.count for e in events) / steps
    lines = [
        f"{e.self_device_time_total / steps:8.1f} us {e.count / steps:5.1f} x {e.key[:90]}" for e in events[:count]
    ]
    return "\n".join([f"{WAYS[way]}: {total:.0f} us in {launches:.0f} kernels a step", *lines])


def whole(configs: list[RunConfig], work: Work, turns: int) -> Times:
    """Seconds of a training with its evaluations, after one that warms up."""
    found: Times = {way: [] for way in WAYS}
    for turn in range(turns + 1):
        for way in WAYS:
            started = time.perf_counter()
            train(configs, work.dataset, work.device, kernels=way)
            found[way] += [time.perf_counter() - started] if turn else []
    return found


def told(times: Times, digits: int) -> str:
    cells = (f"{statistics.median(t):.{digits}f} ({min(t):.{digits}f}-{max(t):.{digits}f})" for t in times.values())
    return " | ".join(cells)


def main(words: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="python -m tests.benchmarks.kernel_steps", description=__doc__)
    p.add_argument("--members", type=lambda text: [int(word) for word in text.split(",")], default=list(MEMBERS))
    p.add_argument("--steps", type=int, default=200, help="of a turn (default: %(default)s)")
    p.add_argument("--turns", type=int, default=5, help="after one of warm-up (default: %(default)s)")
    p.add_argument("--data", default="data", help="folder of MNIST/raw; synthetic rows without one")
    options = p.parse_args(words)
    torch.set_float32_matmul_precision("highest")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; medians (smallest-largest), n = {options.turns}")
    for optimizer in ("sgd", "adam"):
        work = Work(Spec(360, 100, optimizer=optimizer, device="cuda", root=options.data))
        print(f"\n{optimizer}, K = 360\n{largest(work, False)}\n{largest(work, True)}", flush=True)
    print("\nseconds of 360 members, 10 epochs of 468 steps, 11 evaluations\n")
    print("| probes | operators | kernels |\n|---|---|---|")
    work = Work(Spec(360, 468, device="cuda", root=options.data))
    for probes in ("off", "light"):
        configs = [replace(c, probes=ProbesConfig(probes)) for c in work.configs]
        print(f"| {probes} | {told(whole(configs, work, 3), 2)} |", flush=True)
    print("\nmicroseconds of a step\n\n| | K | operators | kernels |\n|---|---|---|---|", flush=True)
    for k in options.members:
        for optimizer in ("sgd", "adam"):
            work = Work(Spec(k, options.steps, optimizer=optimizer, device="cuda", root=options.data))
            times = told(microseconds(work, options.steps, options.turns), 0)
            print(f"| {optimizer} | {k} | {times} |", flush=True)


if __name__ == "__main__":
    main()
