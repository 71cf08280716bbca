"""What the documentation must not lose sight of."""

from __future__ import annotations

import ast
import re
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from airflow_provider_firstpromoter import exceptions
from airflow_provider_firstpromoter.account import Extra
from airflow_provider_firstpromoter.calls import (
    MANY_DECIMAL_CURRENCIES,
    REFUND,
    ZERO_DECIMAL_CURRENCIES,
    Commission,
    Outcome,
    Result,
    Summary,
)
from airflow_provider_firstpromoter.ledger import Ledger, LedgerWrite, RunKey, ledger_table, now
from airflow_provider_firstpromoter.reconcile import Mismatch, MismatchKind, MismatchTable, mismatch_table

ROOT = Path(__file__).parents[1]
SENDING = {
    "SqlToFirstPromoterOperator",
    "SqlToFirstPromoterOperator.partial",
    "UnrecordedRefundSensor",
    "UnrecordedSaleSensor",
}
DOCS = ROOT / "docs"
EXAMPLES = sorted((ROOT / "dags_examples").glob("*.py"))


def page(name: str) -> str:
    return (DOCS / name).read_text()


def queries(name: str) -> list[str]:
    return [sql.replace("ACCOUNT_ID", "account") for sql in re.findall(r"```sql\n(.*?)```", page(name), re.DOTALL)]


def test_architecture_names_functions_that_exist() -> None:
    table = page("architecture.md").partition("## Where one decision is made")[2].partition("\n## ")[0]
    names = 0
    for line in table.splitlines():
        module = ""
        for word in re.findall(r"`([\w./]+)`", line.rpartition(" | ")[2] if line.count("|") > 3 else line):
            if word.endswith(".py"):
                module = (ROOT / "airflow_provider_firstpromoter" / word).read_text()
                continue
            names += 1
            assert re.search(rf"(def |class |^){re.escape(word.rpartition('.')[2])}\b", module, re.MULTILINE), line
    assert names > 5


def test_every_metric_is_documented() -> None:
    module = ROOT / "airflow_provider_firstpromoter" / "sync" / "log_text.py"
    names = set(re.findall(r"``(firstpromoter\.[\w.<>]+)``", module.read_text()))
    assert names
    assert {name for name in names if f"`{name}`" not in page("on-call.md")} == set()


@pytest.mark.parametrize("field", Extra.model_fields.items(), ids=lambda field: field[0])
def test_every_connection_field_is_documented_with_its_default(field: tuple[str, object]) -> None:
    name, info = field
    default = getattr(info, "default", None)
    documented = "none" if default is None else f"{default:g}" if isinstance(default, float) else str(default)
    assert re.search(rf"^\| `{name}` \| `?{documented}`? \|", page("connection.md"), re.MULTILINE)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_documented(outcome: Outcome) -> None:
    assert f"\n| `{outcome}` |" in page("outcomes.md")


@pytest.mark.parametrize("kind", MismatchKind)
def test_every_kind_of_mismatch_is_documented(kind: MismatchKind) -> None:
    assert f"| `{kind}` |" in page("reconcile.md")


@pytest.mark.parametrize("column", mismatch_table("mismatches").columns.keys())
def test_every_column_of_the_mismatch_table_is_documented(column: str) -> None:
    assert f"`{column}`" in page("reconcile.md")


@pytest.mark.parametrize("field", Summary.model_fields)
def test_every_summary_field_is_documented(field: str) -> None:
    assert f"`{field}`" in page("outcomes.md")


@pytest.mark.parametrize("error", [name for name in vars(exceptions) if name.endswith("Error")])
def test_every_error_is_documented(error: str) -> None:
    assert f"`{error}`" in page("on-call.md")


@pytest.mark.parametrize("column", [column.name for column in ledger_table(call=REFUND).columns])
def test_every_ledger_column_is_documented(column: str) -> None:
    assert f"`{column}`" in page("ledger.md")


@pytest.mark.parametrize("currency", sorted(ZERO_DECIMAL_CURRENCIES | MANY_DECIMAL_CURRENCIES))
def test_every_unusual_currency_is_documented(currency: str) -> None:
    units = page("money.md").split("## Stripe")[0]
    assert re.search(rf"\b{currency}\b", units)


#: What FirstPromoter's own pages say about each integration: words of its row.
INTEGRATIONS = {
    "Stripe": ("`charge.refunded`", "`charge.dispute.created`", "as soon as they are **opened**"),
    "Chargebee": ("`payment_refunded`", "nothing"),
    "Recurly": ("successful refunds and voided payments", "nothing"),
    "Paddle Classic": ("`subscription_payment_refunded`", "refunds of **VAT alone** are ignored"),
    "Paddle Billing": ("`refund`", "`chargeback`", "refunds of **VAT alone** are ignored"),
    "**Braintree**": ("**none**", "**every refund**"),
}


