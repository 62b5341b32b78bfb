"""`make campaign`: kills, full disks, servers that fail and bad inputs, drawn by seed and tried on the real commands.

Each kind says how many were tried and how many held; a case that did not is printed with the command that repeats it
alone. The exit status is 1 if any did not hold.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.campaign.case import Kind, try_all
from tests.campaign.disks import Disks
from tests.campaign.inputs import Inputs
from tests.campaign.kills import Kills
from tests.campaign.servers import Databases, Servers

KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Inputs, Kills, Disks, Servers, Databases)}


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    counts = ", ".join(f"{name} {kind.count}" for name, kind in KINDS.items())
    p.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)} (default: all of them)")
    p.add_argument("--count", type=int, help=f"cases of each kind (default: {counts})")
    p.add_argument("--seed", type=int, default=0, help="draws the cases (default: %(default)s)")
    p.add_argument("--only", type=int, metavar="NUMBER", help="one case alone")
    p.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="cases at a time (%(default)s)")
    options = p.parse_args()
    for name in options.kinds:
        if name not in KINDS:
            p.error(f"{name!r} is no kind (choices: {', '.join(KINDS)})")
    return options


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers end and folders go
    counts = []
    with tempfile.TemporaryDirectory(prefix="bnc-") as home:
        for name in options.kinds or KINDS:
            kind = KINDS[name](options.seed, Path(home))
            count = options.count if options.count is not None else kind.count
            numbers = range(count) if options.only is None else [options.only]
            print(f"{name}: {len(numbers)} cases of seed {options.seed}", flush=True)
            counts.append(try_all(kind, numbers, options.jobs))
            print(counts[-1].line, flush=True)
    print("\ncampaign")
    for counted in counts:
        print("\n    ".join([f"  {counted.line}", *counted.remarks]))
    sys.exit(any(counted.held < counted.tried for counted in counts))


if __name__ == "__main__":
    main()
