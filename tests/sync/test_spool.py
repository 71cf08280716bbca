"""The spool: rows come out as they went in, and nobody else ever sees them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_firstpromoter.refunds.rows import BATCH, Row, numbered
from airflow_provider_firstpromoter.sync.spool import Spool
from tests.support import refund_with_id

KEY = b"key"


def through_spool(*mappings: dict[str, Any]) -> list[Row]:
    with Spool() as spool:
        spool.fill(numbered(mappings))
        assert len(spool) == len(mappings)
        first, again = list(spool), list(spool)
    assert first == again, "rows may be read more than once"
    return first


# --- what comes out ---


def test_empty_spool_has_no_rows() -> None:
    assert through_spool() == []


def test_spool_keeps_order_and_number_of_rows() -> None:
    count = 2 * BATCH + 1

    rows = through_spool(*(refund_with_id(f"re_{count - number}") for number in range(count)))

    assert [row.position for row in rows] == list(range(count))
    assert [row.event_id for row in rows] == [f"re_{count - number}" for number in range(count)]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"amount": 1999}, {"amount": 1999}),
        ({"amount": 2**53 + 1}, {"amount": 2**53 + 1}),
        ({"amount": Decimal("19.90")}, {"amount": "19.90"}),
        ({"amount": 19.99}, {"amount": "19.99"}),
        ({"event_id": 7}, {"event_id": 7}),
        ({"event_id": "007"}, {"event_id": "007"}),
        (
            {"event_id": UUID("12345678-1234-5678-1234-567812345678")},
            {"event_id": "12345678-1234-5678-1234-567812345678"},
        ),
        ({"uid": "cus \U0001f4b8 {{ x }} '; --\n"}, {"uid": "cus \U0001f4b8 {{ x }} '; --\n"}),
        ({"skip_email_notification": True}, {"skip_email_notification": True}),
        ({"skip_email_notification": False}, {"skip_email_notification": False}),
        ({"email": None}, {"email": None}),
        ({"event_id": datetime(2026, 1, 1, tzinfo=UTC)}, {"event_id": False}),
        ({"note": "not the call's"}, {}),
    ],
    ids=repr,
)
def test_spool_keeps_types_or_converts_values_like_xcom(given: dict[str, Any], kept: dict[str, Any]) -> None:
    mapping = {**refund_with_id("re_1"), **given}

    (row,) = through_spool(mapping)

    assert {name: row.values[name] for name in kept} == kept
    assert {type(row.values[name]) for name in kept} == {type(value) for value in kept.values()}
    assert "note" not in row.values


def test_row_from_the_spool_is_classified_like_the_original() -> None:
    mappings = [
        refund_with_id("re_1", Decimal("10.50")),
        refund_with_id(7, "10"),
        refund_with_id(None, 5),
        refund_with_id("re_2", "a lot"),
        refund_with_id(""),
    ]

    spooled = through_spool(*mappings)

    for row, direct in zip(spooled, numbered(mappings), strict=True):
        assert (row.event_id, row.amount) == (direct.event_id, direct.amount)
        assert row.fingerprint(KEY) == direct.fingerprint(KEY)


def test_repeated_event_id_has_the_amount_of_the_first() -> None:
    mappings = [
        refund_with_id("a", 1),
        refund_with_id(None, 2),
        refund_with_id("b", 3),
        refund_with_id("a", 4),
        refund_with_id(None, 5),
        refund_with_id("a", 6),
        refund_with_id("c", "a lot"),
        refund_with_id("c", 7),
        refund_with_id("7", 8),
        refund_with_id(7, 9),
        refund_with_id("A", 10),
    ]

    repeats = [row.repeats for row in through_spool(*mappings)]

    assert repeats == [None, None, None, "1", None, "1", None, "", None, "8", None]
    assert repeats == [row.repeats for row in marking_repeats(numbered(mappings))], "as for rows in memory"


def test_error_of_the_source_is_raised() -> None:
    def rows() -> Any:
        yield from numbered([refund_with_id("re_1")])
        raise RuntimeError("the warehouse is gone")

    with Spool() as spool, pytest.raises(RuntimeError, match="is gone"):
        spool.fill(rows())


# --- who can see it ---

#: Fills a spool until it is on disk, tells what of it can be seen, and ends.
PROGRAM = """
    import json, os, resource, signal, stat, sys
    from pathlib import Path
    from airflow_provider_firstpromoter.refunds.rows import numbered
    from airflow_provider_firstpromoter.sync.spool import Spool

    folder, count, end = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spool = Spool()
    spool.fill(numbered({"event_id": f"re_{n}", "amount": n, "uid": "c" * 200} for n in range(count)))
    read = sum(1 for _ in spool)
    files = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(entry).startswith(folder + "/"):
                state = entry.stat()
                files.append([stat.S_IMODE(state.st_mode), state.st_size, state.st_nlink])
        except FileNotFoundError:
            pass
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(json.dumps({"read": read, "files": files, "listed": os.listdir(folder), "grown": grown}), flush=True)
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "raise":
        raise SystemExit(1)
    spool.__exit__()
"""


def spool_in_a_process(folder: Path, count: int, end: str) -> tuple[dict[str, Any], int]:
    """Returns what the process told, and its exit code."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(folder), str(count), end],
        env={"TMPDIR": str(folder), "PATH": "/usr/bin:/bin"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.returncode


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux shows a process's open files under /proc")
@pytest.mark.parametrize(("end", "code"), [("close", 0), ("raise", 1), ("kill", -signal.SIGKILL)])
def test_spool_file_has_no_name_and_is_removed_when_the_process_ends(end: str, code: int, tmp_path: Path) -> None:
    told, returned = spool_in_a_process(tmp_path, 20_000, end)

    assert (told["read"], returned) == (20_000, code)
    assert told["files"], "so many rows are on disk"
    assert {(mode, names) for mode, _, names in told["files"]} == {(0o600, 0)}
    assert told["listed"] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux shows a process's open files under /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    told, _ = spool_in_a_process(tmp_path, 200_000, "close")

    megabyte = 1024 * 1024
    assert sum(size for _, size, _ in told["files"]) > 50 * megabyte
    assert told["grown"] < 20 * megabyte
