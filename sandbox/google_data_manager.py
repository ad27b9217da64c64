"""Data Manager over HTTP: what it refuses, what it takes, and what becomes of that later.

Requests are read by the library's own message classes, which know no unknown name. Anything basic
that is wrong with one event has the whole request refused, and every offender is listed.
"""

from __future__ import annotations

import math
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import orjson
import pycountry
from google.ads import datamanager_v1 as dm
from google.protobuf import json_format

from sandbox.google import MAX_ROWS, Google, GoogleFault, Row

_CURRENCIES = {currency.alpha_3 for currency in pycountry.currencies}
_COUNTRIES = {country.alpha_2 for country in pycountry.countries}
_HEX, _CLICK = re.compile(r"[0-9a-fA-F]*"), re.compile(r"[\w.-]{10,}", re.ASCII)
_CLICK_IDS = ("gclid", "gbraid", "wbraid")
_MAX_AGE = timedelta(days=90)
_Request = type(dm.IngestEventsRequest.pb(dm.IngestEventsRequest()))


class Answer(NamedTuple):
    """What leaves, as JSON."""

    status: int
    body: bytes
    fault: GoogleFault | None = None  # one that breaks the connection on the way back
    kind: str = "application/json; charset=UTF-8"
    headers: Mapping[str, str] = {}


class _Violation(NamedTuple):
    field: str
    reason: str
    description: str


def ingest(google: Google, body: bytes, headers: Mapping[str, str]) -> Answer:
    """`POST /v1/events:ingest`."""
    early, fault = _before(google, "data_manager", body, headers)
    if early is not None:
        return early
    try:
        request = _read(body)
    except json_format.ParseError as error:
        return _error(400, f"Invalid JSON payload received. {error}", "INVALID_ARGUMENT")
    refused = [one.account_id for one in _accounts(request) if not _knows(google, one.account_id)]
    if refused:
        return _error(403, "The caller does not have permission", "PERMISSION_DENIED")
    violations = list(_violations(google, request))
    if violations:
        return _error(400, "There was a problem with the request.", "INVALID_ARGUMENT", violations)
    if request.validate_only:
        return Answer(200, b"{}", fault)
    request_id = secrets.token_urlsafe(12)
    reasons: Counter[str] = Counter()
    action = request.destinations[0].product_destination_id
    for event in request.events:
        reason = _taken(google, action, event)
        if reason:
            reasons[reason] += 1
    google.requests[request_id] = (google.clock.now(), action, len(request.events), reasons)
    return Answer(200, orjson.dumps({"requestId": request_id}), fault)


def status(google: Google, request_id: str, headers: Mapping[str, str]) -> Answer:
    """`GET /v1/requestStatus:retrieve`."""
    early, fault = _before(google, "status", request_id.encode(), headers)
    if early is not None:
        return early
    found = google.requests.get(request_id)
    if found is None:
        return _error(400, "The request id is not valid.", "INVALID_REQUEST_ID")
    at, action, rows, reasons = found
    now = google.clock.now()
    if now > at + timedelta(days=50):
        return _error(400, "The request is too old.", "REQUEST_TOO_OLD")
    one = dm.RequestStatusPerDestination()
    one.destination.product_destination_id = action
    one.destination.operating_account.account_type = dm.ProductAccount.AccountType.GOOGLE_ADS
    one.destination.operating_account.account_id = google.actions[action].customer
    states = dm.RequestStatusPerDestination.RequestStatus
    one.events_ingestion_status.record_count = rows
    if now < at + google.processing:
        one.request_status = states.PROCESSING
    else:
        bad = sum(reasons.values())
        one.request_status = (
            states.SUCCESS if not bad else states.FAILED if bad == rows else states.PARTIAL_SUCCESS
        )
        for reason, number in reasons.items():
            one.error_info.error_counts.append(
                dm.ErrorCount(reason=_reason(reason), record_count=number)
            )
    answer = dm.RetrieveRequestStatusResponse(request_status_per_destination=[one])
    text = dm.RetrieveRequestStatusResponse.to_json(answer, use_integers_for_enums=False)
    return Answer(200, text.encode(), fault)


