"""Refunds and changed amounts: sent after their original, and never an older one after a newer.

Google Data Manager infers an adjustment from a transaction id that it knows; one that it does not
know makes a new conversion. So the order is what keeps the books right.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tributary.deliver.outbox import Verdict
from tributary.platforms.google import rules

_SOON = timedelta(minutes=15)
# How long the original's own end state is waited for: without `confirm_conversions` for ever else.
_PATIENCE = timedelta(hours=24)


def in_turn(platform: str, event: Mapping[str, Any], now: datetime) -> Verdict | None:
    """What keeps an event from leaving now for its adjustments or original; None: nothing does.

    Args:
        event: as the outbox claims it, with the state of its original at the same destination
            (`original_*`) and of other revisions (`is_superseded`, `is_underway`), or whether its
            own newest adjustment leaves nothing of its value (`is_void`).
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
    if is_open and now < event["original_synced_at"] + _PATIENCE:
        return _wait(_SOON)
    first = event["adjusts_time"] + rules.FIRST_ADJUSTMENT
    if platform == "google_ads" and event["kind"] == "adjustment" and now < first:
        return _wait(first - now)
    return None


def _wait(step: timedelta) -> Verdict:
    return Verdict("pending", wait=step)
