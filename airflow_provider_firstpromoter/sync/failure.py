"""Whether a run fails its task, decided from its summary."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_firstpromoter.calls import Outcome, Summary
from airflow_provider_firstpromoter.exceptions import EventsFailedError, EventsRejectedError
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.options import SyncOptions


def error_of(summary: Summary, options: SyncOptions) -> AirflowException | None:
    """
    Return the error that a run calls for.

    - :class:`EventsFailedError` if refunds failed: Airflow's retry sends them again
    - :class:`EventsRejectedError` if more refunds are rejected or changed than ``max_rejected`` allows; with
      ``fail_on="new"`` only those count that no earlier run has reported
    - either of them if the run stopped early

    :returns: None if the task succeeds
    """
    if summary.preview:
        return None
    if summary.outcomes[Outcome.FAILED]:
        return EventsFailedError(log_text.failure(summary, Outcome.FAILED))
    counted = summary.new_problems if options.fail_on == "new" else summary.need_attention
    if options.max_rejected is not None and counted > options.max_rejected:
        return EventsRejectedError(
            log_text.failure(summary, Outcome.REJECTED, Outcome.CHANGED, new_only=options.fail_on == "new")
            + f" (max_rejected={options.max_rejected})"
        )
    if summary.stopped_because:
        return EventsRejectedError(f"The run stopped early: {summary.stopped_because}")
    return None
