"""The button that leads from a task instance to the page "Refund runs"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow.providers.common.compat.sdk import BaseOperatorLink
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator


class RefundRunsLink(BaseOperatorLink):
    """
    Opens the page "Refund runs" at the run of this task instance.

    The link is relative, as Airflow's pages resolve it below their own base path: the worker that writes it need not
    know under which URL people reach Airflow.
    """

    name = "Refund runs"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """
        Return the page's address with the task instance in its query.

        :param ti_key: names the task instance; Airflow 3 passes the running task instance itself
        """
        query = {
            "dag_id": ti_key.dag_id,
            "run_id": ti_key.run_id,
            "task_id": ti_key.task_id,
            "map_index": -1 if ti_key.map_index is None else ti_key.map_index,
        }
        return f"plugin/refund-runs?{urlencode(query)}"


#: The extra links of every operator that writes a summary; none before Airflow 3.1, which has no such page.
REFUND_RUNS_LINKS = (RefundRunsLink(),) if AIRFLOW_V_3_1_PLUS else ()
