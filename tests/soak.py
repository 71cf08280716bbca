"""
Run the tests that leave something to chance again and again, each round with another seed: ``make soak``.

A round takes less than a minute. Its seed decides where faults and kills fall, and what rows and responses contain. It
does not decide how far threads and processes are by then, so that a failure may need a few rounds to come again.

The environment variable ``MINUTES`` is the time after which no further round starts (default 5), and ``SEED`` the seed
of the first round (default: a random one). Arguments are passed to pytest, for example ``-k postgresql``.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time

TESTS = (
    # Kills, at any point of a run and of a recheck; four processes at one rate limit.
    "tests/end_to_end/test_recheck_crashes.py",
    "tests/end_to_end/test_crashes.py",
    "tests/end_to_end/test_shared_limit.py",
    # Runs, kills, faults, late sales and corrected rows in any order.
    "tests/sync/test_random_histories.py",
    # A bad network, and a listing of commissions that lags and fails.
    "tests/promises/test_network.py",
    # Any row, any request body.
    "tests/promises/test_any_row.py",
    "tests/calls/test_request_body.py",
    "tests/calls/test_properties.py",
)
#: Migrating Airflow's database takes longer than all else in a round; the kills of the other tests are alike.
LEFT_OUT = (
    "--deselect",
    "tests/end_to_end/test_crashes.py::test_task_stopped_by_airflow_writes_its_results_and_resends_few_refunds",
)
IN_PARALLEL = ("-n", "auto", "--dist", "loadfile")
#: A test uses a few seeds, from that of the round on.
SEEDS_PER_ROUND = 10


def main() -> None:
    minutes = float(os.environ.get("MINUTES") or 5)
    first = int(os.environ.get("SEED") or random.randrange(10**6))
    deadline = time.monotonic() + minutes * 60
    for rounds, seed in enumerate(itertools.count(first, SEEDS_PER_ROUND), 1):
        repeat = f"make soak SEED={seed} MINUTES=0"
        hypothesis = ("--hypothesis-profile=soak", f"--hypothesis-seed={seed}")
        print(f"\nRound {rounds}: {repeat}", flush=True)
        completed = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", *IN_PARALLEL, *hypothesis, *LEFT_OUT, *TESTS, *sys.argv[1:]],
            env={**os.environ, "SEED": str(seed)},
            check=False,
        )
        if completed.returncode:
            sys.exit(f"\nRound {rounds} failed. To repeat it: {repeat}")
        if time.monotonic() >= deadline:
            print(f"\nAll {rounds} rounds passed.")
            return


if __name__ == "__main__":
    main()
