"""What the codes of the Google Ads API mean for a person who reads the ledger."""

from __future__ import annotations

from collections.abc import Iterator

from tributary.platforms.base import Meaning
from tributary.platforms.google import meanings
from tributary.platforms.google.errors import ADS, STATUSES, ads


def meaning(code: str) -> Meaning | None:
    """Of a code such as `date_error.INVALID_STRING_DATE`, or of a gRPC status."""
    return meanings.meaning(code, STATUSES.get(code) or ads(code))


def codes() -> Iterator[str]:
    """Every code of the error tables; one of each category represents those without a rule."""
    yield from STATUSES
    for code in ADS:
        yield code.replace("*", "ANY_OTHER")
    yield "unknown"