def test_every_billing_integration_is_documented_with_what_it_tracks() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", page("money.md"), re.MULTILINE)
    documented = {name: text for name, text in rows if name in INTEGRATIONS}
    assert documented.keys() == INTEGRATIONS.keys()
    for name, words in INTEGRATIONS.items():
        assert [word for word in words if word not in documented[name]] == [], name
    assert '"Exclude Paddle\'s fees" in FirstPromoter changes the amounts of sales *and* refunds' in page("money.md")
    assert "type = 'credit'" in page("money.md"), "the pattern for Braintree"


def test_danger_box_sends_refunds_of_braintree_alone() -> None:
    box = " ".join((ROOT / "README.md").read_text().replace("\n> ", "\n").split())
    assert "If Stripe, Chargebee, Recurly or Paddle is connected in FirstPromoter, it tracks its refunds itself" in box
    assert "Braintree's integration tracks **no** refunds: send them all" in box
    assert "money.md#what-a-billing-integration-tracks-already" in box


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_documented(example: Path) -> None:
    shown = "".join(path.read_text() for path in DOCS.glob("*.md"))
    assert f'--8<-- "dags_examples/{example.name}"' in shown
    source = example.read_text()
    assert ast.get_docstring(ast.parse(source))
    assert "doc_md=__doc__" in source


@pytest.mark.parametrize(
    "path",
    [*EXAMPLES, ROOT / "dev/distributed/dags/two_accounts.py", *sorted(DOCS.glob("*.md")), ROOT / "README.md"],
    ids=lambda path: path.name,
)
def test_dag_that_people_copy_says_how_long_it_rechecks(path: Path) -> None:
    """Without recheck_unreferred, a sale that comes after its refund is lost silently."""
    texts = (
        re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL) if path.suffix == ".md" else [path.read_text()]
    )
    calls = [
        node
        for text in texts
        if not text.startswith("--8<--")
        for node in ast.walk(ast.parse(textwrap.dedent(text)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in SENDING
    ]
    assert [ast.unparse(call) for call in calls if "recheck_unreferred=" not in ast.unparse(call)] == []
    assert calls or path.stem not in ("README", "refund_sync", "sales_and_refunds")


@pytest.mark.parametrize(
    "path", [*EXAMPLES, ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda path: path.name
)
def test_comment_in_sql_has_no_apostrophe(path: Path) -> None:
    """Airflow's Rendered Template view takes it for the beginning of a text, and colours the rest of the query."""
    assert re.findall(r"(?<=\s)-- .*['\u2019].*", path.read_text()) == []


def test_documented_queries_run_on_a_ledger(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}", future=True)
    ledger = Ledger(engine, "account", call=REFUND)
    ledger.ensure()
    reward = Commission(id=1, amount=-400, unit="cash", status="pending")
    results = {
        "re_1": Result(event_id="re_1", outcome=Outcome.RECORDED, sent=True, commissions=(reward,)),
        "re_2": Result(event_id="re_2", outcome=Outcome.ALREADY_RECORDED, sent=True),
        "re_3": Result(event_id="re_3", outcome=Outcome.REJECTED, message="amount is missing"),
    }
    writes = [LedgerWrite.of_result(one, RunKey(), at=now(), row_amount="1999") for one in results.values()]
    ledger.write(writes, RunKey())
    with engine.connect() as connection:
        found = [connection.exec_driver_sql(sql) for sql in queries("ledger.md")]
        assert [len(rows.all()) if rows.returns_rows else None for rows in found] == [1, 3, 1, None]
        assert connection.exec_driver_sql("SELECT count(*) FROM firstpromoter_refunds_once").scalar() == 3


def test_documented_queries_run_on_the_mismatch_table(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}", future=True)
    ledger = Ledger(engine, "account", call=REFUND)
    ledger.ensure()
    reward = Commission(id=1, amount=-400, unit="cash", status="pending")
    result = Result(event_id="re_1", outcome=Outcome.RECORDED, sent=True, commissions=(reward,))
    ledger.write([LedgerWrite.of_result(result, RunKey(), at=now(), row_amount="1999")], RunKey())
    table = MismatchTable(ledger, RunKey())
    table.ensure()
    values: dict[str, Any] = {
        "firstpromoter_reward": -400,
        "reward_unit": "cash",
        "firstpromoter_reward_status": "denied",
    }
    table.write([Mismatch(kind, f"re_{kind}", 7, datetime.now(UTC), **values) for kind in MismatchKind])
    with engine.connect() as connection:
        found = [connection.exec_driver_sql(sql).all() for sql in queries("reconcile.md")]
    assert [len(rows) for rows in found] == [8, 1, 1, 1]
