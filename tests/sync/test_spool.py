"""The spool: rows come out as they went in, and nobody else ever sees them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_firstpromoter.calls import (
    DIGEST_COLUMN,
    REASON_COLUMN,
    REFUND,
    Outcome,
    Row,
    content_token,
    numbered,
)
from airflow_provider_firstpromoter.calls.row import BATCH
from airflow_provider_firstpromoter.exceptions import SpoolError
from airflow_provider_firstpromoter.ledger import LedgerRecord
from airflow_provider_firstpromoter.pending import Action, ClassifiedRow
from airflow_provider_firstpromoter.sync.spool import Spool
from tests.support import refund_with_id

KEY = b"key"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def to_send(mappings: Iterable[Mapping[str, Any]]) -> Iterator[ClassifiedRow]:
    """Rows that the ledger does not know."""
    return (ClassifiedRow(row, Action.SEND, None) for row in numbered(mappings, call=REFUND))


def through_spool(*mappings: Mapping[str, Any]) -> list[Row]:
    with Spool(call=REFUND) as spool:
        spool.fill(to_send(mappings))
        assert len(spool) == len(mappings)
        first, again = list(spool), list(spool)
        groups = [row for group in spool.groups() for row in group.rows]
    assert first == again, "rows may be read more than once"
    assert sorted(groups, key=lambda row: row.position) == first, "every row is in one group"
    return first


def known(row: Row, action: Action, tried: datetime | None = None) -> ClassifiedRow:
    """A row that the ledger knows, and when it was last sent."""
    record = LedgerRecord(event_id=str(row.event_id), outcome=Outcome.FAILED, last_sent_at=tried)
    return ClassifiedRow(row, action, record)


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
        ({"event_id": Decimal("1234567890123456789")}, {"event_id": "1234567890123456789"}),
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

    for row, direct in zip(spooled, numbered(mappings, call=REFUND), strict=True):
        assert (row.event_id, row.amount) == (direct.event_id, direct.amount)
        assert content_token(row.values, KEY) == content_token(direct.values, KEY)


def test_report_columns_come_out_of_the_spool() -> None:
    extra = {"refunded_at": NOW, DIGEST_COLUMN: "d1", REASON_COLUMN: "recheck"}
    (row,) = through_spool({**refund_with_id("re_1"), **extra})
    assert (row.happened_at, row.digest, row.reason) == (NOW, "d1", "recheck")


# --- in which order ---


def test_rows_come_in_the_order_of_a_run() -> None:
    """What needs no request, then what was never sent, then what was sent before, then rechecks."""
    given = [
        known(row, action)
        for row, action in zip(
            numbered((refund_with_id(f"re_{number}") for number in range(7)), call=REFUND),
            [
                Action.RECHECK,
                Action.SEND_AGAIN,
                Action.SEND,
                Action.STILL_REJECTED,
                Action.SEND,
                Action.CHANGED,
                Action.SETTLED,
            ],
            strict=True,
        )
    ]
    with Spool(call=REFUND) as spool:
        spool.fill(given)
        order = [(group.action, row.event_id) for group in spool.groups() for row in group.rows]
    assert order == [
        (None, "re_3"),
        (None, "re_5"),
        (None, "re_6"),
        (Action.SEND, "re_2"),
        (Action.SEND, "re_4"),
        (Action.SEND_AGAIN, "re_1"),
        (Action.RECHECK, "re_0"),
    ]


def test_rows_sent_before_come_longest_ago_first() -> None:
    rows = list(numbered((refund_with_id(f"re_{number}") for number in range(4)), call=REFUND))
    tried = [NOW, NOW - timedelta(days=2), NOW - timedelta(microseconds=1), NOW - timedelta(days=1)]
    with Spool(call=REFUND) as spool:
        spool.fill(known(row, Action.SEND_AGAIN, moment) for row, moment in zip(rows, tried, strict=True))
        assert [group.rows[0].event_id for group in spool.groups()] == ["re_1", "re_3", "re_2", "re_0"]


@pytest.mark.parametrize("kind", [UTC, timezone(timedelta(hours=9))], ids=["utc", "tokyo"])
def test_times_of_whole_seconds_and_fractions_sort_together(kind: Any) -> None:
    rows = list(numbered((refund_with_id(f"re_{number}") for number in range(3)), call=REFUND))
    tried = [NOW + timedelta(seconds=1), NOW + timedelta(milliseconds=500), NOW]
    with Spool(call=REFUND) as spool:
        spool.fill(known(row, Action.SEND_AGAIN, at.astimezone(kind)) for row, at in zip(rows, tried, strict=True))
        assert [group.rows[0].event_id for group in spool.groups()] == ["re_2", "re_1", "re_0"]


def test_rows_of_one_event_id_are_a_group_in_the_place_of_its_first_row() -> None:
    mappings = [
        refund_with_id("a", 1),
        refund_with_id(None, 2),
        refund_with_id("b", 3),
        refund_with_id("a", 4),
        refund_with_id(None, 5),
        refund_with_id("A", 6),
        refund_with_id("7", 7),
        refund_with_id(7, 8),
    ]
    with Spool(call=REFUND) as spool:
        spool.fill(to_send(mappings))
        groups = [[row.position for row in group.rows] for group in spool.groups()]
    assert groups == [[0, 3], [1], [2], [4], [5], [6, 7]]


def test_group_that_sends_has_the_rank_of_the_row_that_is_sent() -> None:
    """A row that is still rejected must not lift another row of its event_id before the new refunds."""
    rows = list(numbered([refund_with_id("a", 0), refund_with_id("new"), refund_with_id("a", 5)], call=REFUND))
    with Spool(call=REFUND) as spool:
        spool.fill(
            [known(rows[0], Action.STILL_REJECTED), known(rows[1], Action.SEND), known(rows[2], Action.SEND_AGAIN)]
        )
        groups = [(group.action, [row.position for row in group.rows]) for group in spool.groups()]
    assert groups == [(Action.SEND, [1]), (Action.SEND_AGAIN, [2, 0])]


def test_rows_of_one_event_id_are_grouped_in_linear_time_and_few_are_read() -> None:
    """A join without a condition: the refusal that is meant for it must not hang on it."""
    count = 30_000
    began = time.monotonic()
    with Spool(call=REFUND) as spool:
        spool.fill(to_send(refund_with_id("re_1", uid=f"cus_{number}") for number in range(count)))
        (group,) = spool.groups()
        assert spool.pending == 0

    assert (group.action, len(group.rows), group.total) == (None, 1, count)
    assert group.refused is not None
    assert group.refused.startswith("30000 rows have this event_id and name 30000 different uids")
    assert time.monotonic() - began < 15, "it took 81 seconds"


@pytest.mark.parametrize("repeated", [1, 3])
def test_pending_counts_events_and_not_rows(repeated: int) -> None:
    with Spool(call=REFUND) as spool:
        spool.fill(to_send([refund_with_id(f"re_{number}") for number in range(4) for _ in range(repeated)]))
        assert (spool.pending, len(spool)) == (4, 4 * repeated)
        assert [(len(group.rows), group.total) for group in spool.groups()] == [(1, repeated)] * 4


def test_problems_that_were_reported_are_remembered_once_and_while_rows_are_read() -> None:
    count = 2 * BATCH
    with Spool(call=REFUND) as spool:
        spool.fill(to_send(refund_with_id(f"re_{number:05}") for number in range(count)))
        for group in spool.groups():
            spool.note_reported([str(group.rows[0].event_id), "re_00000"])
        assert list(spool.reported()) == [f"re_{number:05}" for number in range(count)]


def test_error_of_the_source_is_raised() -> None:
    def rows() -> Any:
        yield from to_send([refund_with_id("re_1")])
        raise RuntimeError("the warehouse is gone")

    with Spool(call=REFUND) as spool, pytest.raises(RuntimeError, match="is gone"):
        spool.fill(rows())


# --- a full disk ---


def test_full_disk_is_named_with_the_folder_to_change() -> None:
    with Spool(call=REFUND) as spool:
        spool._database.connection.execute("PRAGMA max_page_count = 4")
        with pytest.raises(SpoolError, match=r"worker's disk: database or disk is full.*TMPDIR"):
            spool.fill(to_send(refund_with_id(f"re_{number}", uid="c" * 200) for number in range(1000)))


# --- who can see it ---

#: Fills a spool until it is on disk, tells what of it can be seen, and ends.
PROGRAM = """
    import json, os, resource, signal, stat, sys
    from pathlib import Path
    from airflow_provider_firstpromoter.pending import Action, ClassifiedRow
    from airflow_provider_firstpromoter.calls.row import REFUND, numbered
    from airflow_provider_firstpromoter.sync.spool import Spool

    folder, count, end = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spool = Spool(REFUND)
    rows = numbered(({"event_id": f"re_{n}", "amount": n, "uid": "c" * 200} for n in range(count)), REFUND)
    spool.fill(ClassifiedRow(row, Action.SEND, None) for row in rows)
    read = sum(len(group.rows) for group in spool.groups())
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
    return json.loads(done.stdout.splitlines()[-1]), done.returncode


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux shows a process's open files under /proc")
@pytest.mark.parametrize(("end", "code"), [("raise", 1), ("kill", -signal.SIGKILL)])
def test_spool_file_has_no_name_and_is_removed_when_the_process_ends(end: str, code: int, tmp_path: Path) -> None:
    told, returned = spool_in_a_process(tmp_path, 20_000, end)

    assert (told["read"], returned) == (20_000, code)
    assert told["files"], "so many rows are on disk"
    assert {(mode, names) for mode, _, names in told["files"]} == {(0o600, 0)}
    assert told["listed"] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux shows a process's open files under /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    told, returned = spool_in_a_process(tmp_path, 100_000, "close")

    megabyte = 1024 * 1024
    assert sum(size for _, size, _ in told["files"]) > 25 * megabyte
    assert told["grown"] < 20 * megabyte
    assert (returned, told["listed"], list(tmp_path.iterdir())) == (0, [], [])
