"""An account's life, drawn from a seed: what happens to its sales and refunds, and to those who send them."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, SALE, Call, numbered
from airflow_provider_firstpromoter.exceptions import LedgerError, SyncInterruptedError
from airflow_provider_firstpromoter.ledger import Ledger, RunHistory
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sandbox.faults import Kind
from tests.support import SECOND_KEY
from tests.sync.runs import A_MONTH, LISTING, NOT_FOUND, Refunds, Run, Sales, cancelled_when

CUSTOMERS = 8
#: The last ones are never referred: a sale that names a promoter makes their lead.
WALK_INS = 2
ROWS = 16
#: The least amount of each call, so that no two events of a customer have the same.
AMOUNTS = {SALE: 1000, REFUND: 100}
KEYS = ("sandbox-api-key", SECOND_KEY)
#: Words that the ledger's database refuses.
REFUSED = "This text cannot be stored:"


class KilledError(BaseException):
    """As SIGKILL: nothing more is written."""


@contextlib.contextmanager
def killed_at_flush(monkeypatch: pytest.MonkeyPatch, number: int, *, results: int) -> Iterator[None]:
    """
    SIGKILL a run when it writes to the ledger for this time; nothing after it is written.

    :param results: how many are collected before they are written
    """
    left = number
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

    with monkeypatch.context() as patch, contextlib.suppress(KilledError, LedgerError):
        patch.setattr("airflow_provider_firstpromoter.sync.recorder.FLUSH_EVERY_RESULTS", results)
        patch.setattr(Ledger, "write", write)
        patch.setattr(RunHistory, "finish", finish)
        yield


class History:
    """One account's life, with sales and refunds at once."""

    def __init__(
        self,
        seed: int,
        sandbox: Sandbox,
        connect: Callable[..., str],
        ledger_conn_id: str,
        monkeypatch: pytest.MonkeyPatch,
        at_once: Callable[..., Any],
    ) -> None:
        self.random = random.Random(seed)
        self.sandbox = sandbox
        self.connect = connect
        self.tracks = {each.call: each(sandbox, connect, ledger_conn_id) for each in (Sales, Refunds)}
        self.monkeypatch = monkeypatch
        self.at_once = at_once
        self.log: list[str] = []
        self.referred: set[int] = set()
        connect(max_attempts=1)
        for track in self.tracks.values():
            refuse_text(track.ledger)
        #: Of both calls, sales first: refunds can name them.
        self.rows: dict[Call, list[dict[str, Any]]] = {}
        for call in self.tracks:
            self.rows[call] = [self._row(call, number) for number in range(ROWS)]
        sandbox.change_settings(
            lead_first=self.random.random() < 0.5,
            consume_event_id_on_204=self.random.random() < 0.5,
            shape=self.random.choice(["older", "newer"]),
            tier_delay_requests=self.random.choice([0, 0, 5]),
            listing_page_size=self.random.choice([100, 7]),
            unreferred_status=self.random.choice([404, 404, 204]),
        )
        # Some customers are referred and have bought, some are referred only, and some are unknown.
        for customer in range(CUSTOMERS - WALK_INS):
            if self.random.random() < 0.6:
                self._refer(customer, bought=self.random.random() < 0.5)

    def _row(self, call: Call, number: int) -> dict[str, Any]:
        customer = self.random.randrange(CUSTOMERS)
        # Now and then a sale and a refund have the same event_id. None begins like another.
        event_id = f"{call.name if number % 5 else 'event'}_{number:02}"
        row = {"event_id": event_id, "amount": AMOUNTS[call] + number, "uid": f"user_{customer}"}
        if self.random.random() < 0.5:
            row["email"] = f"u{customer}@example.com"
        sales = [sale["event_id"] for sale in self.rows.get(SALE, ()) if sale["uid"] == row["uid"]]
        if call == REFUND and sales:
            row["sale_event_id"] = self.random.choice(sales)
        if call == SALE and self.random.random() < 0.5:
            row |= {"plan": "basic", "mrr": number}
        if self.random.random() < 0.15:
            row["uid"] = f"wrong_{customer}"
            row.pop("email", None)
        if self.random.random() < 0.1:
            row["amount"] = self.random.choice([0, None, "a lot"])
        return row

    def _refer(self, customer: int, bought: bool) -> None:
        lead: dict[str, Any] = {"uid": f"user_{customer}", "email": f"u{customer}@example.com", "bought": bought}
        if self.random.random() < 0.3:
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
        self.referred.add(customer)

    def can_be_recorded(self, call: Call, row: dict[str, Any]) -> bool:
        """Return whether FirstPromoter finds or makes the row's lead and, for a refund, has a sale of it."""
        store, account = self.sandbox.store, self.sandbox.account_id
        leads = [store.find_lead(account, **{name: row[name]}) for name in ("uid", "email") if name in row]
        if call == SALE:
            return any(leads) or bool(row.keys() & {"tid", "ref_id"})
        return any(lead["customer_since"] for lead in leads if lead)

    def recorded(self, call: Call) -> list[str]:
        """The event_ids that FirstPromoter has recorded."""
        return [one.event_id for one in self.sandbox.recorded(call.name)]

    # --- what happens ---

    def a_call(self) -> Call:
        return self.random.choice(list(self.tracks))

    def some_events(self, call: Call, count: int) -> dict[str, Any]:
        """The part of a fault that says which requests it meets."""
        rows = self.random.sample(self.rows[call], count)
        return {"path": call.path, "event_id": [str(row["event_id"]) for row in rows]}

    def correct_a_row(self) -> None:
        call = self.a_call()
        row = self.random.choice(self.rows[call])
        number = int(str(row["event_id"]).partition("_")[2])
        name, _, customer = str(row["uid"]).partition("_")
        if call == SALE and int(customer) >= CUSTOMERS - WALK_INS and not row.keys() & {"tid", "ref_id"}:
            row |= self.random.choice([{"tid": "visitor-anna"}, {"ref_id": "ben"}])
        elif name == "wrong":
            row["uid"] = f"user_{customer}"
        elif not is_usable(row):
            row["amount"] = AMOUNTS[call] + number
        elif row["event_id"] not in self.recorded(call):
            row["quantity"] = self.random.randrange(2, 9)

    def refer_somebody(self) -> None:
        """A referral that comes after the sale and the refund; half have a sale that is not in the warehouse."""
        unknown = sorted(set(range(CUSTOMERS - WALK_INS)) - self.referred)
        if unknown:
            self._refer(self.random.choice(unknown), bought=self.random.random() < 0.5)

    def let_time_pass(self) -> None:
        for track in self.tracks.values():
            track.let_days_pass(1)

    def break_something(self) -> None:
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
        self.sandbox.fault(**fault, **self.some_events(self.a_call(), 6), times=self.random.randrange(1, 5))

    def lose_a_response_and_the_lead(self) -> None:
        """A server that looks for the lead first does not find it a moment later: it lags, or the lead was moved."""
        event = self.some_events(self.a_call(), 1)
        self.sandbox.fault("reset_after", **event)
        self.sandbox.fault(**NOT_FOUND | event)

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

    def let_the_listing_lag(self) -> None:
        self.sandbox.change_settings(listing_lag_requests=self.random.randrange(1, 30))

    def leave_commissions_out(self) -> None:
        """A 200 in neither shape, or with an empty list."""
        kind: Kind = self.random.choice(["no_commissions", "empty_commissions"])
        self.sandbox.fault(kind, times=self.random.randrange(1, 4))

    def refuse_batches(self) -> None:
        """The ledger's database refuses every batch in which a message has these words; see :func:`refuse_text`."""
        events = self.some_events(self.a_call(), 3)
        self.sandbox.fault("status", status=422, message=f"{REFUSED} {{event_id}}", times=2, **events)

    def mend(self) -> None:
        self.sandbox.clear_faults()
        self.sandbox.change_settings(listing_lag_requests=0)

    # --- runs ---

    def options(self) -> dict[str, Any]:
        return {
            "max_in_flight": self.random.choice([1, 4]),
            "recheck_unreferred": self.random.choice([None, A_MONTH]),
            "retry_rejected": self.random.random() < 0.3,
            "limit": self.random.choice([None, None, 5]),
            "max_rejected": None,
        }

    def given(self, call: Call) -> list[dict[str, Any]]:
        rows = [dict(row) for row in self.rows[call]]
        if self.random.random() < 0.3:  # a join repeats some of them
            rows += [dict(row) for row in self.random.sample(self.rows[call], 3)]
        if self.random.random() < 0.2:
            rows += [{**row, "email": "elsewhere@example.com"} for row in self.random.sample(self.rows[call], 3)]
        self.random.shuffle(rows)
        return rows

    def run(self) -> None:
        """Run one of the calls or both at the same time, with either key, sometimes as the retry of an earlier run."""
        self.connect(max_attempts=1, password=self.random.choice(KEYS))
        runs = []
        for call in self.random.choice([[SALE], [REFUND], [SALE, REFUND], [SALE, REFUND]]):
            track, options = self.tracks[call], self.options()
            if self.random.random() < 0.3 and track.number:
                options |= {"run_id": f"run_{self.random.randrange(1, track.number + 1)}", "try_number": 2}
            run = Run(track.make(**options))
            runs.append(partial(run.start, self.given(call), as_query=self.random.random() < 0.5))
        self.at_once(*runs)

    def run_and_kill(self) -> None:
        """SIGKILL at a random flush."""
        with killed_at_flush(self.monkeypatch, self.random.randrange(1, 4), results=5):
            self.run()

    def run_and_terminate(self) -> None:
        """SIGTERM while a request hangs."""
        call = self.a_call()
        self.sandbox.fault("latency", seconds=2, recorded=self.random.random() < 0.5, path=call.path)
        sync = self.tracks[call].make(**self.options())
        before, over = len(self.sandbox.faults.active()), threading.Event()
        since = cancelled_when(sync, lambda: over.is_set() or len(self.sandbox.faults.active()) < before)
        try:
            with contextlib.suppress(SyncInterruptedError):
                sync.run(numbered(self.given(call), call))
        finally:
            over.set()
            since()

    def live(self) -> None:
        steps: list[tuple[Callable[[], None], int]] = [
            (self.run, 8),
            (self.run_and_kill, 4),
            (self.run_and_terminate, 1),
            (self.correct_a_row, 6),
            (self.refer_somebody, 2),
            (self.let_time_pass, 3),
            (self.break_something, 5),
            (self.lose_a_response_and_the_lead, 3),
            (self.break_the_listing, 2),
            (self.let_the_listing_lag, 2),
            (self.leave_commissions_out, 2),
            (self.refuse_batches, 2),
            (self.mend, 2),
        ]
        for _ in range(16):
            (step,) = self.random.choices([step for step, _ in steps], [weight for _, weight in steps])
            self.log.append(step.__name__)
            step()

    def end_well(self) -> None:
        self.mend()
        for _ in range(2):
            self.let_time_pass()
            for call, track in self.tracks.items():
                track(*self.rows[call], recheck_unreferred=A_MONTH, retry_rejected=True, max_rejected=None)

    def run_with(self, key: str) -> set[tuple[str, str]]:
        """Run with an API key and without any reason to send again what has not changed; return what is sent."""
        sent = set()
        self.connect(max_attempts=1, password=key)
        for call, track in self.tracks.items():
            track.sent()
            track(*self.rows[call], max_rejected=None)
            sent |= {(call.name, event_id) for event_id in track.sent()}
        return sent

    def correct_all_rows(self) -> set[tuple[str, str]]:
        """Correct every row that is rejected or of no referred customer; return their calls and event_ids."""
        corrected = set()
        for call, track in self.tracks.items():
            stored = track.stored()
            for row in self.rows[call]:
                if stored[str(row["event_id"])] in ("rejected", "not_referred"):
                    row["quantity"] = row.get("quantity", 1) + 10
                    row["amount"] = row["amount"] if is_usable(row) else 77
                    corrected.add((call.name, str(row["event_id"])))
        return corrected


def is_usable(row: dict[str, Any]) -> bool:
    return isinstance(row["amount"], int) and row["amount"] > 0


def refuse_text(ledger: Ledger) -> None:
    """Let the database refuse each write of a message with the words :data:`REFUSED`, as one refuses a character."""
    ledger.ensure()
    table = ledger.table.name
    if ledger.engine.dialect.name == "sqlite":
        body = f"SELECT RAISE(ABORT, 'refused') WHERE instr(NEW.message, '{REFUSED}');"
        statements = [
            f"CREATE TRIGGER {table}_{event} BEFORE {event} ON {table} BEGIN {body} END"
            for event in ("INSERT", "UPDATE")
        ]
    else:
        refusal = "RAISE EXCEPTION 'refused' USING ERRCODE = '22021'"
        body = f"BEGIN IF position('{REFUSED}' in NEW.message) > 0 THEN {refusal}; END IF; RETURN NEW; END"
        statements = [
            f"CREATE OR REPLACE FUNCTION refuse() RETURNS trigger AS $$ {body} $$ LANGUAGE plpgsql",
            f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()",
        ]
    with ledger.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
