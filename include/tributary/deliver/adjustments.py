"""Refunds and changed amounts: sent after their original, and never an older one after a newer.

Google Data Manager infers an adjustment from a transaction id that it knows; one that it does not
know makes a new conversion: sent out of order, a refund would count as a sale.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tributary.deliver.outbox import ClaimedEvent
from tributary.platforms.base import Platform, Verdict

_SOON = timedelta(minutes=15)
# An adjustment waits so long for its original's end state, which `confirm_conversions` brings.
_LONGEST_WAIT = timedelta(hours=24)


def wait_for_original(
    platform: Platform[Any], event: ClaimedEvent, now: datetime
) -> Verdict | None:
    """Why an event cannot be sent now because of its original or its adjustments; None: it can.

    Args:
        event: `is_void` says that its own newest adjustment leaves nothing of its value.
    """
    if event["adjusts"] is None:
        return Verdict("skipped", "cancelled") if event["is_void"] else None
    if event["is_superseded"]:
        return Verdict("skipped", "superseded")
    if event["is_underway"]:
        return _wait(_SOON)
    status, outcome = event["original_status"], event["original_outcome"]
    if status in ("pending", "queued", "failed"):
        return _wait(_SOON)
    if status != "sent" or outcome == "unmatched":
        return Verdict("skipped", "original_not_sent")
    is_open = outcome == "accepted" and event["original_state"] == "PROCESSING"
    if is_open and now < event["original_synced_at"] + _LONGEST_WAIT:
        return _wait(_SOON)
    original_time = event["adjusts_time"]
    assert original_time is not None  # the event adjusts another
    first = original_time + platform.first_adjustment
    if platform.first_adjustment and event["kind"] == "adjustment" and now < first:
        return _wait(first - now)
    return None


def _wait(step: timedelta) -> Verdict:
    return Verdict("pending", wait=step)
