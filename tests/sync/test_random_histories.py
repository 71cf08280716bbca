"""
Random histories: runs, kills, faults, late sales and corrected rows in any order, and then a clean run.

A seed draws the shape of FirstPromoter's 200, promoters with tiers and splits whose commissions come late, a listing
with short pages, which of two API keys of the account a run uses, and batches that the ledger refuses.

Whatever came before, a refund of a referred customer is then recorded, once, and the ledger says so; and no other is,
except for those that the reconciliation names.
``SEED`` in the environment is the first of the histories, which ``make soak`` sets.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import numbered
from airflow_provider_firstpromoter.exceptions import LedgerError, SyncInterruptedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, RunHistory
from airflow_provider_firstpromoter.reconcile import Period, Reconciliation
from airflow_provider_firstpromoter.reconcile.mismatches import MismatchKind
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sandbox.faults import Kind
from tests.support import SECOND_KEY
from tests.sync.runs import A_MONTH, LISTING, NOT_FOUND, Refunds, cancelled_when

SEED = int(os.environ.get("SEED", "1"))
HISTORIES = [(SEED + number, ("sqlite", "postgresql")[number % 2]) for number in range(8)]
CUSTOMERS = 8
REFUNDS = 24
KEYS = ("sandbox-api-key", SECOND_KEY)


EVENTS = ("INSERT", "UPDATE")
#: Words that the ledger's database refuses.
REFUSED = "This text cannot be stored:"


def refuse_text(ledger: Ledger) -> None:
    """Let the database refuse each write of a message with the words :data:`REFUSED`, as one refuses a character."""
    ledger.ensure()
    table = ledger.table.name
    if ledger.engine.dialect.name == "sqlite":
        body = f"SELECT RAISE(ABORT, 'refused') WHERE instr(NEW.message, '{REFUSED}');"
        statements = [f"CREATE TRIGGER refuse_{event} BEFORE {event} ON {table} BEGIN {body} END" for event in EVENTS]
    else:
        refusal = "RAISE EXCEPTION 'refused' USING ERRCODE = '22021'"
        body = f"BEGIN IF position('{REFUSED}' in NEW.message) > 0 THEN {refusal}; END IF; RETURN NEW; END"
        statements = [
            f"CREATE FUNCTION refuse() RETURNS trigger AS $$ {body} $$ LANGUAGE plpgsql",
            f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()",
        ]
    with ledger.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


class KilledError(BaseException):
    """As SIGKILL: nothing more is written."""


class History:
    """One account's life, drawn from a seed."""

    def __init__(self, seed: int, track: Refunds, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.random = random.Random(seed)
        self.track = track
        self.sandbox = sandbox
        self.monkeypatch = monkeypatch
        self.log: list[str] = []
        #: The referred customers: whether each has bought, and whether FirstPromoter knows the uid.
        self.leads: dict[int, tuple[bool, bool]] = {}
        self.rows = [self._row(number) for number in range(REFUNDS)]
        sandbox.change_settings(
            lead_first=self.random.random() < 0.5,
            consume_event_id_on_204=self.random.random() < 0.5,
            shape=self.random.choice(["older", "newer"]),
            tier_delay_requests=self.random.choice([0, 0, 5]),
            listing_page_size=self.random.choice([100, 7]),
            unreferred_status=self.random.choice([404, 404, 204]),
        )
        # Some customers are referred and have bought, some are referred only, and some are unknown.
        for customer in range(CUSTOMERS):
            if self.random.random() < 0.6:
                self._refer(customer, bought=self.random.random() < 0.7)

    def _row(self, number: int) -> dict[str, Any]:
        customer = self.random.randrange(CUSTOMERS)
        row = {"event_id": f"re_{number}", "amount": 100 + number, "uid": f"user_{customer}"}
        if self.random.random() < 0.5:
            row["email"] = f"u{customer}@example.com"
        if self.random.random() < 0.15:
            row["uid"] = f"wrong_{customer}"
            row.pop("email", None)
        if self.random.random() < 0.1:
            row["amount"] = self.random.choice([0, None, "a lot"])
        return row

    def _refer(self, customer: int, bought: bool) -> None:
        lead: dict[str, Any] = {"uid": f"user_{customer}", "email": f"u{customer}@example.com", "bought": bought}
        by_uid = self.random.random() < 0.7
        if not by_uid:
            del lead["uid"]
        # Anna alone, ben with a parent, cleo with two, or dora who shares with ben.
        lead |= self.random.choice(
            [
                {"promoter": "anna"},
                {"promoter": "ben", "parent": "anna"},
                {"promoter": "cleo", "parent": "ben"},
                {"promoter": "dora", "split": "ben"},
            ]
        )
        self.sandbox.add_lead(**lead)
        self.leads[customer] = bought, by_uid

    def is_findable(self, row: dict[str, Any]) -> bool:
        """Return whether FirstPromoter can find a sale of the row's customer."""
        prefix, _, customer = str(row["uid"]).partition("_")
        bought, by_uid = self.leads.get(int(customer), (False, False))
        return bought and ((by_uid and prefix == "user") or "email" in row)

    # --- what happens ---

    def correct_a_row(self) -> None:
        row = self.random.choice(self.rows)
        if str(row["uid"]).startswith("wrong_"):
            row["uid"] = f"user_{str(row['uid']).removeprefix('wrong_')}"
        elif not isinstance(row["amount"], int) or row["amount"] == 0:
            row["amount"] = 100 + int(str(row["event_id"]).removeprefix("re_"))
        elif row["event_id"] not in {recorded.event_id for recorded in self.sandbox.recorded()}:
            row["quantity"] = self.random.randrange(2, 9)

    def refer_somebody(self) -> None:
        """A sale that comes after its refund."""
        unknown = sorted(set(range(CUSTOMERS)) - set(self.leads))
        if unknown:
            self._refer(self.random.choice(unknown), bought=True)

    def let_time_pass(self) -> None:
        if self.track.ledger.exists():
            self.track.let_days_pass(1)

    def break_something(self) -> None:
        event_ids = [str(row["event_id"]) for row in self.random.sample(self.rows, 6)]
        fault: dict[str, Any] = self.random.choice(
            [
                {"kind": "reset_after"},
                {"kind": "reset_before"},
                {"kind": "truncated"},
                {"kind": "status", "status": 500, "recorded": self.random.random() < 0.5},
                {"kind": "html", "status": 403},
                {"kind": "html", "status": 200, "recorded": self.random.random() < 0.5},
                {"kind": "status", "status": 422},
                {"kind": "status", "status": 409, "message": "Try again"},
                {"kind": "status", "status": 403},
            ]
        )
        self.sandbox.fault(**fault, event_id=event_ids, times=self.random.randrange(1, 5), path="/track/refund")

    def lose_a_response_and_the_lead(self) -> None:
        """A server that looks for the lead first does not find it a moment later: it lags, or the lead was moved."""
        event_id = str(self.random.choice(self.rows)["event_id"])
        self.sandbox.fault("reset_after", event_id=event_id, path="/track/refund")
        self.sandbox.fault(**{**NOT_FOUND, "event_id": event_id})

    def break_the_listing(self) -> None:
        fault: dict[str, Any] = self.random.choice(
            [
                {"kind": "status", "status": 503},
                {"kind": "html", "status": 403},
                {"kind": "repeated_item"},
                {"kind": "changed_item", "item": {"status": None, "is_paid": 1}},
            ]
        )
        self.sandbox.fault(**fault, path=LISTING, times=self.random.randrange(1, 10))

    def leave_commissions_out(self) -> None:
        """A 200 in neither shape, or with an empty list."""
        kind: Kind = self.random.choice(["no_commissions", "empty_commissions"])
        self.sandbox.fault(kind, times=self.random.randrange(1, 4))

    def refuse_batches(self) -> None:
        """The ledger's database refuses every batch in which a message has these words; see :func:`refuse_text`."""
        event_ids = [str(row["event_id"]) for row in self.random.sample(self.rows, 3)]
        self.sandbox.fault(
            "status", status=422, message=f"{REFUSED} {{event_id}}", event_id=event_ids, times=2, path="/track/refund"
        )

    def mend(self) -> None:
        self.sandbox.clear_faults()

    # --- runs ---

    def options(self) -> dict[str, Any]:
        return {
            "as_query": self.random.random() < 0.5,
            "max_in_flight": self.random.choice([1, 4]),
            "recheck_unreferred": self.random.choice([None, A_MONTH]),
            "retry_rejected": self.random.random() < 0.3,
            "limit": self.random.choice([None, None, 5]),
            "max_rejected": None,
        }

    def given(self) -> list[dict[str, Any]]:
        rows = [dict(row) for row in self.rows]
        if self.random.random() < 0.3:  # a join repeats some of them
            rows += [dict(row) for row in self.random.sample(self.rows, 3)]
        if self.random.random() < 0.2:
            rows += [{**row, "email": "elsewhere@example.com"} for row in self.random.sample(self.rows, 3)]
        self.random.shuffle(rows)
        return rows

    def run(self) -> None:
        options = self.options()
        self.track.connect(max_attempts=1, password=self.random.choice(KEYS))
        if self.random.random() < 0.3 and self.track.number:
            options |= {"run_id": f"run_{self.random.randrange(1, self.track.number + 1)}", "try_number": 2}
        self.track(*self.given(), **options)

    def run_and_kill(self) -> None:
        """SIGKILL at a random flush."""
        left = self.random.randrange(1, 4)
        real_write, real_finish = Ledger.write, RunHistory.finish

        def write(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left <= 0:
                raise KilledError
            return real_write(*args, **kwargs)

        def finish(history: RunHistory, *args: Any) -> None:
            if left > 0:
                real_finish(history, *args)

        with self.monkeypatch.context() as patch, contextlib.suppress(KilledError, LedgerError):
            patch.setattr("airflow_provider_firstpromoter.sync.recorder.FLUSH_EVERY_RESULTS", 5)
            patch.setattr(Ledger, "write", write)
            patch.setattr(RunHistory, "finish", finish)
            self.track(*self.given(), **self.options())

    def run_and_terminate(self) -> None:
        """SIGTERM while a request hangs."""
        self.sandbox.fault("latency", seconds=2, recorded=self.random.random() < 0.5, path="/track/refund")
        options = self.options()
        del options["as_query"]
        sync = self.track.make(**options)
        before = len(self.sandbox.faults.active())
        since = cancelled_when(sync, lambda: len(self.sandbox.faults.active()) < before)
        try:
            with contextlib.suppress(SyncInterruptedError):
                sync.run(numbered(self.given()))
        finally:
            sync.cancel()
        since()

    def live(self) -> None:
        steps: list[tuple[Callable[[], None], int]] = [
            (self.run, 8),
            (self.run_and_kill, 4),
            (self.run_and_terminate, 1),
            (self.correct_a_row, 4),
            (self.refer_somebody, 2),
            (self.let_time_pass, 3),
            (self.break_something, 5),
            (self.lose_a_response_and_the_lead, 3),
            (self.break_the_listing, 2),
            (self.leave_commissions_out, 2),
            (self.refuse_batches, 2),
            (self.mend, 2),
        ]
        for _ in range(14):
            (step,) = self.random.choices([step for step, _ in steps], [weight for _, weight in steps])
            self.log.append(step.__name__)
            step()

    def end_well(self) -> None:
        self.mend()
        for _ in range(2):
            self.let_time_pass()
            self.track(*self.rows, recheck_unreferred=A_MONTH, retry_rejected=True, max_rejected=None)

    def run_with(self, key: str) -> set[str]:
        """Run with an API key and without any reason to send again what has not changed; return what is sent."""
        self.track.sent()
        self.track.connect(max_attempts=1, password=key)
        self.track(*self.rows, max_rejected=None)
        return set(self.track.sent())

    def correct_all_rows(self) -> set[str]:
        """Correct every row that is rejected or of no referred customer; return their event_ids."""
        stored = self.track.stored()
        corrected = [row for row in self.rows if stored[str(row["event_id"])] in ("rejected", "not_referred")]
        for row in corrected:
            row["quantity"] = row.get("quantity", 1) + 10
            if not self.is_usable(row):
                row["amount"] = 77
        return {str(row["event_id"]) for row in corrected}

    @staticmethod
    def is_usable(row: dict[str, Any]) -> bool:
        return isinstance(row["amount"], int) and row["amount"] > 0


@pytest.mark.parametrize(("seed", "track"), HISTORIES, indirect=["track"])
def test_any_history_ends_with_every_refund_recorded_once_and_the_ledger_right(
    seed: int, track: Refunds, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_text(track.ledger)
    history = History(seed, track, sandbox, monkeypatch)
    history.live()
    history.end_well()

    story = f"seed {seed}, {sandbox.settings.lead_first=}, {sandbox.settings.consume_event_id_on_204=}: {history.log}"
    recorded = [one.event_id for one in sandbox.recorded()]
    assert len(recorded) == len(set(recorded)), story
    stored = track.stored()
    on_record = {event_id for event_id, outcome in stored.items() if outcome in ("recorded", "already_recorded")}
    # A kill can hide a 204 that used up the event_id: nothing tells its later 409 from one of a recorded refund. The
    # reconciliation does.
    assert on_record >= set(recorded), story
    assert on_record == set(recorded) or (sandbox.settings.consume_event_id_on_204 and "run_and_kill" in history.log)
    report = Reconciliation(FirstPromoterHook(), track.ledger, Period()).run()
    missing = {one.event_id for one in report.cases.get(MismatchKind.MISSING_IN_FIRSTPROMOTER, [])}
    assert missing == on_record - set(recorded), story
    assert report.mismatches == len(missing), story
    for row in history.rows:
        event_id = str(row["event_id"])
        usable = history.is_usable(row)
        if usable and history.is_findable(row):
            assert event_id in recorded, f"{event_id} is lost; {story}"
        if not usable and event_id not in recorded:
            assert stored[event_id] == "rejected", f"{event_id}; {story}"
    net: Counter[tuple[int | None, str | None]] = Counter()
    for record in track.records().values():
        for commission in record.commissions:
            net[commission.promoter_id, commission.unit] += (commission.amount or 0) * commission.in_effect
    balances = {(each.promoter_id, each.unit): each.amount for each in sandbox.balances()}
    assert {key: amount for key, amount in net.items() if amount} == {
        key: amount for key, amount in balances.items() if amount
    }, story
    reported = sum(json.loads(row["rewards"] or "{}").get("cash", 0) for row in track.history())
    rewards = sum(one.reward_amount for one in sandbox.recorded())
    assert reported >= rewards, f"a reward was reported twice: {reported} of {rewards}; {story}"
    # Whatever key of the account a run has: what is settled stays so, and a correction is noticed once.
    assert [history.run_with(key) for key in KEYS] == [set(), set()], story
    corrected = history.correct_all_rows()
    assert [history.run_with(key) for key in KEYS[::-1]] == [corrected, set()], story
