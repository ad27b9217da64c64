"""The errors of Meta's Graph API, and what to do about each.

MetaError                    code, subcode, HTTP status, trace id; never a token or an identifier
├── MetaTransient            an outage or a broken answer: try again
│   ├── MetaCursorExpired    paging cannot go on: begin the query anew
│   ├── MetaUnreachable      the request never left
│   └── MetaShortfall        fewer events were received than sent, and Meta does not say which
├── MetaThrottled            a limit was reached: wait `wait` seconds (None: no hint was given)
│   └── MetaBlocked          blocked for policy: pause the account, a person must look
├── MetaTooMuchData          ask for less at a time
├── MetaReportFailed         a report run failed or was skipped: restart it, then split
│   └── MetaReportHangs      likewise, but split once only
├── MetaTokenRefused         the token is wrong or has ended: a person must replace it
├── MetaForbidden            the token may not read this account
├── MetaUnknown              a code that has no rule here: a few tries, then a failure
└── MetaRefused              the request itself is wrong; trying again cannot help
    ├── MetaTooOld           it asks for days that Meta keeps no longer
    └── MetaEventRefused     an event of a batch is wrong, and with it the batch is refused

`POLICY` is the table from code and subcode to class.

Codes: https://developers.facebook.com/docs/marketing-api/error-reference and
https://developers.facebook.com/docs/graph-api/guides/error-handling.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from tributary.platforms.base import Action, PlatformError


class MetaError(PlatformError):
    """An answer of Graph that is not the data that was asked for.

    Attributes:
        named: the value of an enumeration that Meta refuses, such as a status; None: it names none.
    """

    label = "no_answer"
    named: str | None = None

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
        # For tables: `100/2804009`, `http_502`, or what happened.
        if code is not None:
            self.label = f"{code}/{subcode}" if subcode else str(code)
        elif http_status not in (None, 200):
            self.label = f"http_{http_status}"

    @property
    def may_be_size(self) -> bool:
        """Whether less at a time may pass: a gateway timed out, or Meta says no more than 1 or 2.

        Seen in the field with queries that are answered for one day and not for two.
        """
        return isinstance(self, MetaTransient) and (self.http_status == 504 or self.code in (1, 2))

    @property
    def may_be_field(self) -> bool:
        """Whether one of the fields may be the cause: a wrong parameter, or HTTP 500 and no word.

        Seen in the field with `targeting`, `bid_strategy`, `amount_spent`, `frequency`, `reach`.
        """
        if isinstance(self, MetaRefused):
            return self.code == 100
        return self.http_status == 500 and self.code is None


class MetaTransient(MetaError):
    """An outage, a dropped connection or an unreadable answer."""

    action = Action.RETRY
    retryable = True


class MetaCursorExpired(MetaTransient):
    """A page's cursor is no longer valid; cursors must not be kept for long."""


class MetaUnreachable(MetaTransient):
    """No connection came about: nothing can have been carried out."""

    action = Action.HOLD
    label = "unreachable"


class MetaShortfall(MetaTransient):
    """A batch of events was taken in part."""

    action = Action.RECOUNT
    label = "not_received"


class MetaThrottled(MetaError):
    """A rate limit was reached."""

    action = Action.HOLD
    is_throttle = True
    retryable = True
    tries = 40


class MetaBlocked(MetaThrottled):
    """Meta blocks the account or app for its policies; only a person can end that."""

    action = Action.PAUSE
    is_throttle = False
    retryable = False

    @property
    def blocks_account(self) -> bool:
        """For its policies."""
        return True


class MetaTooMuchData(MetaError):
    """The call asked for more than Graph would compute at once."""

    action = Action.ISOLATE
    retryable = True


class MetaReportFailed(MetaError):
    """An asynchronous report run did not come to an end."""

    action = Action.PAUSE  # a request of events has no report
    retryable = True


class MetaReportHangs(MetaReportFailed):
    """A report run that no longer moves."""


