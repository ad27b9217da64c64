"""How Data Manager processed a request: counts by reason, and what they say of its events.

A count is applied to the events wherever it leaves no doubt: when all of a request share it, or
when what it asks for does no harm to the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from tributary.platforms.base import RequestStatus, Verdict
from tributary.platforms.google.errors import WAITS, ErrorKind, processing

_FINAL = ("SUCCESS", "PARTIAL_SUCCESS", "FAILED")
_AGAIN = timedelta(hours=6)


def request_status(
    state: str, rows: int, errors: Mapping[str, int], warnings: Mapping[str, int]
) -> RequestStatus:
    """The status of a request.

    Args:
        state: PROCESSING, SUCCESS, PARTIAL_SUCCESS or FAILED.
        rows: events of the request.
        errors: events by reason, without the enum's prefix.
        warnings: events by reason.
    """
    forbidden = [reason for reason in errors if processing(reason) is ErrorKind.FORBIDDEN]
    return RequestStatus(
        state,
        rows,
        errors,
        warnings,
        has_ended=state in _FINAL,
        verdict=verdict_of(rows, errors),
        unknown_reasons=[one for one in errors if processing(one) is ErrorKind.UNKNOWN],
        pause_reason=f"Google could not process events: {', '.join(forbidden)}. Correct this in "
        "Google Ads; the events that are left are then sent without further action."
        if forbidden
        else None,
    )


def verdict_of(rows: int, errors: Mapping[str, int]) -> Verdict | None:
    """What a request's counts say of each of its events; None when they do not say it.

    Where some events came too early, or failed for a passing reason, the whole request is sent
    again: Google recognises those that it has by their transaction id.
    """
    if not errors:
        return Verdict("sent", "confirmed")
    kinds = {processing(reason) for reason in errors}
    if kinds & _PASSING:
        reason = next(reason for reason in errors if processing(reason) in _PASSING)
        too_recent = ErrorKind.TRY_IN_6_HOURS in kinds
        wait = timedelta(seconds=WAITS[ErrorKind.TRY_IN_6_HOURS]) if too_recent else _AGAIN
        return Verdict("failed", reason, "Google could not process it yet.", wait=wait)
    if sum(errors.values()) != rows or len(kinds) != 1:
        return None
    reason = next(iter(errors)) if len(errors) == 1 else ", ".join(sorted(errors))
    refused = f"Google refuses it: {reason}"
    match kinds.pop():
        case ErrorKind.DUPLICATE:
            return Verdict("sent", "duplicate")
        case ErrorKind.UNMATCHED:
            return Verdict("sent", "unmatched")
        case ErrorKind.NO_CONSENT:
            return Verdict("skipped", "no_consent", refused)
        case ErrorKind.FORBIDDEN:
            return Verdict("failed", reason, refused, wait=_AGAIN)
        case ErrorKind.INVALID_EVENT:
            return Verdict("dead", reason, refused, counts=True)
        case _:
            return Verdict("failed", reason, refused, counts=True)


_PASSING = {ErrorKind.TRY_IN_6_HOURS, ErrorKind.TRANSIENT}