def _read(body: bytes) -> Any:
    """The request; by the class's own constructor where it can, which is three times as fast.

    Raises:
        json_format.ParseError: the body has what the class has not.
    """
    try:
        return _Request(**_named(orjson.loads(body)))
    except (ValueError, TypeError, OverflowError):
        return json_format.Parse(body, _Request())


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """JSON's names as the message has them."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if type(value) is dict:
            value = _named(value)
        elif type(value) is list:
            value = [_named(one) if type(one) is dict else one for one in value]
        elif key.endswith("Timestamp"):
            moment = datetime.fromisoformat(value)
            value = {
                "seconds": int(moment.replace(microsecond=0).timestamp()),
                "nanos": moment.microsecond * 1000,
            }
        found[_snake(key)] = value
    return found


@cache
def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def _reason(name: str) -> dm.ProcessingErrorReason:
    for prefix in ("PROCESSING_ERROR_REASON_", "PROCESSING_ERROR_"):
        if prefix + name in dm.ProcessingErrorReason.__members__:
            return dm.ProcessingErrorReason[prefix + name]
    raise ValueError(f"there is no processing reason {name}")


def _before(
    google: Google, api: str, body: bytes, headers: Mapping[str, str]
) -> tuple[Answer | None, GoogleFault | None]:
    """What answers before the request is read, or the fault that strikes after it was taken."""
    fault = google.enter(api, body, headers)
    if not google.is_logged_in(headers.get("authorization", "")):
        return _error(
            401, "Request had invalid authentication credentials.", "UNAUTHENTICATED"
        ), None
    if fault is not None and not fault.is_after:
        return _struck(fault), None
    wait = google.wait_for_quota()
    if wait:
        return _exhausted(wait), None
    return None, fault


def _struck(fault: GoogleFault) -> Answer:
    match fault.kind:
        case "unavailable":
            return _error(503, "The service is currently unavailable.", "UNAVAILABLE", reason=None)
        case "internal":
            return _error(500, "Internal error encountered.", "INTERNAL", reason=None)
        case "html":
            page = b"<html><body><h1>502 Bad Gateway</h1></body></html>\n"
            return Answer(502, page, None, "text/html")
        case "quota":
            return _exhausted(fault.retry_delay)
        case "unauthenticated":
            return _error(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED")
        case "error":
            forbidden = fault.code in ("PERMISSION_DENIED", "NOT_ALLOWLISTED")
            return _error(403 if forbidden else 400, f"Refused: {fault.code}", fault.code)
        case _:
            return Answer(503, b"", fault)  # hang


def _exhausted(wait: float) -> Answer:
    return _error(
        429, "Quota exceeded for quota metric 'Ingestion requests'.", "RESOURCE_EXHAUSTED",
        wait=wait,
    )  # fmt: skip


def _error(
    status: int,
    message: str,
    reason_or_status: str,
    violations: list[_Violation] | None = None,
    *,
    wait: float = 0,
    reason: str | None = "",
) -> Answer:
    details: list[dict[str, Any]] = []
    if reason is not None:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason_or_status,
                "domain": "datamanager.googleapis.com",
            }
        )
    details.append(
        {
            "@type": "type.googleapis.com/google.rpc.RequestInfo",
            "requestId": secrets.token_urlsafe(8),
        }
    )
    if violations:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [one._asdict() for one in violations],
            }
        )
    if wait:
        details.append(
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait:g}s"}
        )
    names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED",
             429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}  # fmt: skip
    error = {"code": status, "message": message, "status": names[status], "details": details}
    return Answer(status, orjson.dumps({"error": error}))


def _accounts(request: Any) -> Iterator[Any]:
    for place in request.destinations:
        yield place.operating_account
        if place.HasField("login_account"):
            yield place.login_account


def _knows(google: Google, customer: str) -> bool:
    return any(action.customer == customer for action in google.actions.values())


def _violations(google: Google, request: Any) -> Iterator[_Violation]:
    yield from _of_request(google, request)
    for index, event in enumerate(request.events):
        for violation in _of_event(google, event):
            # As Google's own documentation shows it: the word is there twice.
            yield violation._replace(field=f"events.events[{index}].{violation.field}".rstrip("."))


def _of_request(google: Google, request: Any) -> Iterator[_Violation]:
    if not request.events:
        yield _Violation("events", "TOO_FEW_ELEMENTS", "There must be an event.")
    if len(request.events) > MAX_ROWS:
        yield _Violation("events", "TOO_MANY_EVENTS", "Too many events in the request.")
    if not request.destinations:
        yield _Violation("destinations", "REQUIRED_FIELD_MISSING", "A destination is required.")
    if len(request.destinations) > 1:  # Google takes ten; we have no use for a second
        yield _Violation("destinations", "TOO_MANY_DESTINATIONS", "Too many destinations.")
    if request.encoding not in (1, 2) and any(e.HasField("user_data") for e in request.events):
        yield _Violation("encoding", "REQUIRED_FIELD_MISSING", "The encoding is required.")
    for index, place in enumerate(request.destinations):
        path, action = f"destinations[{index}]", google.actions.get(place.product_destination_id)
        if place.operating_account.account_type != 1:
            yield _Violation(path, "INVALID_DESTINATION", "The account type must be GOOGLE_ADS.")
        if action is None or action.customer != place.operating_account.account_id:
            yield _Violation(
                f"{path}.product_destination_id",
                "INVALID_CONVERSION_ACTION_ID",
                f"Conversion action ID '{place.product_destination_id}' is not valid.",
            )


def _of_event(google: Google, event: Any) -> Iterator[_Violation]:
    if event.transaction_id in google.refuse:
        code = google.refuse[event.transaction_id]
        yield _Violation("", code, f"Refused: '{event.transaction_id}'")
    now = google.clock.now()
    if not event.HasField("event_timestamp"):
        yield _Violation("event_timestamp", "REQUIRED_FIELD_MISSING", "The time is required.")
    elif event.event_timestamp.ToDatetime(UTC) > now + timedelta(minutes=1):
        yield _Violation("event_timestamp", "EVENT_TIME_INVALID", "The time is in the future.")
    if event.HasField("conversion_value") and not (0 <= event.conversion_value < math.inf):
        yield _Violation("conversion_value", "INVALID_NUMBER_FORMAT", "The value is not valid.")
    if event.currency and event.currency not in _CURRENCIES:
        yield _Violation("currency", "INVALID_CURRENCY_CODE", f"'{event.currency}' is not known.")
    if len(event.transaction_id) > 512:
        yield _Violation("transaction_id", "FIELD_VALUE_TOO_LONG", "The id is too long.")
    for name in ("ad_user_data", "ad_personalization"):
        if getattr(event.consent, name) not in (0, 1, 2):
            yield _Violation(f"consent.{name}", "INVALID_ENUM_VALUE", "The value is not known.")
    if event.event_source not in range(7):
        yield _Violation("event_source", "INVALID_ENUM_VALUE", "The value is not known.")
    clicks = [name for name in _CLICK_IDS if getattr(event.ad_identifiers, name)]
    for name in clicks:
        value = getattr(event.ad_identifiers, name)
        if not _CLICK.fullmatch(value):
            yield _Violation(f"ad_identifiers.{name}", "INVALID_FORMAT", f"'{value}' is malformed.")
    people = event.user_data.user_identifiers
    if not clicks and not people:
        yield _Violation("", "NO_IDENTIFIERS_PROVIDED", "There is no identifier.")
    if len(people) > 10:
        yield _Violation("user_data", "TOO_MANY_USER_IDENTIFIERS", "At most 10 are allowed.")
    for index, person in enumerate(people):
        for violation in _of_person(person):
            path = f"user_data.user_identifiers[{index}].{violation.field}".rstrip(".")
            yield violation._replace(field=path)


def _of_person(person: Any) -> Iterator[_Violation]:
    kind = person.WhichOneof("identifier")
    if kind is None:
        yield _Violation("", "REQUIRED_FIELD_MISSING", "The identifier is empty.")
    elif kind != "address":
        yield from _of_hash(kind, getattr(person, kind))
    else:
        address = person.address
        for name in ("given_name", "family_name"):
            yield from _of_hash(f"address.{name}", getattr(address, name))
        if address.region_code not in _COUNTRIES:
            yield _Violation("address.region_code", "INVALID_REGION_CODE", "The code is not known.")
        if not address.postal_code:
            yield _Violation("address.postal_code", "REQUIRED_FIELD_MISSING", "It is required.")


def _of_hash(name: str, value: str) -> Iterator[_Violation]:
    if not _HEX.fullmatch(value) or len(value) % 2:
        yield _Violation(name, "INVALID_HEX_ENCODING", f"The HEX encoded value '{value}' is wrong.")
    elif len(value) != 64:
        yield _Violation(name, "INVALID_SHA256_FORMAT", f"'{value}' is no SHA-256 value.")


def _taken(google: Google, action: str, event: Any) -> str | None:
    """Enter an event; what will be said of it later, without the enum's prefix."""
    row = row_of(action, event)
    if event.transaction_id in google.becomes:
        return google.becomes[event.transaction_id]
    now = google.clock.now()
    if now - row.at > _MAX_AGE:
        return "EVENT_TOO_OLD"
    if event.consent.ad_user_data == 2:
        return "DENIED_CONSENT"
    click = google.clicks.get(row.gclid)
    if click is not None and row.at < click.at:
        return "CONVERSION_PRECEDES_CLICK"
    if click is not None and now - click.at < timedelta(hours=6):
        return "TOO_RECENT_CLICK"
    if google.is_unmatched(row):
        return "CLICK_NOT_FOUND"
    return google.take(row)


def row_of(action: str, event: Any) -> Row:
    """What the books need of an event."""
    at: datetime = event.event_timestamp.ToDatetime(UTC)
    people = tuple(
        person.email_address or person.phone_number for person in event.user_data.user_identifiers
    )
    return Row(
        action,
        event.transaction_id,
        next((v for n in _CLICK_IDS if (v := getattr(event.ad_identifiers, n))), ""),
        at,
        event.conversion_value if event.HasField("conversion_value") else None,
        event.currency,
        people,
    )