class MetaTokenRefused(MetaError):
    """The access token is missing, malformed, expired or revoked."""

    action = Action.PAUSE


class MetaForbidden(MetaError):
    """The token lacks a permission, or the account is not there for it."""

    action = Action.PAUSE


class MetaUnknown(MetaError):
    """A code without a rule."""

    action = Action.ISOLATE
    is_unknown_code = True


class MetaRefused(MetaError):
    """A request that Graph will never answer."""

    action = Action.ISOLATE

    def __init__(self, text: str, *, code: int | None = None, **more: Any) -> None:
        super().__init__(text, code=code, **more)
        if type(self) is MetaRefused and code != 100:
            self.action = Action.PAUSE  # not for an event: an ended version, a proxy's own answer


class MetaTooOld(MetaRefused):
    """The first day asked for is older than what Meta keeps."""


class MetaEventRefused(MetaRefused):
    """One of the events sent is wrong; Meta takes none of its batch and does not say which."""

    is_final = True


class Rule(NamedTuple):
    """What a code means to us."""

    error: type[MetaError]
    meaning: str


_TOKEN = Rule(MetaTokenRefused, "the access token is refused")
_FORBIDDEN = Rule(MetaForbidden, "a permission is missing")
_LIMIT = Rule(MetaThrottled, "a rate limit is reached")
_LESS = Rule(MetaTooMuchData, "less must be asked for at a time")
_PASSING = Rule(MetaTransient, "a temporary failure")
_WRONG = Rule(MetaRefused, "the request is wrong")
_CURSOR = Rule(MetaCursorExpired, "a cursor has expired")


def _event(meaning: str) -> Rule:
    return Rule(MetaEventRefused, meaning)


# Subcodes 2804000 + n of code 100: the Conversions API refuses a batch for one of its events.
_EVENTS = {
    3: _event("the event's time is older than Meta takes, or lies in the future"),
    9: _event("a Purchase needs value and currency"),
    16: _event("a user parameter is not hashed as it must be"),
    36: _event("the lead id is invalid"),
    43: _event("an app event needs app_data with extinfo"),
    50: _event("the user data does not identify a person"),
    66: _event("this event name cannot be sent for business messaging"),
    72: _event("page id and click id of the message do not belong together"),
    116: _event("ids of the messaging event are missing"),
    131: _event("the dataset is not one for messaging"),
}

# (code, subcode); a subcode of None covers all that have no rule.
POLICY: dict[tuple[int, int | None], Rule] = {
    (1, None): _PASSING,
    (1, 99): _LESS,
    (2, None): _PASSING,
    (2, 1504038): _LESS,  # the synchronous query took too long
    (2, 1504041): _WRONG,  # invalid breakdowns: code 2, and yet not temporary
    (2, 1504042): _WRONG,  # invalid custom metrics: likewise
    (-2, None): Rule(MetaReportFailed, "the report failed"),
    (10, None): _FORBIDDEN,
    **{(code, None): _FORBIDDEN for code in range(200, 300)},
    **{(code, None): _TOKEN for code in (102, 104, 190, 2500)},
    (100, None): _WRONG,
    (100, 33): _FORBIDDEN,  # not there, or not visible to this token
    (100, 1487534): _LESS,
    (100, 1504018): _LESS,  # the synchronous query took too long
    **{(100, 2804000 + code): rule for code, rule in _EVENTS.items()},
    (100, 1487833): _CURSOR,  # "The After Cursor specified exceeds the max limit"
    (2642, None): _CURSOR,
    **{(code, None): _LIMIT for code in (4, 17, 32, 341, 613, *range(80000, 80015))},
    (368, None): Rule(MetaBlocked, "blocked for policy"),
    (803, None): Rule(MetaForbidden, "some of the ids do not exist"),
    (960, None): _PASSING,
    (2635, None): Rule(MetaRefused, "this version of the API has ended: set a later api_version"),
    (3018, None): Rule(MetaTooOld, "older than the 37 months that Meta keeps"),
}


