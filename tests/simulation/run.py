"""`python -m tests.simulation.run --seeds 1000` tells many stories; of one that breaks a promise, its seed and its trace."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation import workload
from tests.simulation.checker import Violation
from tests.simulation.simulation import Simulation, story_of


def main(arguments: list[str] | None = None) -> int:
    """Tell stories and return the exit code: 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many stories")
    parser.add_argument("--start", type=int, default=0, help="seed of the first one")
    parser.add_argument("--trace", action="store_true", help="print the trace of each story")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first finding")
    parser.add_argument("--theme", help="what all of them are about, as FAMILY or IMPATIENT of workload.py")
    options = parser.parse_args(arguments)
    began, found = time.monotonic(), 0
    for seed in range(options.start, options.start + options.seeds):
        sim = Simulation(seed, theme=getattr(workload, options.theme) if options.theme else None)
        try:
            sim.run()
        except Violation as violation:
            found += 1
            if not options.keep_going:
                print(story_of(sim))
            print(f"seed {seed}: {violation}")
            theme = f" --theme {options.theme}" if options.theme else ""
            print(
                f"again: python -m tests.simulation.run{theme} --start {seed} --seeds 1 --trace", flush=True
            )
            if not options.keep_going:
                return 1
        else:
            if options.trace:
                print(story_of(sim))
    took = time.monotonic() - began
    print(f"{options.seeds} stories in {took:.1f} s, {options.seeds / took:.0f} a second, {found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
