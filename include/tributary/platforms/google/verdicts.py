"""What Google says of single events of a request, as verdicts for the outbox."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from tributary.event import Event
from tributary.platforms.base import Verdict
from tributary.platforms.google import rules
from tributary.platforms.google.errors import (
    WAITS,
    ErrorKind,
    Flaw,
    most_severe,
    request_error,
)

log = logging.getLogger(__name__)

_WAIT_AFTER_FAILURE = timedelta(minutes=15)
_WAIT_FOR_OWNER = timedelta(hours=1)
_SAME_ORDER_IN_REQUEST = Verdict(
    "failed", "same_id_in_request", "The same order is in this request already.",
    wait=timedelta(minutes=1),
)  # fmt: skip


def verdict_of(flaw: Flaw) -> Verdict:
    """The new state of an event by what Google says of it; a code without a rule is logged."""
    code, message, kind = flaw
    match kind:
        case ErrorKind.DUPLICATE:
            return Verdict("sent", "duplicate")
        case ErrorKind.UNMATCHED:
            return Verdict("sent", "unmatched")
        case ErrorKind.NO_CONSENT:
            return Verdict("skipped", "no_consent", message)
        case ErrorKind.INVALID_EVENT:
            return Verdict("dead", code, message, counts=True)
        case ErrorKind.TRY_IN_6_HOURS | ErrorKind.TRY_IN_24_HOURS:
            return Verdict("failed", code, message, wait=timedelta(seconds=WAITS[kind]))
        case ErrorKind.TRANSIENT | ErrorKind.THROTTLED:
            return Verdict("failed", code, message, wait=_WAIT_AFTER_FAILURE)
        case ErrorKind.FORBIDDEN | ErrorKind.NOT_ALLOWED:
            log.error("Google refuses events for a cause beyond them: %s: %s", code, message)
            return Verdict("failed", code, message, wait=_WAIT_FOR_OWNER)
        case ErrorKind.INVALID_REQUEST:
            return Verdict("failed", code, message, counts=True)
        case _:
            log.error("Google gave an event a code that has no rule here: %s: %s", code, message)
            return Verdict("failed", code, message, counts=True)


def without_repeated_orders(
    events: Sequence[Event], actions: Mapping[str, str]
) -> tuple[list[Event], dict[UUID, Verdict]]:
    """Of an order only its first event leaves in a request (DUPLICATE_ORDER_ID).

    Args:
        actions: conversion actions by event name.

    Returns:
        The events that leave, and verdicts by event id for the others.
    """
    leaving: dict[tuple[str, str], Event] = {}
    repeated: dict[UUID, Verdict] = {}
    for event in events:
        order = (actions[event["event_name"]], rules.dedup_key(event))
        if leaving.setdefault(order, event) is not event:
            repeated[event["id"]] = _SAME_ORDER_IN_REQUEST
    return list(leaving.values()), repeated


def flaw_of_event(flaws: Sequence[Flaw], event: Event) -> Flaw:
    """The flaw that decides what happens to an event.

    A changed amount of a conversion that was retracted before cannot be counted any more.
    """
    flaw = most_severe(flaws)
    if flaw.code.endswith(".CONVERSION_ALREADY_RETRACTED") and event["event_value"]:
        return flaw._replace(kind=ErrorKind.INVALID_EVENT)
    return flaw


def raise_if_all_refused(flaws: Mapping[int, Flaw], rows: int, customer: str) -> None:
    """Where no event was taken, and a person must act, the destination has to stop."""
    stopping = [flaw for flaw in flaws.values() if flaw.kind in _STOPPING]
    if stopping and len(stopping) == rows:
        worst = most_severe(stopping)
        raise request_error(worst.kind, worst.code, worst.message, f"customer {customer}")


_STOPPING = (ErrorKind.FORBIDDEN, ErrorKind.NOT_ALLOWED, ErrorKind.THROTTLED)
