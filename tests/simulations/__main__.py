"""`python -m tests.simulations`: how often the report is right about sweeps whose truth is known.

`null`: sweeps in which nothing differs, how many of them get any verdict, and how many intervals hold the truth.
`power`: an effect is planted, how often its claim is supported. `sequential`: the same two of sweeps that add
seeds until their claims are decided (`seed=auto`). `half-true`: what a claim asks in two ways is true in
one alone, how often it gets a verdict. `ranking`: the leading group, ranks and their
intervals. A row is one kind of sweep; sweep 7 of a row is the same in every run, so two versions of the report judge
the same sweeps.
"""

from __future__ import annotations

import argparse
import itertools
import os

from tests.simulations.tables import TABLES, line
from tests.simulations.worlds import NOISES, RATES, World


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="python -m tests.simulations", description=__doc__)
    p.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)} (default: all of them)")
    p.add_argument("--sweeps", type=int, default=1000, help="of each row (default: %(default)s)")
    seeds, noises, rates = [5, 8, 10, 20, 30], list(NOISES), list(RATES)
    p.add_argument("--seeds", type=int, nargs="+", default=seeds, metavar="N", help="default: %(default)s")
    p.add_argument("--noise", choices=noises, nargs="+", default=noises, metavar="NAME", help="default: %(default)s")
    p.add_argument("--rates", choices=rates, nargs="+", default=rates, metavar="NAME", help="default: %(default)s")
    p.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; default: %(default)s")
    options = p.parse_args()
    for name in options.tables:
        if name not in TABLES:
            p.error(f"{name!r} is no table (choices: {', '.join(TABLES)})")
    return options


def main() -> None:
    options = arguments()
    worlds = [World(*each) for each in itertools.product(options.seeds, options.noise, options.rates)]
    for name in options.tables or TABLES:
        head, rows = TABLES[name]
        print(f"\n{name}\n\n{line(head)}\n{line(['---'] * len(head))}", flush=True)
        for row in rows(worlds, options.sweeps, options.jobs):
            print(line(row), flush=True)


if __name__ == "__main__":
    main()
