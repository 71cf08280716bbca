"""The ledger on every database that it is proven on: SQLite, PostgreSQL, MariaDB and DuckDB."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import create_engine

from airflow_provider_firstpromoter.api.account import Account
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import LedgerRecord, LedgerWrite, RefundLedger, RunKey
from airflow_provider_firstpromoter.ledger import __main__ as module
from airflow_provider_firstpromoter.refunds import Lead, Outcome, Promoter, Refund, Result, Reward

WEAK_TO_STRONG = [Outcome.REJECTED, Outcome.NOT_REFERRED, Outcome.ALREADY_RECORDED, Outcome.RECORDED]
NO_RUN = RunKey()
#: What no error may show; it would stand in the traceback's lines of source if it were written there.
HUSH = "a value of the row"
THEN = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)


def entry(
    event_id: str = "re_1",
    outcome: Outcome = Outcome.RECORDED,
    *,
    amount: int = 1000,
    fingerprint: str = "f" * 32,
    at: datetime = THEN,
    run: RunKey = NO_RUN,
    **result: Any,
) -> LedgerWrite:
    sent = outcome is not Outcome.REJECTED
    result = {"sent": sent, "http_status": 200 if sent else None, **result}
    return LedgerWrite(
        Result(event_id=event_id, outcome=outcome, **result),
        row_amount=str(amount),
        fingerprint=fingerprint,
        refund=Refund(event_id="re_1", amount=amount, uid="cus_1"),
        run=run,
        at=at,
    )


@pytest.fixture
def open_ledger(database: Any) -> Callable[..., RefundLedger]:
    """The ledger through an engine of its own, as another process would have it."""

    def open_ledger(account: str = "acc", table: str = "firstpromoter_refunds") -> RefundLedger:
        return RefundLedger(database.engine(), account, table, name="warehouse")

    return open_ledger


@pytest.fixture
def ledger(open_ledger: Callable[..., RefundLedger]) -> RefundLedger:
    ledger = open_ledger()
    ledger.ensure()
    return ledger


def known(ledger: RefundLedger, event_id: str = "re_1") -> LedgerRecord:
    return ledger.find({event_id})[event_id]


def count(database: Any, table: str = "firstpromoter_refunds") -> int:
    return int(database.run(f"SELECT count(*) FROM {table}")[0][0])


# --- the table --------------------------------------------------------------------------------------------


def test_a_missing_table_is_an_empty_ledger_and_reading_does_not_make_it(
    open_ledger: Callable[..., RefundLedger],
) -> None:
    ledger = open_ledger()
    assert ledger.find({"re_1"}) == {}
    assert not ledger.exists()
    assert not open_ledger().exists()


def test_it_is_made_on_first_use_and_then_left_as_it_is(open_ledger: Callable[..., RefundLedger]) -> None:
    open_ledger().ensure()
    open_ledger().write([entry()])
    open_ledger().ensure()
    assert known(open_ledger()).outcome is Outcome.RECORDED


def test_two_makers_at_once_are_no_error(open_ledger: Callable[..., RefundLedger], at_once: Callable[..., Any]) -> None:
    for number in range(5):
        makers = [open_ledger(table=f"refunds_{number}") for _ in range(3)]
        at_once(*(maker.ensure for maker in makers))
        assert all(maker.exists() for maker in makers)


def test_a_missing_column_is_named_with_the_statement_that_adds_it(
    database: Any, open_ledger: Callable[..., RefundLedger]
) -> None:
    lines = open_ledger().ddl().splitlines()
    database.run("\n".join(line for line in lines if not line.strip().startswith(("lead_id ", "last_sent_at "))))
    for use in (open_ledger().ensure, open_ledger().exists, lambda: open_ledger().find({"re_1"})):
        with pytest.raises(LedgerError, match="of connection 'warehouse' lacks columns") as caught:
            use()
    alters = re.findall(r"ALTER TABLE .*?;", str(caught.value))
    assert len(alters) == 2
    for alter in alters:
        database.run(alter)
    ledger = open_ledger()
    ledger.ensure()
    ledger.write([entry(lead=Lead(id=7))])
    assert known(ledger).last_sent_at == THEN
    assert database.run("SELECT lead_id FROM firstpromoter_refunds") == [(7,)]


def test_columns_of_somebody_else_do_no_harm(database: Any, open_ledger: Callable[..., RefundLedger]) -> None:
    open_ledger().ensure()
    database.run("ALTER TABLE firstpromoter_refunds ADD reviewed_by VARCHAR(20)")
    open_ledger().ensure()
    open_ledger().write([entry()])
    assert known(open_ledger()).outcome is Outcome.RECORDED


def test_its_statement_is_printed_for_those_who_may_not_create_tables(
    database: Any,
    open_ledger: Callable[..., RefundLedger],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dialect = database.engine().dialect.name
    monkeypatch.setattr(sys, "argv", ["ledger", dialect])
    module.main()
    printed = capsys.readouterr().out
    assert printed.strip() == open_ledger().ddl()
    database.run(printed.strip().removesuffix(";"))
    ledger = open_ledger()
    assert ledger.exists()
    ledger.write([entry()])
    assert known(ledger).outcome is Outcome.RECORDED


def test_the_statement_comes_from_the_command_line_too() -> None:
    command = [sys.executable, "-m", "airflow_provider_firstpromoter.ledger"]
    done = subprocess.run([*command, "postgresql", "books.refunds"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("CREATE TABLE books.refunds (")
    assert done.stdout.endswith(");\n")


def test_an_unknown_dialect_or_none_at_all_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, said in ([], "usage: python -m .* DIALECT"), (["tabledb"], "no dialect 'tabledb'"):
        monkeypatch.setattr(sys, "argv", ["ledger", *arguments])
        with pytest.raises(SystemExit, match=said):
            module.main()


@pytest.mark.parametrize("name", ["Order Refunds", "MyRefunds", "select", "réfunds", "refunds-2"])
def test_a_name_that_needs_quoting_gets_it(open_ledger: Callable[..., RefundLedger], name: str) -> None:
    ledger = open_ledger(table=name)
    ledger.ensure()
    ledger.write([entry()])
    ledger.write([entry(outcome=Outcome.RECORDED)])
    assert known(open_ledger(table=name)).outcome is Outcome.RECORDED


@pytest.mark.parametrize("schema", ["books", "Our Books"])
def test_it_can_live_in_another_schema(
    database: Any, open_ledger: Callable[..., RefundLedger], schema: str, request: pytest.FixtureRequest
) -> None:
    if database.kind == "sqlite":
        schema = "main"  # SQLite knows no others, but the files that are attached
    else:
        # MariaDB's schemas are databases, and belong to the whole server.
        quote = "`" if database.kind == "mariadb" else '"'
        database.run(f"CREATE SCHEMA {quote}{schema}{quote}")
        if database.kind == "mariadb":
            request.addfinalizer(lambda: database.run(f"DROP SCHEMA `{schema}`"))
    ledger = open_ledger(table=f"{schema}.refunds")
    ledger.ensure()
    ledger.write([entry()])
    assert known(open_ledger(table=f"{schema}.refunds")).outcome is Outcome.RECORDED
    assert f"ledger '{schema}.refunds'" in str(ledger)
    if database.kind in ("postgresql", "mariadb"):  # DuckDB's dialect finds a table in whatever schema it is
        assert not open_ledger(table="refunds").exists()


# --- what is written, and read again ----------------------------------------------------------------------


def test_any_number_of_results_at_once(ledger: RefundLedger, database: Any) -> None:
    event_ids = [f"re_{number}" for number in range(602)]
    ledger.write(entry(event_id) for event_id in event_ids)
    ledger.write(entry(event_id, Outcome.RECORDED) for event_id in [*event_ids[:300], "one more"])
    assert set(ledger.find(set(event_ids))) == set(event_ids)
    assert count(database) == 603


def test_nothing_to_write_and_nothing_to_find_ask_nothing(open_ledger: Callable[..., RefundLedger]) -> None:
    ledger = open_ledger()  # there is no table, so that any statement would fail
    ledger.write([])
    ledger.write(entry(outcome=outcome) for outcome in (Outcome.FAILED, Outcome.CHANGED, Outcome.PENDING))
    ledger.write([LedgerWrite(Result(event_id=None, outcome=Outcome.REJECTED), None, "f")])
    assert ledger.find(set()) == {}


def test_a_result_comes_back_as_it_was_but_sent_by_nobody_now(ledger: RefundLedger) -> None:
    written = entry(
        recorded_amount=-1000,
        refund_id=2**60,
        reward=Reward(id=5, status="approved", amount=-200, unit="cash", created_at="2024-09-11T14:36:01.016Z"),
        lead=Lead(id=7, state="cancelled", email="one@example.com", uid="cus_1"),
        promoter=Promoter(id=9, status="active", default_ref_id="ref 😀", email="two@example.com"),
        message="“naïve” 😀 100% 'quoted' \\ :colon",
    )
    ledger.write([written])
    assert known(ledger).result().to_json() == {**written.result.to_json(), "sent": False}


def test_analysts_find_plain_columns_and_nobody_finds_an_e_mail(ledger: RefundLedger, database: Any) -> None:
    ledger.write(
        [
            entry(
                recorded_amount=-1000,
                refund_id=4,
                reward=Reward(id=5, status="approved", amount=-200, unit="cash"),
                lead=Lead(id=7, email="one@example.com", uid="cus_1"),
                promoter=Promoter(id=9, email="two@example.com"),
                run=RunKey("dag", "run", "task", -1),
            )
        ]
    )
    columns = (
        "account, event_id, outcome, http_status, row_amount, sent_amount, recorded_amount, refund_id, reward_id, "
        "reward_status, reward_amount, reward_unit, promoter_id, lead_id, dag_id, run_id, task_id, map_index"
    )
    [found] = database.run(f"SELECT {columns} FROM firstpromoter_refunds")
    assert found[:9] == ("acc", "re_1", "recorded", 200, "1000", 1000, -1000, 4, 5)
    assert found[9:] == ("approved", -200, "cash", 9, 7, "dag", "run", "task", -1)
    everything = repr(database.run("SELECT * FROM firstpromoter_refunds"))
    assert "example.com" not in everything
    assert "cus_1" not in everything


def test_times_are_utc_whatever_clock_they_came_from(ledger: RefundLedger, database: Any) -> None:
    ledger.write([entry(at=THEN.astimezone(timezone(timedelta(hours=5, minutes=45))))])
    assert known(ledger).first_sent_at == THEN
    assert known(ledger).first_sent_at.utcoffset() == timedelta(0)
    [(stored,)] = database.run("SELECT last_sent_at FROM firstpromoter_refunds")
    assert str(stored).startswith("2026-03-01 12:30:15")


def test_what_was_never_sent_has_no_times(ledger: RefundLedger) -> None:
    ledger.write([entry(outcome=Outcome.REJECTED)])
    assert (known(ledger).first_sent_at, known(ledger).last_sent_at) == (None, None)


# --- stronger and weaker ----------------------------------------------------------------------------------


def test_a_weaker_outcome_never_overwrites_a_stronger_one(ledger: RefundLedger) -> None:
    orders = {f"re_{number}": order for number, order in enumerate(itertools.permutations(WEAK_TO_STRONG))}
    assert len(orders) == 24
    for place in range(4):
        ledger.write(entry(one, order[place], message=order[place].value) for one, order in orders.items())
        for event_id, found in ledger.find(set(orders)).items():
            strongest = max(orders[event_id][: place + 1], key=lambda outcome: outcome.strength)
            assert found.outcome is strongest
            assert found.result().message == strongest.value


def test_the_same_holds_within_one_batch(ledger: RefundLedger, database: Any) -> None:
    orders = {f"re_{number}": order for number, order in enumerate(itertools.permutations(WEAK_TO_STRONG))}
    ledger.write(entry(one, order[place]) for place in range(4) for one, order in orders.items())
    assert {found.outcome for found in ledger.find(set(orders)).values()} == {Outcome.RECORDED}
    assert count(database) == 24


def test_what_failed_or_changed_leaves_the_ledger_alone(ledger: RefundLedger) -> None:
    ledger.write([entry(outcome=Outcome.NOT_REFERRED)])
    for outcome in (Outcome.FAILED, Outcome.CHANGED, Outcome.PENDING):
        ledger.write([entry(outcome=outcome)])
    assert known(ledger).outcome is Outcome.NOT_REFERRED


def test_what_is_recorded_stays_as_it_was_first_recorded(ledger: RefundLedger) -> None:
    ledger.write([entry(reward=Reward(id=1, amount=-200), run=RunKey("dag", "first"))])
    ledger.write([entry(reward=Reward(id=2, amount=-999), run=RunKey("dag", "second"), at=THEN + timedelta(days=1))])
    assert known(ledger).result().reward == Reward(id=1, amount=-200)
    assert known(ledger).last_sent_at == THEN


def test_asking_again_renews_what_settled_nothing_for_good(ledger: RefundLedger) -> None:
    later = THEN + timedelta(days=2)
    ledger.write([entry(outcome=Outcome.NOT_REFERRED), entry("re_2", Outcome.REJECTED, fingerprint="1" * 32)])
    ledger.write([entry(outcome=Outcome.NOT_REFERRED, at=later), entry("re_2", Outcome.REJECTED, fingerprint="2" * 32)])
    assert (known(ledger).first_sent_at, known(ledger).last_sent_at) == (THEN, later)
    assert known(ledger, "re_2").fingerprint == "2" * 32


def test_a_rejected_refund_that_is_mended_gets_its_times(ledger: RefundLedger) -> None:
    ledger.write([entry(outcome=Outcome.REJECTED)])
    ledger.write([entry(outcome=Outcome.RECORDED)])
    assert (known(ledger).first_sent_at, known(ledger).last_sent_at) == (THEN, THEN)


def test_the_stronger_of_two_writers_wins(
    database: Any, open_ledger: Callable[..., RefundLedger], at_once: Callable[..., Any]
) -> None:
    writers = [(open_ledger(), outcome) for outcome in (Outcome.NOT_REFERRED, Outcome.RECORDED, Outcome.REJECTED)]
    writers[0][0].ensure()
    event_ids = [f"re_{number}" for number in range(100)]
    for start in range(0, 100, 20):
        batch = event_ids[start : start + 20]
        at_once(
            *(
                # Each in its own order, so that they also meet as deadlocks.
                lambda ledger=ledger, order=order, outcome=outcome: ledger.write(entry(one, outcome) for one in order)
                for (ledger, outcome), order in zip(writers, (batch, batch[::-1], batch[10:] + batch[:10]), strict=True)
            )
        )
    assert {one.outcome for one in open_ledger().find(set(event_ids)).values()} == {Outcome.RECORDED}
    assert count(database) == 100


def test_where_no_key_is_enforced_the_stronger_of_two_rows_is_read(
    database: Any, open_ledger: Callable[..., RefundLedger]
) -> None:
    unkeyed = re.sub(r",\s*PRIMARY KEY \([^)]*\)", "", open_ledger().ddl().rstrip(";"))
    assert "PRIMARY KEY" not in unkeyed
    ledger = open_ledger()
    database.run(unkeyed)
    insert = "INSERT INTO firstpromoter_refunds (account, event_id, outcome) VALUES ('acc', '{}', '{}')"
    for event_id, pair in ("re_1", ("recorded", "not_referred")), ("re_2", ("rejected", "already_recorded")):
        for outcome in pair:
            database.run(insert.format(event_id, outcome))
    found = ledger.find({"re_1", "re_2"})
    assert found["re_1"].outcome is Outcome.RECORDED
    assert found["re_2"].outcome is Outcome.ALREADY_RECORDED


# --- whose row it is --------------------------------------------------------------------------------------

ALIKE = ["a", "A", "á", "a\u0301", "ä", "ae", "æ", "ß", "ss", "SS", "\u0131", "i", "I", "İ", "ﬁ", "fi"]
ALIKE += ["re_1", "re_1\u200b", "re_1.", "re-1", "re%1", "re'1", 're"1', "re\\1", "1", "01", "1.0", "😀", "😁", "😀😀"]
ALIKE += ["e" * 255, "e" * 254, "😀" * 255, "😀" * 254]


def test_event_ids_are_compared_byte_for_byte(ledger: RefundLedger, database: Any) -> None:
    ledger.write(entry(event_id, message=ascii(event_id)[:400]) for event_id in ALIKE[::2])
    assert set(ledger.find(set(ALIKE))) == set(ALIKE[::2])
    ledger.write(entry(event_id, message=ascii(event_id)[:400]) for event_id in ALIKE)
    found = ledger.find(set(ALIKE))
    assert {event_id: one.result().message for event_id, one in found.items()} == {
        event_id: ascii(event_id)[:400] for event_id in ALIKE
    }
    assert count(database) == len(ALIKE)


def test_accounts_do_not_see_each_other(open_ledger: Callable[..., RefundLedger]) -> None:
    accounts = ["acc", "ACC", "acc@127.0.0.1", "acc@staging.example.com"]
    open_ledger().ensure()
    for account in accounts:
        assert open_ledger(account).find({"re_1"}) == {}
        open_ledger(account).write([entry(message=account)])
    for account in accounts:
        assert known(open_ledger(account)).result().message == account


def test_staging_settles_nothing_of_production(set_connection: Callable[..., str]) -> None:
    def account(host: str) -> Account:
        set_connection("fp", conn_type="firstpromoter", login="acc", password="sandbox-api-key", host=host)
        return FirstPromoterHook("fp").account

    assert account("").key == "acc"
    assert account("https://api.firstpromoter.com/api/v2").key == "acc"
    assert account("https://staging.example.com").key == "acc@staging.example.com"
    assert account("http://127.0.0.1:8765").key == "acc@127.0.0.1"


def test_what_a_run_did_is_found_again(ledger: RefundLedger, open_ledger: Callable[..., RefundLedger]) -> None:
    run = RunKey("dag", "manual__2026-03-01T00:00:00+00:00", "task", -1)
    others = [run._replace(**other) for other in ({"run_id": "x"}, {"task_id": "x"}, {"map_index": 0}, {"dag_id": "x"})]
    ledger.write([entry("re_1", run=run), entry("re_2", Outcome.REJECTED, run=run)])
    ledger.write(entry(f"other_{number}", run=other) for number, other in enumerate([*others, RunKey()]))
    open_ledger("another account").write([entry("re_3", run=run)])
    assert {one.event_id for one in ledger.records_of_run(run)} == {"re_1", "re_2"}
    assert [one.event_id for one in ledger.records_of_run(RunKey())] == ["other_4"]


# --- a database that refuses ------------------------------------------------------------------------------


def said(error: BaseException) -> str:
    """All of what a log would show of an exception."""
    return "".join(traceback.format_exception(error))


def test_a_refused_batch_is_named_without_its_values_and_none_of_it_is_written(
    database: Any, open_ledger: Callable[..., RefundLedger]
) -> None:
    ledger = open_ledger()
    ddl = ledger.ddl().rstrip(";").rstrip()
    end = ddl.rindex(")")
    database.run(f"{ddl[:end]}, CHECK (http_status <> 418){ddl[end:]}")
    ledger.write([entry("old", Outcome.NOT_REFERRED)])
    with pytest.raises(LedgerError, match=r"'warehouse' refused 3 results: .*Run the task again") as caught:
        ledger.write([entry("new", message=HUSH), entry("bad", http_status=418), entry("old", message=HUSH)])
    assert HUSH not in said(caught.value)
    assert "INSERT" not in said(caught.value)
    assert {one.event_id: one.outcome for one in ledger.find({"new", "bad", "old"}).values()} == {
        "old": Outcome.NOT_REFERRED
    }


def _read_only(database: Any) -> str:
    """An address under which the database can be read but not written."""
    if database.kind == "sqlite":
        return database.url.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"
    if database.kind == "postgresql":
        return f"{database.url}&options=-c%20default_transaction_read_only%3Don"
    if database.kind == "mariadb":
        database.run("CREATE OR REPLACE USER reader@localhost")
        database.run("GRANT SELECT ON *.* TO reader@localhost")
        return database.url.replace("root@", "reader@")
    database.dispose()  # DuckDB opens a file in one way at a time
    return f"{database.url}?access_mode=read_only"


def test_a_database_that_may_only_be_read_is_said_so_with_the_statement_for_those_who_may_write(
    database: Any, new_engine: Callable[[str], Any]
) -> None:
    database.run("CREATE TABLE something (x INTEGER)")
    ledger = RefundLedger(new_engine(_read_only(database)), "acc", name="warehouse")
    assert ledger.find({"re_1"}) == {}
    with pytest.raises(LedgerError, match="of connection 'warehouse' cannot be made: ") as caught:
        ledger.ensure()
    assert ledger.ddl() in str(caught.value)


def test_a_ledger_that_may_only_be_read_can_be_read(
    database: Any, open_ledger: Callable[..., RefundLedger], new_engine: Callable[[str], Any]
) -> None:
    open_ledger().ensure()
    open_ledger().write([entry()])
    ledger = RefundLedger(new_engine(_read_only(database)), "acc", name="warehouse")
    assert known(ledger).outcome is Outcome.RECORDED
    with pytest.raises(LedgerError, match="of connection 'warehouse' refused 1 results: "):
        ledger.write([entry("re_2")])


@pytest.fixture
def new_engine() -> Any:
    made = []

    def new_engine(url: str, **how: Any) -> Any:
        made.append(create_engine(url, future=True, hide_parameters=True, **how))
        return made[-1]

    yield new_engine
    for engine in made:
        engine.dispose()


@pytest.mark.parametrize(
    ("kind", "impatience", "lock"),
    [
        ("sqlite", "?timeout=0.05", "BEGIN EXCLUSIVE"),
        ("postgresql", "&options=-c%20lock_timeout%3D50", "LOCK TABLE firstpromoter_refunds"),
    ],
)
def test_a_ledger_that_stays_locked_is_said_so_without_values(
    kind: str, impatience: str, lock: str, new_database: Callable[..., Any], new_engine: Callable[[str], Any]
) -> None:
    database = new_database(kind)
    RefundLedger(database.engine(), "acc").ensure()
    ledger = RefundLedger(new_engine(database.url + impatience), "acc", name="warehouse")
    locker = database.engine()
    with locker.connect() as connection:
        connection.exec_driver_sql(lock)
        with pytest.raises(LedgerError, match=r"warehouse.*lock") as caught:
            ledger.write([entry("re_1", message=HUSH)])
        with pytest.raises(LedgerError, match=r"of connection 'warehouse' cannot be read: .*lock"):
            ledger.find({"re_1"})
        connection.rollback()
    assert HUSH not in said(caught.value)
    ledger.write([entry("re_1")])
    assert known(ledger).outcome is Outcome.RECORDED


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/at/all.db",
        "postgresql+psycopg2://user:hush-hush@127.0.0.1:1/warehouse",
        "mysql+pymysql://user:hush-hush@127.0.0.1:1/warehouse",
        "duckdb:////nowhere/at/all.duckdb",
    ],
)
def test_a_database_that_is_gone_is_said_so_without_its_password(url: str, new_engine: Callable[[str], Any]) -> None:
    ledger = RefundLedger(new_engine(url), "acc", name="warehouse")
    for use in (ledger.ensure, ledger.exists, lambda: ledger.find({"re_1"}), lambda: ledger.write([entry()])):
        with pytest.raises(LedgerError, match=r"'warehouse' (cannot be read|refused 1 results): ") as caught:
            use()
        assert "hush-hush" not in said(caught.value)


# --- through Airflow --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "duckdb"])
def test_an_airflow_connection_leads_to_it(kind: str, new_database: Callable[..., Any]) -> None:
    database = new_database(kind, "books")
    for _ in range(2):
        ledger = RefundLedger.from_connection("books", "acc")
        ledger.ensure()
        ledger.write([entry()])
        assert known(ledger).outcome is Outcome.RECORDED
        ledger.engine.dispose()
    assert count(database) == 1
