"""What Meta's codes mean for a person who reads the ledger."""

from __future__ import annotations

from collections.abc import Iterator

from tributary.platforms.base import Meaning
from tributary.platforms.meanings import NEXT_UPLOADS_GO_ON, READ_ERROR_THEN_RETRY
from tributary.platforms.meta import errors

_TO_DO: dict[type[errors.MetaError], str] = {
    errors.MetaTransient: NEXT_UPLOADS_GO_ON,
    errors.MetaThrottled: "Nothing: the destination waits as long as Meta says.",
    errors.MetaBlocked: "See Meta's Business support; then resume.",
    errors.MetaTokenRefused: "Put a valid token into the connection's password field; then resume.",
    errors.MetaForbidden: "Grant ads_management and assign the pixel to the token's system user; "
    "then resume.",
    errors.MetaEventRefused: "Fix the source of the event; then retry.",
    errors.MetaError: READ_ERROR_THEN_RETRY,
}


def meaning(outcome: str) -> Meaning | None:
    """Of a code, or of code and subcode such as `100/2804009`."""
    code, _, subcode = outcome.partition("/")
    if not code.lstrip("-").isdigit():
        return None
    rule = errors.rule_for(int(code), int(subcode) if subcode.isdigit() else None)
    if rule is None:
        return None
    to_do = next(_TO_DO[kind] for kind in rule.error.__mro__ if kind in _TO_DO)
    return Meaning(f"Meta: {rule.meaning}.", to_do)


def codes() -> Iterator[str]:
    """Every code of the error table."""
    for code, subcode in errors.POLICY:
        yield f"{code}/{subcode}" if subcode else str(code)
