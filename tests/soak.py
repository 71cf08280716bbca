"""
The tests that leave something to chance again and again, each round with another seed: ``make soak``.

The seed settles where faults and kills fall, and what rows and answers hold. How far threads have got by then it does
not, so that a failure may need a few rounds to come again.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time

TESTS = (
    "tests/end_to_end/test_crashes.py",
    "tests/promises/test_network.py",
    "tests/promises/test_any_row.py",
    "tests/refunds/test_request_body.py",
    "tests/refunds/test_properties.py",
)
SIDE_BY_SIDE = ("-n", "auto", "--dist", "loadfile")


def main() -> None:
    minutes = float(os.environ.get("MINUTES") or 5)
    first = int(os.environ.get("SEED") or random.randrange(10**6))
    until = time.monotonic() + minutes * 60
    for seed in itertools.count(first, 10):  # a round uses a few seeds from its first one on
        again = f"make soak SEED={seed} MINUTES=0"
        chance = ("--hypothesis-profile=soak", f"--hypothesis-seed={seed}")
        print(f"\n{again}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", *SIDE_BY_SIDE, *chance, *TESTS, *sys.argv[1:]],
            env={**os.environ, "SEED": str(seed)},
            check=False,
        )
        if done.returncode:
            sys.exit(f"\nIt failed. The same round again: {again}")
        if time.monotonic() >= until:
            return


if __name__ == "__main__":
    main()
