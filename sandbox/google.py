"""Google's side of conversions: accounts, actions, what was taken, who may log in, what goes wrong.

`google_data_manager` and `google_ads` put it on the wire; both share its books. A conversion is
known by its action and transaction (order) id for good; a click converts once at a moment.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

from sandbox.clock import Clock

MAX_ROWS = 2000
PER_MINUTE, PER_DAY = 300, 100_000
_KEPT = 2_000

# Customers and conversion actions of the demo's brands.
CUSTOMERS = {"acme": "1112223333", "lumen": "4445556666"}


class Action(NamedTuple):
    """A conversion action."""

    customer: str
    kind: str = "UPLOAD_CLICKS"  # or WEBPAGE, whose conversions a tag reports


_ACTIONS = {
    "42": Action(CUSTOMERS["acme"]),
    "43": Action(CUSTOMERS["acme"]),
    "44": Action(CUSTOMERS["acme"], "WEBPAGE"),
    "52": Action(CUSTOMERS["lumen"]),
    "53": Action(CUSTOMERS["lumen"]),
}


class Click(NamedTuple):
    """A click on one of the account's ads."""

    customer: str
    at: datetime


@dataclass
class Conversion:
    """What Google has of an order."""

    value: float | None
    currency: str
    at: datetime
    taken: datetime
    counted: int = 1
    received: int = 1
    adjustments: list[tuple[datetime, str, float | None]] = field(default_factory=list)
    is_enhanced: bool = False

    @property
    def is_retracted(self) -> bool:
        """Whether it was taken back."""
        return any(kind == "RETRACTION" for _, kind, _ in self.adjustments)


class Row(NamedTuple):
    """One event as both APIs have it."""

    action: str
    order_id: str
    gclid: str
    at: datetime
    value: float | None
    currency: str
    people: tuple[str, ...] = ()  # hashes


class Received(NamedTuple):
    """A request as it arrived."""

    api: str  # data_manager, status, google_ads, adjustments, search, token
    body: bytes
    headers: Mapping[str, str]
    when: datetime


KINDS = (
    "lost_ack", "hang_after", "hang", "unavailable", "internal", "html", "quota",
    "unauthenticated", "error",
)  # fmt: skip


