"""When a failed task is tried again: as the error says, and not by a fixed number of minutes."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from include.errors import TributaryError

_FIRST_WAIT = 60.0
_LONGEST_WAIT = 900.0


class AsTheErrorSays(RetryPolicy):
    """Errors of ours: retried after their own `wait`, or at once failed when no retry can help.

    Without a hint the wait is 60 s, doubling to 15 minutes. `TRIBUTARY_MAX_WAIT` (seconds) caps
    every wait. Anything else that goes wrong follows the task's ordinary retries.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
    ) -> RetryDecision:
        if not isinstance(exception, TributaryError):
            return RetryDecision.default()
        if not exception.retryable:
            return RetryDecision.fail(reason=str(exception))
        wait = exception.wait
        if wait is None:
            wait = min(_FIRST_WAIT * 2 ** (try_number - 1), _LONGEST_WAIT)
        cap = float(os.environ.get("TRIBUTARY_MAX_WAIT") or "inf")
        return RetryDecision.retry(timedelta(seconds=min(wait, cap)), reason=str(exception))
