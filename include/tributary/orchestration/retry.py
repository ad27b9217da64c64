"""When a failed task is tried again: as the error says, and not by a fixed number of minutes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from tributary.config import cap_on_waits
from tributary.errors import TributaryError

_FIRST_WAIT = 60.0
_LONGEST_WAIT = 900.0
_TRIES_OF_A_MISHAP = 4


class RetryByError(RetryPolicy):
    """Errors of ours: retried after their own `wait`, or at once failed when no retry can help.

    Without a hint the wait is 60 s, doubling to 15 minutes. An error's `tries` bound how often,
    within the task's own `retries`; errors that are not ours get four. `TRIBUTARY_MAX_WAIT`
    (seconds) caps every wait.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
    ) -> RetryDecision:
        # Clearing a task goes on counting its tries; `max_tries` moves on with it.
        retries = context["task"].retries if context else max_tries
        tried = try_number - (max_tries - retries)
        reason = str(exception) if isinstance(exception, TributaryError) else None
        if isinstance(exception, TributaryError) and not exception.retryable:
            return RetryDecision.fail(reason=reason)
        if tried >= getattr(exception, "tries", _TRIES_OF_A_MISHAP):
            return RetryDecision.fail(reason=reason)
        wait = getattr(exception, "wait", None)
        if wait is None:
            wait = min(_FIRST_WAIT * 2 ** (tried - 1), _LONGEST_WAIT)
        return RetryDecision.retry(timedelta(seconds=min(wait, cap_on_waits())), reason=reason)
