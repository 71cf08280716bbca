"""When a request is made again, and how long it waits before that."""

from __future__ import annotations

import threading

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_base, wait_exponential, wait_random

from airflow_provider_firstpromoter.api.rate_limit import RateLimiter, sleep
from airflow_provider_firstpromoter.api.responses import ApiResponse

#: Seconds in which one request is tried again and again, whatever ``max_attempts`` allows.
LONGEST_RETRYING = 300.0


class wait_retry_after(wait_base):
    """As long as the server asks; else exponentially, and longer after a 429, whose window is a minute."""

    _usual = wait_exponential(multiplier=0.5, max=30) + wait_random(0, 0.5)
    _limited = wait_exponential(multiplier=2, max=60) + wait_random(0, 1)

    def __call__(self, retry_state: RetryCallState) -> float:
        response: ApiResponse | None = retry_state.outcome.result() if retry_state.outcome else None
        if response is not None and response.retry_after is not None:
            return response.retry_after
        return (self._limited if response and response.status == 429 else self._usual)(retry_state)


def retrying(max_attempts: int, rate_limiter: RateLimiter, cancelled: threading.Event) -> Retrying:
    """
    Calls a function until its :class:`ApiResponse` is final or the attempts are used up.

    It may be shared by threads; each has statistics of its own.

    :param max_attempts: how often at most
    :param pacer: held back after a 429: one thread's patience would be the others' opportunity
    :param cancelled: ends every wait
    """

    def pause_the_account(state: RetryCallState) -> None:
        if state.outcome and state.next_action and state.outcome.result().status == 429:
            rate_limiter.pause(state.next_action.sleep)

    return Retrying(
        retry=retry_if_result(lambda response: response.transient),
        stop=stop_after_attempt(max_attempts) | stop_after_delay(LONGEST_RETRYING),
        wait=wait_retry_after(),
        sleep=lambda seconds: sleep(seconds, cancelled),
        before_sleep=pause_the_account,
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
