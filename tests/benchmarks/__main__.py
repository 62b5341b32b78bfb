"""`make bench`: what a sweep costs by bnsweep and by the ways there are beside it.

All arms train the same members on the same batches. Each is judged by the equality gate at every K before it is timed,
and arms take turns within each repeat. The table goes to the terminal and to bench.md, all raw numbers to bench.json.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bnsweep.runs.executors.local import keep_datasets
from bnsweep.runs.machine import cores
from bnsweep.store.environment import environment
from tests.benchmarks import roofline
from tests.benchmarks.arm_single import Tuning
from tests.benchmarks.arms import ARMS, OF_MODEL
from tests.benchmarks.bench import LIMIT as LIMIT_CPU
from tests.benchmarks.bench import WARM_UP, Budget, Result, measure
from tests.benchmarks.hydra_cost import seconds_a_run
from tests.benchmarks.report import Table, document, line, write
from tests.benchmarks.work import Spec, Work

Chosen = dict[str, dict[str, Any]]
"""What arms chose by trial, by their keys."""
MEMBERS = {"mlp": {"cpu": (1, 8, 96, 360), "cuda": (1, 96, 360)}, "conv": {"cpu": (1, 8, 32), "cuda": (1, 8, 32)}}
LIMIT = {"cpu": LIMIT_CPU, "cuda": 30.0}
SECONDS = {"cpu": 0.4, "cuda": 0.25}
KINDS = {"mlp": "lecture", "conv": "conv"}
TITLES = {"mlp": "The lecture's members", "conv": "Convolutions of 16, 32 and 32 channels, 14 x 14 pixels"}
ADVERSARIAL = ("c", "ours", "c-adam", "ours-adam")
ADVERSARIAL_MEMBERS = 36


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog="all that RESULTS.md has had: --members 1,8,32,96,128,360,1024 --hfta PATH (about 12 minutes)",
    )
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    p.add_argument("--model", choices=list(MEMBERS), default="mlp", help="what members are (default: %(default)s)")
    told = "; ".join(f"{m} on {d}: {','.join(map(str, k))}" for m, of in MEMBERS.items() for d, k in of.items())
    p.add_argument("--members", type=numbers, metavar="K,K", help=f"default: {told}")
    p.add_argument("--arms", type=names, metavar="A,B", help=f"of {','.join(ARMS)}; default: those of the model")
    p.add_argument("--repeats", type=positive, default=5, help="timed repeats after the warm-up (default: %(default)s)")
    p.add_argument(
        "--steps", type=positive, help="steps of a pass (default: 60 on cpu, fewer at large K; 100 on cuda; conv: 6)"
    )
    p.add_argument("--seconds", type=float, help=f"what a repeat of an arm takes (default: {told_of(SECONDS)})")
    p.add_argument("--limit", type=positive, help=f"seconds an arm may take at one K (default: {told_of(LIMIT)})")
    p.add_argument("--data", default="data", help="folder of MNIST/raw; synthetic rows without one")
    p.add_argument("--hfta", metavar="PATH", help="checkout of HFTA for arm g (default: $HFTA_PATH)")
    p.add_argument("--adversarial", action="store_true", help="the adversarial sweep alone")
    p.add_argument("--quick", action="store_true", help="a smoke run: seconds instead of minutes, no figures to trust")
    p.add_argument("--out", type=Path, default=Path("bench"), help="folder of bench.md and bench.json")
    options = p.parse_args(words)
    if options.adversarial and options.model != "mlp":
        p.error("--adversarial is of --model mlp")
    if options.device == "cuda" and not torch.cuda.is_available():
        p.error("--device cuda: no CUDA device was found (choices: cpu)")
    return with_defaults(options)


def with_defaults(options: argparse.Namespace) -> argparse.Namespace:
    options.hfta = options.hfta or os.environ.get("HFTA_PATH")
    options.arms = options.arms or [key for key in OF_MODEL[options.model] if key != "g" or options.hfta]
    if options.quick:
        options.members, options.steps = options.members or [1, 8], options.steps or 20
        options.repeats, options.seconds = 2, 0.0
    options.members = sorted(options.members or MEMBERS[options.model][options.device])
    options.seconds = SECONDS[options.device] if options.seconds is None else options.seconds
    options.limit = options.limit or LIMIT[options.device]
    return options


def told_of(defaults: dict[str, float]) -> str:
    return ", ".join(f"{value:g} on {device}" for device, value in defaults.items())


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be an integer >= 1")
    return int(text)


def numbers(text: str) -> list[int]:
    values = [int(word) for word in text.split(",")]
    if min(values) < 1:
        raise argparse.ArgumentTypeError("stack sizes must be >= 1")
    return values


def names(text: str) -> list[str]:
    for name in text.split(","):
        if name not in ARMS:
            raise argparse.ArgumentTypeError(f"{name!r} is no arm (choices: {', '.join(ARMS)})")
    return text.split(",")


def steps_of(options: argparse.Namespace, members: int) -> int:
    if options.steps:
        return int(options.steps)
    if options.model == "conv":
        return 6  # convolutions are chaotic: after thirty steps nothing can be compared any more
    return 100 if options.device == "cuda" else max(15, min(60, 4000 // members))


def facts(options: argparse.Namespace) -> dict[str, Any]:
    """Where the figures come from."""
    here = environment()
    versions = [f"{name} {found}" for name in ("jax", "joblib", "numpy", "hydra-core") if (found := installed(name))]
    hydra = None if options.quick else seconds_a_run()
    cost = "not measured" if hydra is None else f"{1e3 * hydra:.0f} ms a run, beside the training of (a)"
    info = Work(Spec(1, 1, KINDS[options.model], root=options.data)).dataset.info
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": here.commit[:12] + (" with changes" if here.dirty else ""),
        "hardware": ", ".join(filter(None, (here.hardware, gpu))),
        "versions": ", ".join([f"python {here.versions['python']}", f"torch {torch.__version__}", *versions]),
        "cores used": cores(),
        "data": "synthetic rows" if "synthetic" in info.source else f"the real {info.name}",
        "repeats": f"n = {options.repeats} after {WARM_UP} passes of warm-up; an arm has {options.limit:g} s at each K",
        "Hydra's basic launcher": cost,
        "load average before": " ".join(f"{x:.2f}" for x in os.getloadavg()),
    }


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def measured(options: argparse.Namespace, spec: Spec, arms: Sequence[str], chosen: Chosen) -> list[Result]:
    budget = Budget(options.repeats, options.seconds, options.limit)
    with TemporaryDirectory() as folder:
        work = Work(spec)
        (file,) = keep_datasets({work.configs[0].data.key: work.dataset}, Path(folder)).values()
        found = measure(replace(spec, file=str(file)), arms, budget, chosen)
    for result in found:
        result.spec = replace(result.spec, file="")
        print(line(result), flush=True)
    return found


def standard(options: argparse.Namespace, chosen: Chosen) -> list[Result]:
    """Arms whose members cost the same at every K are timed at the largest; none is tried above a K that cut it off."""
    results: list[Result] = []
    for k in options.members:
        spec = Spec(k, steps_of(options, k), KINDS[options.model], device=options.device, root=options.data)
        cut = {r.key: r.spec.members for r in results if r.refused.startswith("cut off")}
        arms = [key for key in options.arms if key not in cut and (k == options.members[-1] or not ARMS[key].once)]
        results += measured(options, spec, arms, chosen)
        results += [
            Result(replace(spec, optimizer=ARMS[key].optimizer), key, ARMS[key].label, refused=f"cut off at K = {at}")
            for key, at in cut.items()
        ]
    return sorted(results, key=lambda result: not ARMS[result.key].once)


def adversarial(options: argparse.Namespace, chosen: Chosen) -> list[Result]:
    members = 6 if options.quick else ADVERSARIAL_MEMBERS
    steps = options.steps or (20 if options.quick else 30)
    spec = Spec(members, steps, "adversarial", device=options.device, root=options.data)
    return measured(options, spec, [key for key in ADVERSARIAL if key in options.arms], chosen)


def main(words: list[str] | None = None) -> None:
    options = arguments(words)
    if options.hfta:
        os.environ["HFTA_PATH"] = str(Path(options.hfta).resolve())
    started = time.perf_counter()
    known = facts(options)
    peaks = roofline.measure(torch.device(options.device), options.quick)
    # A smoke run tries nothing out.
    chosen: Chosen = {"c": {"tuning": Tuning()}} if options.quick else {}
    results: dict[str, list[Result]] = {}
    if not options.adversarial:
        results[TITLES[options.model]] = standard(options, chosen)
    if options.model == "mlp" and set(options.arms) & set(ADVERSARIAL):
        results["Adversarial: diverging, vanishing, six data seeds, odd sizes"] = adversarial(options, chosen)
    peaks = roofline.better(peaks, roofline.measure(torch.device(options.device), options.quick))
    tables = {title: Table(found, peaks) for title, found in results.items()}
    known["load average after"] = " ".join(f"{x:.2f}" for x in os.getloadavg())
    known["wall time"] = f"{time.perf_counter() - started:.0f} s"
    write(options.out, tables, known)
    print(document(tables, known))
    print(f"written: {options.out / 'bench.md'} and bench.json")


if __name__ == "__main__":
    main()
