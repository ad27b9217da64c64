"""What Graph's errors mean, and what each asks of us.

MetaError                    code, subcode, HTTP status, trace id; never a token or an identifier
├── MetaTransient            an outage or a broken answer: try again
├── MetaThrottled            a limit was reached: wait `wait` seconds (None: no hint was given)
├── MetaTooMuchData          ask for less at a time
├── MetaTokenRefused         the token is wrong or has ended: a person must replace it
├── MetaForbidden            the token may not read this account
└── MetaRefused              the request itself is wrong; trying again cannot help

Codes: https://developers.facebook.com/docs/marketing-api/error-reference and
https://developers.facebook.com/docs/graph-api/guides/error-handling.
"""

from __future__ import annotations

import re
from typing import Any

from include.errors import TributaryError


class MetaError(TributaryError):
    """An answer of Graph that is not the data that was asked for."""

    def __init__(
        self,
        text: str,
        *,
        code: int | None = None,
        subcode: int | None = None,
        http_status: int | None = None,
        trace_id: str | None = None,
        wait: float | None = None,
    ) -> None:
        label = [f"code {code}" + (f"/{subcode}" if subcode else "")] if code is not None else []
        label += [f"HTTP {http_status}"] if http_status is not None else []
        label += [f"trace {trace_id}"] if trace_id else []
        super().__init__(f"{text} ({', '.join(label)})" if label else text)
        self.code = code
        self.subcode = subcode
        self.http_status = http_status
        self.trace_id = trace_id
        self.wait = wait


class MetaTransient(MetaError):
    """An outage, a dropped connection or an unreadable answer."""

    retryable = True


class MetaThrottled(MetaError):
    """A rate limit was reached."""

    retryable = True


class MetaTooMuchData(MetaError):
    """The call asked for more than Graph would compute at once."""

    retryable = True


class MetaTokenRefused(MetaError):
    """The access token is missing, malformed, expired or revoked."""


class MetaForbidden(MetaError):
    """The token lacks a permission, or the account is not there for it."""


class MetaRefused(MetaError):
    """A request that Graph will never answer."""


_TOKEN_CODES = {102, 104, 190, 2500}
_THROTTLE_CODES = {4, 17, 32, 341, 368, 613, *range(80000, 80015)}
_TRANSIENT_CODES = {1, 2}
# Code 2 means "temporary" save for these: invalid breakdowns and invalid custom metrics.
_FATAL_SUBCODES_OF_2 = {1504041, 1504042}
_TOO_MUCH = {(100, 1487534), (100, 1504018), (2, 1504038)}


def from_answer(
    error: dict[str, Any], *, http_status: int, who: str, wait: float | None = None
) -> MetaError:
    """The exception for the `error` object of a Graph answer.

    Args:
        error: Graph's own object: message, code, error_subcode, is_transient, fbtrace_id.
        http_status: status of the answer.
        who: whose credentials were used, for the sentence that a person reads.
        wait: seconds that the usage headers asked to wait, if they did.
    """
    code = _number(error.get("code"))
    subcode = _number(error.get("error_subcode"))
    said = redacted(str(error.get("message") or "no message"))
    facts: dict[str, Any] = {
        "code": code,
        "subcode": subcode,
        "http_status": http_status,
        "trace_id": error.get("fbtrace_id"),
        "wait": wait,
    }
    if code in _TOKEN_CODES:
        return MetaTokenRefused(
            f"Meta refuses the access token of {who}: put a valid one into its password field. "
            f"Meta said: {said}",
            **facts,
        )
    if code == 10 or (code is not None and 200 <= code <= 299) or (code, subcode) == (100, 33):
        return MetaForbidden(
            f"The token of {who} may not read this object, or it does not exist: check the id, "
            "grant ads_read and assign the ad account to the token's system user. "
            f"Meta said: {said}",
            **facts,
        )
    if (code, subcode) in _TOO_MUCH or (code == 1 and "reduce the amount" in said.lower()):
        return MetaTooMuchData(f"Meta wants less asked for at a time: {said}", **facts)
    if code in _THROTTLE_CODES:
        return MetaThrottled(f"Meta throttles {who}: {said}", **facts)
    if code == 2 and subcode in _FATAL_SUBCODES_OF_2:
        return MetaRefused(f"Meta refuses the request: {said}", **facts)
    if code in _TRANSIENT_CODES or error.get("is_transient") is True or http_status >= 500:
        return MetaTransient(f"Meta had a temporary failure: {said}", **facts)
    return MetaRefused(f"Meta refuses the request: {said}", **facts)


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | str) and str(value).lstrip("-").isdigit() else None


# Meta quotes a malformed token, a person's e-mail or an object's id in its message.
_SECRETIVE = re.compile(r"[^\s@\"]+@[^\s@'\"]+|[A-Za-z0-9_\-|]{20,}|\d{6,}")


def redacted(text: str) -> str:
    """The text without anything that looks like a token, an e-mail or an id; 300 characters."""
    return _SECRETIVE.sub("…", text)[:300]
