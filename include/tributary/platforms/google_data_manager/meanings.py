"""What Data Manager's codes mean for a person who reads the ledger."""

from __future__ import annotations

from collections.abc import Iterator

from tributary.platforms.base import Meaning
from tributary.platforms.google import meanings
from tributary.platforms.google.errors import (
    FAST_FAIL,
    PROCESSING,
    STATUSES,
    ErrorKind,
    fast_fail,
    processing,
)


def meaning(code: str) -> Meaning | None:
    """Of a reason to refuse a request, or of one given when events are processed."""
    kinds = (STATUSES.get(code, ErrorKind.UNKNOWN), fast_fail(code), processing(code))
    known = [kind for kind in kinds if kind is not ErrorKind.UNKNOWN]
    return meanings.meaning(code, known[0] if known else ErrorKind.UNKNOWN)


def codes() -> Iterator[str]:
    """Every code of the error tables."""
    yield from STATUSES
    yield from FAST_FAIL
    yield from PROCESSING