class GoogleFault:
    """Something that goes wrong: `times` times, after `after` calls of that api have passed.

    | kind | |
    |---|---|
    | lost_ack | the request is taken, and the connection breaks before the answer |
    | hang_after, hang | taken or not, the answer takes `seconds` (real ones) |
    | unavailable, internal, html | 503, 500, or a web page with 502; nothing is taken |
    | quota | used up; come back after `retry_delay` seconds (0: nothing is said) |
    | unauthenticated | the access token is refused |
    | error | refused with `code`: a reason of Data Manager, or `category.NAME` of the Ads API; as
      `partial` failure of every row where that is asked for |
    """

    _numbers = count(1)

    def __init__(
        self,
        kind: str,
        *,
        api: str | None = None,
        times: int | None = 1,
        after: int = 0,
        seconds: float = 30.0,
        retry_delay: float = 0.0,
        code: str = "",
        partial: bool = False,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
        if kind == "error" and not code:
            raise ValueError("error needs code")
        self.id = next(self._numbers)
        self.kind, self.api, self.times, self.after = kind, api, times, after
        self.seconds, self.retry_delay, self.code, self.partial = (
            seconds, retry_delay, code, partial,
        )  # fmt: skip
        self.seen = self.hits = 0

    @property
    def is_after(self) -> bool:
        """Whether the request is taken all the same."""
        return self.kind in ("lost_ack", "hang_after")

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return dict(vars(self))


class Google:
    """The state; its attributes may be changed while it runs.

    Attributes:
        refuse: order id → code: the row is refused with it (a reason of Data Manager's fast fail,
            or `category.NAME`).
        becomes: order id → processing reason that Data Manager finds later.
        unmatched_percent: of click ids and people, who never clicked an ad; always the same ones.
        clicks: gclid → its click, for those whose time matters.
        allowlisted: whether customers may upload over the Ads API.
        must_log_in: whether a request without an access token is refused.
        processing: how long Data Manager works on a request.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """As if it had just started."""
        self.actions = dict(_ACTIONS)
        self.refuse: dict[str, str] = {}
        self.becomes: dict[str, str] = {}
        self.unmatched_percent = 0
        self.clicks: dict[str, Click] = {}
        self.allowlisted = True
        self.must_log_in = False
        self.processing = timedelta(minutes=30)
        self.per_minute = PER_MINUTE
        self.faults: list[GoogleFault] = []
        self.received: deque[Received] = deque(maxlen=_KEPT)
        self.counts: Counter[str] = Counter()
        self.conversions: dict[tuple[str, str], Conversion] = {}
        self.requests: dict[str, tuple[datetime, str, int, Counter[str]]] = {}
        self.refresh_tokens = {"sandbox-refresh-token"}
        self.clients = {"123456789012-sandbox.apps.googleusercontent.com": "sandbox-client-secret"}
        self.service_accounts: dict[str, str] = {}  # e-mail → certificate or public key (PEM)
        self.access_tokens: dict[str, datetime] = {}
        self._converted: set[tuple[str, str, datetime]] = set()  # action, gclid, moment
        self._calls: defaultdict[str, deque[datetime]] = defaultdict(deque)

    # What arrives.

    def enter(self, api: str, body: bytes, headers: Mapping[str, str]) -> GoogleFault | None:
        """Note a request; the fault that strikes it, if one does."""
        with self.lock:
            self.received.append(Received(api, body, dict(headers), self.clock.now()))
            self.counts[api] += 1
            for fault in self.faults:
                if fault.api in (None, api) and (fault.times is None or fault.hits < fault.times):
                    fault.seen += 1
                    if fault.seen > fault.after:
                        fault.hits += 1
                        return fault
        return None

    def is_logged_in(self, authorization: str) -> bool:
        """Whether the header lets its bearer in."""
        if not authorization:
            return not self.must_log_in
        until = self.access_tokens.get(authorization.removeprefix("Bearer "))
        return until is not None and self.clock.now() < until

    def wait_for_quota(self, project: str = "sandbox") -> float:
        """Count a call of the project; seconds to wait where its quota is used up, else 0."""
        now = self.clock.now()
        with self.lock:
            calls = self._calls[project]
            while calls and calls[0] <= now - timedelta(days=1):
                calls.popleft()
            recent = [at for at in calls if at > now - timedelta(seconds=60)]
            if len(calls) >= PER_DAY:
                return (calls[0] + timedelta(days=1) - now).total_seconds()
            if len(recent) >= self.per_minute:
                return (recent[0] + timedelta(seconds=60) - now).total_seconds()
            calls.append(now)
        return 0

    # The books.

    def is_unmatched(self, row: Row) -> bool:
        """Whether it matches no click: the same for a click id or person each time."""
        text = row.gclid or "".join(row.people)
        digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        return digest % 100 < self.unmatched_percent

    def take(self, row: Row) -> str | None:
        """Enter a conversion; the reason why it is none, in Data Manager's words.

        A known id with another value or currency is an adjustment.
        """
        with self.lock:
            now = self.clock.now()
            known = self.conversions.get((row.action, row.order_id)) if row.order_id else None
            if known is not None:
                known.received += 1
                if (known.value, known.currency) == (row.value, row.currency):
                    return "DUPLICATE_TRANSACTION_ID"
                known.value, known.currency = row.value, row.currency
                known.adjustments.append((now, "INFERRED", row.value))
                return None
            moment = (row.action, row.gclid, row.at)
            if row.gclid and moment in self._converted:
                return "DUPLICATE_GCLID"
            self._converted.add(moment)
            key = row.order_id or secrets.token_hex(8)
            self.conversions[row.action, key] = Conversion(row.value, row.currency, row.at, now)
            return None

    def tag_sent(self, action: str, order_id: str, value: float, currency: str) -> None:
        """A tag on the website reports a conversion now."""
        now = self.clock.now()
        self.conversions[action, order_id] = Conversion(value, currency, now, now)

    def counted(self, action: str | None = None) -> dict[str, int]:
        """By order id, how often a conversion counts."""
        with self.lock:
            return {
                order: found.counted
                for (of, order), found in self.conversions.items()
                if action in (None, of)
            }

    # OAuth.

    def issue(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """The answer of the token endpoint."""
        grant = form.get("grant_type")
        if grant == "refresh_token":
            if self.clients.get(form.get("client_id", "")) != form.get("client_secret"):
                return 401, {"error": "invalid_client", "error_description": "Unauthorized"}
            if form.get("refresh_token") not in self.refresh_tokens:
                return 400, _INVALID_GRANT
        elif grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            if not self._is_signed(form.get("assertion", "")):
                return 400, {"error": "invalid_grant", "error_description": "Invalid JWT."}
        else:
            return 400, {"error": "unsupported_grant_type"}
        token = f"ya29.{secrets.token_urlsafe(30)}"
        self.access_tokens[token] = self.clock.now() + timedelta(seconds=3599)
        return 200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}

    def revoke_access(self) -> None:
        """Every access token ends now."""
        self.access_tokens.clear()

    def _is_signed(self, assertion: str) -> bool:
        from google.auth import jwt

        try:
            claims = jwt.decode(assertion, verify=False)
            key = self.service_accounts[claims["iss"]]
            jwt.decode(assertion, certs=key, audience=claims["aud"])
        except (ValueError, KeyError):
            return False
        return bool(claims.get("scope"))

    def shown(self) -> Iterator[tuple[str, Any]]:
        """For the control path."""
        yield "counts", dict(self.counts)
        yield "conversions", len(self.conversions)
        yield "requests", len(self.requests)
        yield "unmatched_percent", self.unmatched_percent
        yield "allowlisted", self.allowlisted
        yield "must_log_in", self.must_log_in
        yield "processing_seconds", self.processing.total_seconds()


_INVALID_GRANT = {
    "error": "invalid_grant",
    "error_description": "Token has been expired or revoked.",
}