def rule_for(code: int | None, subcode: int | None) -> Rule | None:
    """The rule of a code; None when there is none."""
    if code is None:
        return None
    return POLICY.get((code, subcode)) or POLICY.get((code, None))


def from_answer(
    error: dict[str, Any],
    *,
    http_status: int,
    who: str,
    wait: float | None = None,
    quote: bool = True,
) -> MetaError:
    """The exception for the `error` object of a Graph answer.

    Args:
        error: Graph's own object: message, code, error_subcode, is_transient, fbtrace_id.
        http_status: status of the answer.
        who: whose credentials were used, for the sentence that a person reads.
        wait: seconds that the usage headers asked to wait, if they did.
        quote: whether Meta's own words may be repeated; of people's data they quote parts.
    """
    code, subcode = _number(error.get("code")), _number(error.get("error_subcode"))
    message = str(error.get("message") or "no message")
    said = redacted(message)
    rule = rule_for(code, subcode)
    if rule is None:
        passing = error.get("is_transient") is True or http_status >= 500
        rule = _PASSING if passing else Rule(MetaUnknown, "an error that we have no rule for")
    if error.get("is_transient") is True and rule.error is MetaRefused and code == 100:
        rule = _PASSING
    # The one error without a code of its own: "Please reduce the amount of data …".
    if code == 1 and "reduce the amount" in said.lower():
        rule = _LESS
    sentence = _SENTENCES.get(rule.error, "Meta: {meaning}.").format(who=who, meaning=rule.meaning)
    named = _REFUSED_VALUE.search(message)
    if quote:
        to_people = said_to_people(error)
        sentence = f"{sentence} Meta said: {said}" + (f" ({to_people})" if to_people else "")
        if named:
            sentence += f" It refuses the value {named[1]}."
    found = rule.error(
        sentence,
        code=code,
        subcode=subcode,
        http_status=http_status,
        trace_id=str(error["fbtrace_id"]) if error.get("fbtrace_id") else None,
        wait=wait if issubclass(rule.error, MetaThrottled) else None,
    )
    if named:
        found.named = named[1]
    return found


def said_to_people(error: dict[str, Any]) -> str:
    """Title and text that Meta has for people, of an error or a failed report run: they often name
    the cause. Empty when there is none.
    """
    said = [error.get(name) for name in ("error_user_title", "error_user_msg")]
    return ": ".join(redacted(one) for one in said if isinstance(one, str) and one)


_SENTENCES = {
    MetaTransient: "Meta had a temporary failure.",
    MetaTooMuchData: "Meta wants less asked for at a time.",
    MetaRefused: "Meta refuses the request.",
    MetaTooOld: "Meta refuses the request: {meaning}.",
    MetaEventRefused: "Meta refuses an event: {meaning}.",
    MetaTokenRefused: "Meta refuses the access token of {who}: put a valid one into its password "
    "field.",
    MetaForbidden: "The token of {who} may not use this object, or it does not exist: check the "
    "id, grant ads_read (for conversions: ads_management) and assign the ad account or pixel to "
    "the token's system user.",
    MetaThrottled: "Meta throttles {who}.",
    MetaBlocked: "Meta blocks {who} for its policies: see Business support.",
}


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | str) and str(value).lstrip("-").isdigit() else None


# `… must be one of {ACTIVE, PAUSED} - got "PREAPPROVED".`: a constant, never a person's.
_REFUSED_VALUE = re.compile(r'got "([A-Z][A-Z_]{2,40})"')

# Meta quotes a malformed token, a person's e-mail or an object's id in its message.
_SECRETIVE = re.compile(r"[^\s@\"]+@[^\s@'\"]+|[A-Za-z0-9_\-|]{20,}|\d{6,}")


def redacted(text: str) -> str:
    """The text without anything that looks like a token, an e-mail or an id; 300 characters."""
    return _SECRETIVE.sub("…", text)[:300]
