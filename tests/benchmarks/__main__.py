"""`make bench`: what a sweep costs by bnsweep and by the ways there are beside it.

All arms train the same members on the same batches. Each is judged by the equality gate at every K before it is timed,
and arms take turns within each repeat. The table goes to the terminal and to bench.md, all raw numbers to bench.json.
"""

from __future__ import annotations

import argparse
import os
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bnsweep.store.environment import cores, environment
from tests.benchmarks import roofline
from tests.benchmarks.arm_single import Tuning
from tests.benchmarks.arms import ARMS, OF_MODEL
from tests.benchmarks.bench import WARM_UP, Result, measure
from tests.benchmarks.hydra_cost import seconds_a_run
from tests.benchmarks.report import Table, document, markdown, write
from tests.benchmarks.work import Spec, Work

MEMBERS = {"mlp": (1, 8, 32, 96, 128, 360, 1024), "conv": (1, 8, 32, 96)}
KINDS = {"mlp": "lecture", "conv": "conv"}
TITLES = {"mlp": "The lecture's members", "conv": "Convolutions of 16, 32 and 32 channels, 14 x 14 pixels"}
ADVERSARIAL = {"sgd": ("c", "ours"), "adam": ("c-adam", "ours-adam")}
ADVERSARIAL_MEMBERS = 36


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    p.add_argument("--model", choices=list(MEMBERS), default="mlp", help="what members are (default: %(default)s)")
    told = "; ".join(f"{model}: {','.join(map(str, members))}" for model, members in MEMBERS.items())
    p.add_argument("--members", type=numbers, metavar="K,K", help=f"default: {told}")
    p.add_argument("--arms", type=names, metavar="A,B", help=f"of {','.join(ARMS)}; default: those of the model")
    p.add_argument("--repeats", type=int, default=5, help="timed repeats after the warm-up (default: %(default)s)")
    p.add_argument("--steps", type=int, help="steps of a pass (default: 60 on a CPU, fewer at large K; 468 on CUDA)")
    p.add_argument("--seconds", type=float, default=0.5, help="what a repeat of an arm takes (default: %(default)s)")
    p.add_argument("--data", default="data", help="folder of MNIST/raw; synthetic rows without one")
    p.add_argument("--hfta", metavar="PATH", help="checkout of HFTA for arm g (default: $HFTA_PATH)")
    p.add_argument("--adversarial", action="store_true", help="the adversarial sweep alone")
    p.add_argument("--quick", action="store_true", help="a smoke run: seconds instead of minutes, no figures to trust")
    p.add_argument("--out", type=Path, default=Path("bench"), help="folder of bench.md and bench.json")
    options = p.parse_args(words)
    if options.adversarial and options.model != "mlp":
        p.error("--adversarial is of --model mlp")
    options.arms = options.arms or OF_MODEL[options.model]
    return options


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
    if options.device == "cuda":
        return 468
    # Convolutions are chaotic: after thirty steps nothing can be compared any more.
    return max(15, min(60, 12_000 // members)) if options.model == "mlp" else 6


def facts(options: argparse.Namespace) -> dict[str, Any]:
    """Where the figures come from."""
    here = environment()
    versions = [f"{name} {found}" for name in ("jax", "joblib", "numpy", "hydra-core") if (found := installed(name))]
    hydra = None if options.quick else seconds_a_run()
    cost = "not measured" if hydra is None else f"{1e3 * hydra:.0f} ms a run, beside the training of (a)"
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": here.commit[:12] + (" with changes" if here.dirty else ""),
        "hardware": ", ".join(filter(None, (here.hardware, gpu))),
        "versions": ", ".join([f"python {here.versions['python']}", f"torch {torch.__version__}", *versions]),
        "threads": f"torch {torch.get_num_threads()}, cores {cores()}",
        "data": Work(Spec(1, 1, KINDS[options.model], root=options.data)).dataset.info.source,
        "repeats": f"n = {options.repeats} after {WARM_UP} passes of warm-up",
        "Hydra's basic launcher": cost,
        "load average before": " ".join(f"{x:.2f}" for x in os.getloadavg()),
    }


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def settings(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """A smoke run tries nothing out."""
    return {key: {"tuning": Tuning()} for key in ("c", "d", "c-adam")} if options.quick else {}


def adversarial(options: argparse.Namespace) -> list[Result]:
    members = 6 if options.quick else ADVERSARIAL_MEMBERS
    steps = options.steps or (20 if options.quick else 60)
    spec = Spec(members, steps, "adversarial", device=options.device, root=options.data)
    pairs = [keys for keys in ADVERSARIAL.values() if set(keys) & set(options.arms)]
    return [r for keys in pairs for r in measure(spec, keys, options.repeats, options.seconds, settings(options))]


def main(words: list[str] | None = None) -> None:
    options = arguments(words)
    if options.hfta:
        os.environ["HFTA_PATH"] = str(Path(options.hfta).resolve())
    if options.quick:
        options.members, options.steps = options.members or [1, 8], options.steps or 20
        options.repeats, options.seconds = 2, 0.0
    started = time.perf_counter()
    known = facts(options)
    peaks = roofline.measure(torch.device(options.device), options.quick)
    tables: dict[str, Table] = {}
    if not options.adversarial:
        results: list[Result] = []
        for k in options.members or MEMBERS[options.model]:
            print(f"K = {k} …", flush=True)
            spec = Spec(k, steps_of(options, k), KINDS[options.model], device=options.device, root=options.data)
            found = measure(spec, options.arms, options.repeats, options.seconds, settings(options))
            print(markdown(Table(found, peaks).rows()), flush=True)
            results += found
        tables[TITLES[options.model]] = Table(results, peaks)
    if options.model == "mlp":
        print("adversarial …", flush=True)
        tables["Adversarial: diverging, vanishing, six data seeds, odd sizes"] = Table(adversarial(options), peaks)
    peaks = roofline.better(peaks, roofline.measure(torch.device(options.device), options.quick))
    tables = {title: Table(table.results, peaks) for title, table in tables.items()}
    known["load average after"] = " ".join(f"{x:.2f}" for x in os.getloadavg())
    known["wall time"] = f"{time.perf_counter() - started:.0f} s"
    write(options.out, tables, known)
    print(document(tables, known))
    print(f"written: {options.out / 'bench.md'} and bench.json")


if __name__ == "__main__":
    main()
