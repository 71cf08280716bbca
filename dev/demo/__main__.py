"""``make demo``: three runs of the example DAG, and the proof that no refund was sent twice."""

from __future__ import annotations

import sys

from dev.demo import ledger, report
from dev.demo.claims import claims
from dev.demo.report import console
from dev.demo.stage import Stage
from dev.home import Home
from dev.processes import Failed, leave_on_signals
from dev.sandbox import Sandbox


def main() -> int:
    leave_on_signals()
    home = Home.fresh(".demo")
    try:
        with Sandbox.started(home) as sandbox:
            if not tell(Stage(home, sandbox)):
                raise Failed("Not all of this is true", home.log("airflow"))
    except Failed as failure:
        report.trouble(failure)
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped; nothing is left running.")
        return 130
    console.print(f"\nThe warehouse, with the ledger in it: {home.warehouse}", soft_wrap=True)
    console.print(f"Airflow's log: {home.log('airflow')}", soft_wrap=True)
    return 0


def tell(stage: Stage) -> bool:
    """The story. Returns whether all that it claims is true."""
    report.heading("A warehouse full of refunds")
    with report.step("Airflow makes its database"):
        stage.airflow.migrate()
    rows = stage.refunds.first()
    with report.step(f"{len(rows)} refunds are written into the warehouse"):
        stage.add(rows)

    report.heading("First run: everything is new")
    first = report.watched(stage, "First run")
    report.kinds(stage.rows, first)
    report.problems(first)

    report.heading("Second run: nothing is new")
    report.watched(stage, "Second run")

    report.heading("Third run: late refunds, and rows put right")
    late = stage.refunds.late()
    with report.step(f"{len(late)} late refunds are written into the warehouse"):
        stage.add(late)
    with report.step("Wrong rows are put right, and pending ones have gone through"):
        stage.put_right()
    report.watched(stage, "Third run")

    report.heading("What happened")
    recorded = stage.sandbox.recorded()
    report.chapters(stage.chapters, {refund.promoter_id: refund.promoter for refund in recorded})

    report.heading("Is it true? The sandbox's own books are asked")
    found = claims(stage.rows, stage.chapters, ledger.read(stage.home.warehouse), recorded)
    report.verdict(found)
    return all(claim.holds for claim in found)


if __name__ == "__main__":
    sys.exit(main())
