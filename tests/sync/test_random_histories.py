"""
Random histories: runs of both calls, kills, faults, late referrals and corrected rows in any order, then a clean run.

A seed draws the shape of FirstPromoter's 200 to a refund, promoters with tiers and splits whose commissions come late,
a listing with short pages, which of two API keys of the account a run uses, and batches that the ledger refuses.

Whatever came before, a sale or refund that can be recorded is then recorded, once, and the ledger says so; and no other
is, except for those that the reconciliation names.
``SEED`` in the environment is the first of the histories, which ``make soak`` sets.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, SALE, Call
from airflow_provider_firstpromoter.cli.report import tables_of
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger.views import views
from airflow_provider_firstpromoter.reconcile import Period, Reconciliation
from airflow_provider_firstpromoter.reconcile.mismatches import MismatchKind
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.sync.histories import KEYS, History, is_usable

SEED = int(os.environ.get("SEED", "1"))
HISTORIES = [(SEED + number, ("sqlite", "postgresql")[number % 2]) for number in range(8)]


@pytest.mark.parametrize(("seed", "kind"), HISTORIES)
def test_any_history_ends_with_every_event_recorded_once_and_the_ledger_right(
    seed: int,
    kind: str,
    sandbox: Sandbox,
    connect: Callable[..., str],
    new_database: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    at_once: Callable[..., Any],
) -> None:
    ledger_conn_id = new_database(kind, "ledger").conn_id
    history = History(seed, sandbox, connect, ledger_conn_id, monkeypatch, at_once)
    history.live()
    history.end_well()

    story = f"seed {seed}, {sandbox.settings}: {history.log}"
    for call in history.tracks:
        check(history, call, f"{call.name}; {story}")
    balances = {(one.promoter_id, one.unit): one.amount for one in sandbox.balances() if one.amount}
    assert net(history) == balances, story
    # Whatever key of the account a run has: what is settled stays so, and a correction is noticed once.
    assert [history.run_with(key) for key in KEYS] == [set(), set()], story
    corrected = history.correct_all_rows()
    assert [history.run_with(key) for key in KEYS[::-1]] == [corrected, set()], story


def check(history: History, call: Call, story: str) -> None:
    """Check that the ledger of a call has what FirstPromoter has, and that the reconciliation names the rest."""
    track, recorded = history.tracks[call], history.recorded(call)
    assert len(recorded) == len(set(recorded)), story
    stored = track.stored()
    on_record = {event_id for event_id, outcome in stored.items() if outcome in ("recorded", "already_recorded")}
    assert on_record >= set(recorded), story
    # A kill can hide a 204 that used up the event_id: nothing tells its later 409 from one of a recorded refund. The
    # reconciliation does.
    used_up = {
        event_id
        for event_id in stored.keys() - recorded
        if history.sandbox.store.has_event_id(history.sandbox.account_id, call.name, event_id)
    }
    hidden = on_record - set(recorded)
    assert hidden <= used_up, story
    assert not hidden or "run_and_kill" in history.log, story
    for row in history.rows[call]:
        event_id = str(row["event_id"])
        if is_usable(row) and history.can_be_recorded(call, row):
            assert event_id in {*recorded, *used_up}, f"{event_id} is lost; {story}"
        if not is_usable(row) and event_id not in recorded:
            assert stored[event_id] == "rejected", f"{event_id}; {story}"
    report = Reconciliation(FirstPromoterHook(), track.ledger, Period()).run()
    found = {kind: {one.event_id for one in cases} for kind, cases in report.cases.items() if cases}
    # A 409 after a kill says nothing about the sale that the recorded refund names.
    named = {event_id: record.sale_event_id for event_id, record in track.records().items()}
    sold = {None, *history.recorded(SALE)}
    without_sale = {event_id for event_id in recorded if named.get(event_id) not in sold}
    expected = {MismatchKind.MISSING_IN_FIRSTPROMOTER: hidden, MismatchKind.SALE_NOT_FOUND: without_sale}
    assert found == {kind: event_ids for kind, event_ids in expected.items() if event_ids}, story
    reported = sum(json.loads(row["rewards"] or "{}").get("cash", 0) for row in track.history())
    rewards = sum(one.reward_amount for one in history.sandbox.recorded(call.name))
    assert call.sign * reported <= call.sign * rewards, f"a reward was reported twice: {reported} of {rewards}; {story}"


def net(history: History) -> dict[tuple[int, str], int]:
    """Return what each promoter has earned in each unit, as the view over both ledgers has it."""
    ledgers = {call: track.ledger for call, track in history.tracks.items()}
    tables = {call: tables_of(ledger.table.fullname, call) for call, ledger in ledgers.items()}
    (view,) = (one for one in views(tables[SALE], SALE, tables[REFUND]) if one.name == "net")
    with ledgers[SALE].engine.connect() as connection:
        rows = connection.execute(view.query).mappings().all()
    sums: dict[tuple[int, str], int] = {}
    for row in rows:
        key = row["promoter_id"], row["reward_unit"]
        sums[key] = sums.get(key, 0) + int(row["net"])
    return {key: amount for key, amount in sums.items() if amount}
