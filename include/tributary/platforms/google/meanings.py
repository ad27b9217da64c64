"""What the codes of Google's two conversion APIs mean for a person who reads the ledger."""

from __future__ import annotations

from tributary.platforms.base import Meaning
from tributary.platforms.google.errors import ErrorKind
from tributary.platforms.meanings import NEXT_UPLOADS_GO_ON, READ_ERROR_THEN_RETRY

_TO_DO = {
    ErrorKind.DUPLICATE: "Nothing: it is delivered.",
    ErrorKind.UNMATCHED: "Nothing: the person did not come by an ad.",
    ErrorKind.TRY_IN_6_HOURS: "Nothing: it is sent again.",
    ErrorKind.TRY_IN_24_HOURS: "Nothing: it is sent again.",
    ErrorKind.TRANSIENT: NEXT_UPLOADS_GO_ON,
    ErrorKind.THROTTLED: "Nothing: the destination waits as long as Google says.",
    ErrorKind.FORBIDDEN: "Fix what the destination's pause or the delivery's error names; then "
    "resume.",
    ErrorKind.NOT_ALLOWED: "Set the platform to google_data_manager, with a connection of that "
    "type.",
    ErrorKind.INVALID_EVENT: "Fix the source of the event; then retry.",
    ErrorKind.NO_CONSENT: "Nothing.",
    ErrorKind.INVALID_REQUEST: READ_ERROR_THEN_RETRY,
    ErrorKind.STATUS_GONE: "Look in Google Ads whether the events have arrived.",
}
_NO_REASON = Meaning("Google refuses it and gives no reason.", READ_ERROR_THEN_RETRY)
_WITHOUT_REASON = ("UNSPECIFIED", "UNKNOWN", "unknown")


def meaning(code: str, kind: ErrorKind) -> Meaning | None:
    """The text for a code of that kind; None where no rule is known."""
    if kind not in _TO_DO:
        return _NO_REASON if code.endswith(_WITHOUT_REASON) else None
    words = code.rpartition(".")[2].replace("_", " ").lower()
    return Meaning(f"Google: {words}; {kind.value.partition(':')[0]}.", _TO_DO[kind])
