"""What every task does besides its work: how it ends, and the last lines of its log."""

from __future__ import annotations

import logging
import signal
import textwrap
from typing import Any

from tributary.errors import TributaryError

log = logging.getLogger(__name__)

_WIDTH = 90


def restore_sigterm(context: Any) -> None:
    """Let SIGTERM end the process, as it ends any other; called before each try.

    Airflow's own handler calls the operator's `on_kill`, which a Python task does not have, so the
    signal changes nothing: not for `airflow dags test`, not for a task that its supervisor
    stops. Ended by the signal, a task is tried again; what it has committed is kept.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def log_error_last(context: Any) -> None:
    """End the log of a failed try with the error's own sentence, below the traceback.

    Airflow logs the sentence as the heading of the traceback, in one line that its page cuts off.
    """
    error = context.get("exception")
    if isinstance(error, TributaryError):
        log.info("::endgroup::")  # else the page hides it in its folded group "Post Execute"
        log.error("%s:\n%s", type(error).__name__, wrapped(str(error)))


def wrapped(text: str) -> str:
    """The text in lines so short that the page of a task's log cuts none of them."""
    return "\n".join(
        textwrap.fill(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )
