"""Google's Data Manager API over REST: events as it takes them, requests and their status.

The library's classes are used below their proto-plus wrapping, which would cost more than the rest
of a request together. Rules: https://developers.google.com/data-manager/api/devguides/events
and the comments of `google.ads.datamanager_v1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import requests
from google.ads import datamanager_v1 as dm
from google.ads.datamanager_v1.services.ingestion_service.transports import (
    IngestionServiceRestTransport,
)
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.oauth2.credentials import Credentials
from google.protobuf.json_format import ParseError
from urllib3.exceptions import NewConnectionError

from tributary.event import Event
from tributary.platforms.base import RequestStatus
from tributary.platforms.google import rules
from tributary.platforms.google.credentials import Access
from tributary.platforms.google.errors import (
    ErrorKind,
    Flaw,
    GoogleAccessRefused,
    GoogleError,
    GoogleEventsRefused,
    GoogleTransient,
    GoogleUnreachable,
    fast_fail,
    most_severe,
    reason_of,
    redacted,
    request_error,
)
from tributary.platforms.google_data_manager.status import request_status

MAX_IDENTIFIERS = 10  # per event
# https://developers.google.com/data-manager/api/limits: of IngestionService, per Cloud project.
REQUESTS_PER_MINUTE, REQUESTS_PER_DAY = 300, 100_000
FIRST_POLL = timedelta(minutes=30)

_HOST = "datamanager.googleapis.com"
_SOURCES = {
    "website": dm.EventSource.WEB,
    "app": dm.EventSource.APP,
    "physical_store": dm.EventSource.IN_STORE,
    "phone_call": dm.EventSource.PHONE,
    "chat": dm.EventSource.MESSAGE,
    "business_messaging": dm.EventSource.MESSAGE,
}
_GRANTED, _DENIED = dm.ConsentStatus.CONSENT_GRANTED, dm.ConsentStatus.CONSENT_DENIED
_States = dm.RequestStatusPerDestination.RequestStatus
_Answer = TypeVar("_Answer")

_Event = type(dm.Event.pb(dm.Event()))
_Ingest = type(dm.IngestEventsRequest.pb(dm.IngestEventsRequest()))


class Target(NamedTuple):
    """Where events go."""

    customer_id: str  # the Google Ads conversion customer
    action_id: str


class Received(NamedTuple):
    """What Google said of a request that it took."""

    request_id: str | None  # None: only validated
    warnings: tuple[str, ...] = ()


def payload(event: Event, *, personalization: bool) -> Any:
    """The event as Data Manager takes it.

    An adjustment is the original (its time, too) with another value; Google knows it by its
    transaction id.

    Args:
        event: a row of `ops.conversion_events`; value in major units.
        personalization: whether the person allows it; nothing leaves without `ad_user_data`.
    """
    out = _Event(transaction_id=rules.dedup_key(event))
    out.event_timestamp.FromDatetime(event.get("adjusts_time") or event["event_time"])
    if event["kind"] == "adjustment":
        out.last_updated_timestamp.FromDatetime(event["event_time"])
    out.event_source = _SOURCES.get(event["action_source"], dm.EventSource.OTHER)
    out.consent.ad_user_data = _GRANTED
    out.consent.ad_personalization = _GRANTED if personalization else _DENIED
    for name in rules.CLICK_IDS:
        if event[name]:
            setattr(out.ad_identifiers, name, event[name])
    hashes = event["user_hashes"].get("google", {})
    for digest in hashes.get("email", ()):
        out.user_data.user_identifiers.add(email_address=digest)
    for digest in hashes.get("phone", ()):
        out.user_data.user_identifiers.add(phone_number=digest)
    if address := rules.address(event):
        out.user_data.user_identifiers.add(address=address)
    if event["event_value"] is not None:
        out.conversion_value = float(event["event_value"])
    if event["currency"]:
        out.currency = event["currency"]
    return out


class DataManager:
    """A client that sends each request once; repeating it is the outbox's business.

    Args:
        host: base URL; Google's own when absent. With plain http it is the sandbox.
        login_customer_id: the manager account through which the customer is accessed.
        timeout: seconds that a request may take.
    """

    def __init__(
        self,
        access: Access,
        *,
        host: str | None = None,
        login_customer_id: str | None = None,
        timeout: float = 60,
    ) -> None:
        self._access, self._login = access, login_customer_id
        self._timeout = timeout
        parts = urlsplit(host or f"https://{_HOST}")
        # Without anything to refresh it by: a refusal comes back to us as such.
        self._credentials = (
            AnonymousCredentials() if access.is_anonymous else Credentials("not fetched yet")
        )
        self._client = dm.IngestionServiceClient(
            transport=IngestionServiceRestTransport(
                host=parts.netloc, url_scheme=parts.scheme, credentials=self._credentials
            )
        )

    @property
    def project(self) -> str:
        """Whose quotas the requests use up."""
        return self._access.project

    def ingest(
        self, target: Target, events: Sequence[Any], *, validate_only: bool = False
    ) -> Received:
        """One request with at most 2000 payloads; Google takes all of them or none.

        Raises:
            GoogleEventsRefused: which of them are wrong; the others may be sent again.
            GoogleError: see `tributary.platforms.google.errors`.
        """
        request = _Ingest(events=events, encoding=dm.Encoding.HEX, validate_only=validate_only)
        place = request.destinations.add(product_destination_id=target.action_id)
        place.operating_account.account_type = dm.ProductAccount.AccountType.GOOGLE_ADS
        place.operating_account.account_id = target.customer_id
        if self._login:
            place.login_account.account_type = dm.ProductAccount.AccountType.GOOGLE_ADS
            place.login_account.account_id = self._login
        wrapped = dm.IngestEventsRequest.wrap(request)
        answer = self._ask(
            lambda: self._client.ingest_events(wrapped, retry=None, timeout=self._timeout)
        )
        if not answer.request_id and not validate_only:
            raise GoogleTransient("Google answered without a request id", http_status=200)
        warnings = tuple(
            sorted({dm.WarningReason(one.reason).name for one in answer.field_warnings})
        )
        return Received(answer.request_id or None, warnings)

    def status(self, request_id: str) -> RequestStatus:
        """How Google processed a request; at the earliest 30 minutes after it.

        Raises:
            GoogleStatusGone: Google does not know the request (any more).
            GoogleError: see `tributary.platforms.google.errors`.
        """
        request = dm.RetrieveRequestStatusRequest(request_id=request_id)
        answer = self._ask(
            lambda: self._client.retrieve_request_status(request, retry=None, timeout=self._timeout)
        )
        if not answer.request_status_per_destination:
            raise GoogleTransient("Google answered without a status", http_status=200)
        found = answer.request_status_per_destination[0]
        errors = {
            reason_of(_name(dm.ProcessingErrorReason, one.reason)): int(one.record_count)
            for one in found.error_info.error_counts
        }
        return request_status(
            _States(found.request_status).name,
            int(found.events_ingestion_status.record_count),
            errors,
            {
                _name(dm.ProcessingWarningReason, one.reason): int(one.record_count)
                for one in found.warning_info.warning_counts
            },
        )

    def _ask(self, ask: Callable[[], _Answer]) -> _Answer:
        """Ask with a valid access token."""

        def once(token: str | None) -> _Answer:
            if token is not None:
                self._credentials.token = token
            return self._once(ask)

        return self._access.with_token(once)

    def _once(self, ask: Callable[[], _Answer]) -> _Answer:
        try:
            return ask()
        except api.GoogleAPICallError as error:
            raise self._meaning(error) from None
        except GoogleAuthError:  # the session tries to refresh what was refused, and has nothing
            raise self._access_refused() from None
        except requests.RequestException as error:
            # Its text has the URL: only the kind of failure is kept.
            never_left = isinstance(error, requests.ConnectTimeout) or isinstance(
                getattr(next(iter(error.args), None), "reason", None), NewConnectionError
            )
            kind = GoogleUnreachable if never_left else GoogleTransient
            raise kind(f"Google could not be reached: {type(error).__name__}") from None
        except (ParseError, ValueError):
            raise GoogleTransient("Google's answer is not whole", http_status=200) from None

    def _access_refused(self, trace_id: str | None = None) -> GoogleError:
        return GoogleAccessRefused(
            f"Google refuses the access token of {self._access.who}: give consent to "
            "https://www.googleapis.com/auth/datamanager anew and put the new refresh token into "
            "the connection.",
            http_status=401,
            trace_id=trace_id,
        )

    def _meaning(self, error: Any) -> GoogleError:
        """The exception for an answer; details come as plain dicts over REST."""
        status = int(error.code) if error.code is not None else None
        details = [_plain(one) for one in error.details or ()]
        trace_id = next((one["requestId"] for one in details if one.get("requestId")), None)
        if status == 401:
            return self._access_refused(trace_id)
        violations = [v for one in details for v in one.get("fieldViolations", ())]
        by_event, others = _sorted(violations)
        stopping = [
            flaw for flaws in by_event.values() for flaw in flaws if flaw.kind not in _OF_ONE_EVENT
        ]
        if by_event and not others and not stopping:
            flaws = {index: most_severe(found) for index, found in by_event.items()}
            first = flaws[min(flaws)]
            return GoogleEventsRefused(
                f"Data Manager refuses {len(flaws)} events of a request, the first one for "
                f"{first.code}: {first.message}",
                flaws=flaws,
                code="INVALID_ARGUMENT",
                http_status=status,
                trace_id=trace_id,
            )
        if others or stopping:
            code, message, kind = most_severe(others or stopping)
        else:
            code = str(error.reason or _grpc_name(error))
            message, kind = str(error.message), fast_fail(code)
            if kind is ErrorKind.UNKNOWN and not error.reason:
                kind = _by_status(status)
        return request_error(
            kind,
            code,
            message,
            self._access.who,
            http_status=status,
            trace_id=trace_id,
            wait=_wait(error, details),
        )


def _name(enum: Any, value: int) -> str:
    """The name of an enum's value; its number where the library does not know it."""
    return str(getattr(value, "name", None) or f"{enum.__name__}_{int(value)}")


def _plain(detail: Any) -> Mapping[str, Any]:
    return detail if isinstance(detail, Mapping) else {}


# A flaw of such a kind is of its event alone: the others of the request can be taken.
_OF_ONE_EVENT = (
    ErrorKind.INVALID_EVENT,
    ErrorKind.NO_CONSENT,
    ErrorKind.INVALID_REQUEST,
    ErrorKind.UNKNOWN,
    ErrorKind.TRY_IN_6_HOURS,
    ErrorKind.TRY_IN_24_HOURS,
)

_INDEX = re.compile(r"events\[(\d+)\]")
_PATH = re.compile(r"[\w.\[\]]*")


def _sorted(violations: Sequence[Mapping[str, Any]]) -> tuple[dict[int, list[Flaw]], list[Flaw]]:
    """What is wrong by index of the event, and what is wrong beside the events."""
    by_event: dict[int, list[Flaw]] = {}
    others = []
    for violation in violations:
        field, reason = str(violation.get("field", "")), str(violation.get("reason", ""))
        path = _PATH.match(field)
        message = f"{redacted(str(violation.get('description', '')))} [{path and path[0]}]"
        code = reason or "INVALID_ARGUMENT"
        flaw = Flaw(code, message, fast_fail(code))
        if found := _INDEX.search(field):
            by_event.setdefault(int(found[1]), []).append(flaw)
        else:
            others.append(flaw)
    return by_event, others


def _grpc_name(error: Any) -> str:
    code = error.grpc_status_code
    return str(code.name) if code is not None else f"http_{error.code}"


def _by_status(status: int | None) -> ErrorKind:
    if status is None or status >= 500 or status == 408:
        return ErrorKind.TRANSIENT
    return {
        400: ErrorKind.INVALID_REQUEST,
        403: ErrorKind.FORBIDDEN,
        404: ErrorKind.FORBIDDEN,
        409: ErrorKind.TRANSIENT,
        429: ErrorKind.THROTTLED,
    }.get(status, ErrorKind.UNKNOWN)


def _wait(error: Any, details: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds that Google asks to wait: RetryInfo, else the header Retry-After."""
    for text in _hints(error, details):
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
    return None


def _hints(error: Any, details: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in details:
        yield str(one.get("retryDelay", "")).removesuffix("s")
    response = getattr(error, "response", None)
    if response is not None:
        yield response.headers.get("Retry-After", "")
