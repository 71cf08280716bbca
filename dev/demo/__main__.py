"""``make demo``: runs of two example DAGs, and the proof that no sale and no refund was sent twice."""

from __future__ import annotations

import sys

from dev.airflow import ROOT, Home
from dev.demo import ledger, report, sales
from dev.demo.claims import Claim, check_claims
from dev.demo.stage import Stage
from dev.processes import ProcessFailed
from dev.sandbox import running_sandbox
from dev.terminal import console, heading, run_tool, step


def main() -> int:
    home = Home.fresh(ROOT / ".demo")
    with running_sandbox(log=home.log("sandbox")) as sandbox:
        stage = Stage(home, sandbox)
        if not _run(stage):
            raise ProcessFailed("At least one claim of the demo is false", home.log("airflow"))
    console.print(f"\nThe warehouse, which also holds the ledger: {stage.warehouse}", soft_wrap=True)
    console.print(f"Airflow's log: {home.log('airflow')}", soft_wrap=True)
    console.print("Next: `make ui` shows such runs in Airflow, and docs/quickstart.md is a first DAG of your own.")
    return 0


def _run(stage: Stage) -> bool:
    """Run the three acts of the demo, and return whether all that it claims is true."""
    heading("A warehouse full of refunds")
    with step("Airflow creates its database"):
        stage.airflow.migrate()
    rows = stage.generator.first_day()
    with step(f"{len(rows)} refunds are inserted into the warehouse"):
        stage.add(rows)

    heading("First run: every refund is new")
    first = report.run_with_progress(stage, "First run")
    report.print_kinds(stage.rows, first)
    report.print_rejected(first)

    heading("Second run: no refund is new")
    report.run_with_progress(stage, "Second run")

    heading("Third run: late refunds and corrected rows")
    late = stage.generator.late()
    with step(f"{len(late)} late refunds are inserted into the warehouse"):
        stage.add(late)
    with step("Invalid rows are corrected, and pending refunds succeed"):
        stage.correct_rows()
    report.run_with_progress(stage, "Third run")

    heading("The three runs")
    recorded = stage.sandbox.recorded()
    report.print_runs(stage.runs, sales.promoters_of(recorded))
    claims = check_claims(stage.rows, stage.runs, ledger.read(stage.warehouse), recorded)

    heading("The other call: sales earn what their refunds reverse")
    claims += _run_both_calls(stage)

    heading("The claims, checked against the sandbox's own records")
    report.print_claims(claims)

    heading("Two questions, each answered by a view of the ledger")
    for question, arguments, columns in report.QUESTIONS:
        report.print_view(question, stage.report(arguments), columns.split())
    console.print(
        "The four rows above are in order in the warehouse by now. They are still listed, because this DAG gives its "
        "task a list, which cannot show what has left the query; SqlToFirstPromoterOperator would have dropped them."
    )
    return all(claim.holds for claim in claims)


def _run_both_calls(stage: Stage) -> list[Claim]:
    """Send sales, then some of their refunds, and return what is claimed of them."""
    sold = sales.sales()
    with step(f"{len(sold)} sales are inserted into the warehouse"):
        sales.insert(stage.warehouse, stage.sandbox, sold)
    report.run_both_calls(stage)
    refunded = sales.insert_refunds(stage.warehouse, sold)
    with step(f"{len(refunded)} refunds of them are inserted into the warehouse"):
        pass
    report.run_both_calls(stage)
    net = stage.report("--call sale --view net")
    report.print_net(net)
    return sales.check_claims(sold, stage.sandbox, net)


if __name__ == "__main__":
    sys.exit(run_tool(main))
