"""The Google Ads API over gRPC, from the library's own message classes: conversions, adjustments,
the clicks of a day. Errors name row and code; a row may have several.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple, NoReturn

import grpc
import pycountry
from google.ads.googleads.v26.enums.types.conversion_adjustment_type import (
    ConversionAdjustmentTypeEnum,
)
from google.ads.googleads.v26.errors.types.errors import GoogleAdsFailure
from google.ads.googleads.v26.services.types import (
    conversion_adjustment_upload_service as adjusting,
)
from google.ads.googleads.v26.services.types import conversion_upload_service as uploading
from google.ads.googleads.v26.services.types import customer_service, google_ads_service
from google.protobuf import json_format

from sandbox.google import MAX_ROWS, Google, GoogleFault, Row
from sandbox.google_clicks import clicks_of
from sandbox.state import State

_SERVICES = "google.ads.googleads.v26.services"
_FAILURE = "google.ads.googleads.v26.errors.googleadsfailure-bin"
_CURRENCIES = {currency.alpha_3 for currency in pycountry.currencies}
_HASH, _CLICK = re.compile(r"[0-9a-f]{64}"), re.compile(r"[\w.-]{10,}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d")
_ACTION = re.compile(r"customers/(\d{10})/conversionActions/(\d+)")
_CLICK_IDS = ("gclid", "gbraid", "wbraid")
_UPLOAD, _ADJUST = "conversion_upload_error", "conversion_adjustment_upload_error"
_Types = ConversionAdjustmentTypeEnum.ConversionAdjustmentType
_WORKERS = 40  # requests that wait for the latency need a thread each


class Problem(NamedTuple):
    """An error of a row, or (path without an index) of the request."""

    code: str  # category.NAME
    path: str = ""
    said: str = "The value is not valid."


class Server:
    """The gRPC server of a sandbox, from its start until `stop`."""

    def __init__(self, sandbox: State, port: int = 0) -> None:
        self._sandbox, self._stopping = sandbox, threading.Event()
        options = [("grpc.max_receive_message_length", 64 * 2**20)]
        self._server = grpc.server(ThreadPoolExecutor(_WORKERS), options=options)
        for service, methods in self._methods().items():
            self._server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(f"{_SERVICES}.{service}", methods)]
            )
        number = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()
        self.url = f"http://127.0.0.1:{number}"

    def stop(self) -> None:
        """End it, and what still waits in it."""
        self._stopping.set()
        self._server.stop(0).wait(5)

    def _methods(self) -> dict[str, dict[str, Any]]:
        upload, adjust = uploading, adjusting
        search = google_ads_service.SearchGoogleAdsStreamRequest
        return {
            "ConversionUploadService": {
                "UploadClickConversions": self._unary(
                    "google_ads",
                    _upload,
                    upload.UploadClickConversionsRequest,
                    upload.UploadClickConversionsResponse,
                )
            },
            "ConversionAdjustmentUploadService": {
                "UploadConversionAdjustments": self._unary(
                    "adjustments",
                    _adjust,
                    adjust.UploadConversionAdjustmentsRequest,
                    adjust.UploadConversionAdjustmentsResponse,
                )
            },
            "CustomerService": {
                "ListAccessibleCustomers": self._unary(
                    "customers",
                    _customers,
                    customer_service.ListAccessibleCustomersRequest,
                    customer_service.ListAccessibleCustomersResponse,
                )
            },
            "GoogleAdsService": {
                "SearchStream": grpc.unary_stream_rpc_method_handler(
                    lambda body, context: iter(
                        [self._serve("search", self._search, search, body, context)]
                    ),
                    response_serializer=(
                        google_ads_service.SearchGoogleAdsStreamResponse.serialize
                    ),
                )
            },
        }

    def _unary(self, api: str, serve: Callable[..., Any], asked: Any, answered: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda body, context: self._serve(api, serve, asked, body, context),
            response_serializer=answered.serialize,
        )

    def _serve(
        self, api: str, serve: Callable[..., Any], asked: Any, body: bytes, context: Any
    ) -> Any:
        sandbox, google = self._sandbox, self._sandbox.google
        headers = dict(context.invocation_metadata())
        if sandbox.latency:
            self._stopping.wait(sandbox.latency)
        fault = google.enter(api, body, headers)
        request = asked.pb(asked.deserialize(body))
        if not google.is_logged_in(headers.get("authorization", "")):
            _fail(context, grpc.StatusCode.UNAUTHENTICATED,
                  Problem("authentication_error.OAUTH_TOKEN_INVALID"))  # fmt: skip
        if fault is not None and not fault.is_after and not fault.partial:
            self._strike(fault, context)
        self._check_customer(google, request, headers, context)
        answer = serve(google, request, context, fault)
        sandbox.clock.tick()
        if fault is not None and fault.is_after:
            if fault.kind == "lost_ack":
                context.abort(grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection reset by peer")
            self._hang(fault, context)
        return answer

    def _hang(self, fault: GoogleFault, context: Any) -> None:
        end = time.monotonic() + fault.seconds
        while time.monotonic() < end and context.is_active() and not self._stopping.is_set():
            time.sleep(0.02)

    def _strike(self, fault: GoogleFault, context: Any) -> None:
        codes = grpc.StatusCode
        match fault.kind:
            case "unavailable" | "html":
                context.abort(codes.UNAVAILABLE, "The service is currently unavailable.")
            case "internal":
                _fail(context, codes.INTERNAL, Problem("internal_error.INTERNAL_ERROR"))
            case "quota":
                _fail(context, codes.RESOURCE_EXHAUSTED, Problem("quota_error.RESOURCE_EXHAUSTED"),
                      retry_delay=fault.retry_delay)  # fmt: skip
            case "unauthenticated":
                _fail(context, codes.UNAUTHENTICATED,
                      Problem("authentication_error.OAUTH_TOKEN_EXPIRED"))  # fmt: skip
            case "error":
                denied = fault.code.startswith(("authorization_error", "not_allowlisted_error"))
                status = codes.PERMISSION_DENIED if denied else codes.INVALID_ARGUMENT
                _fail(context, status, Problem(fault.code))
            case _:
                self._hang(fault, context)

    def _check_customer(
        self, google: Google, request: Any, headers: dict[str, str], context: Any
    ) -> None:
        login = headers.get("login-customer-id", "")
        if login and not re.fullmatch(r"\d{10}", login):
            _fail(context, grpc.StatusCode.INVALID_ARGUMENT,
                  Problem("header_error.INVALID_LOGIN_CUSTOMER_ID"))  # fmt: skip
        customer = getattr(request, "customer_id", None)
        if customer is not None and customer not in {a.customer for a in google.actions.values()}:
            denied = Problem("authorization_error.USER_PERMISSION_DENIED")
            _fail(context, grpc.StatusCode.PERMISSION_DENIED, denied)

    def _search(self, google: Google, request: Any, context: Any, fault: GoogleFault | None) -> Any:
        """GAQL, as far as `click_view` needs it."""
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        found = re.fullmatch(
            r"\s*select\s+(?P<fields>[\w.,\s]+?)\s+from\s+(?P<resource>\w+)"
            r"(?:\s+where\s+(?P<where>.+?))?\s*",
            request.query,
            re.IGNORECASE | re.DOTALL,
        )
        if found is None:
            _fail(context, invalid, Problem("query_error.UNEXPECTED_INPUT"))
        if found["resource"] != "click_view":
            _fail(context, invalid, Problem("query_error.BAD_RESOURCE_TYPE_IN_FROM_CLAUSE"))
        where = re.fullmatch(r"segments\.date\s*=\s*'(\d{4}-\d\d-\d\d)'", found["where"] or "")
        if where is None:
            _fail(context, invalid, Problem("click_view_error.EXPECTED_FILTER_ON_A_SINGLE_DAY"))
        day = date.fromisoformat(where[1])
        if not timedelta(0) <= google.clock.now().date() - day <= timedelta(days=90):
            _fail(context, invalid, Problem("click_view_error.DATE_TOO_OLD"))
        answer = google_ads_service.SearchGoogleAdsStreamResponse.pb(
            google_ads_service.SearchGoogleAdsStreamResponse()
        )
        paths = [path.strip() for path in found["fields"].split(",")]
        for click in clicks_of(self._sandbox.world, google, request.customer_id, day):
            row = answer.results.add()
            try:
                json_format.ParseDict({key: {} for key in {p.split(".")[0] for p in paths}}, row)
                for path in paths:
                    _put(row, path, click)
            except (AttributeError, json_format.ParseError):
                _fail(context, invalid, Problem("query_error.UNRECOGNIZED_FIELD"))
        answer.field_mask.paths.extend(paths)
        return google_ads_service.SearchGoogleAdsStreamResponse.wrap(answer)


def _put(row: Any, path: str, click: dict[str, Any]) -> None:
    """The value of one selected field; a field that the message has not is an error."""
    resource, name = path.split(".")
    part = getattr(row, resource)
    if name not in part.DESCRIPTOR.fields_by_name:
        raise AttributeError(path)
    value = click.get(resource, {}).get(name)
    if value is not None:
        setattr(part, name, value)


def _fail(
    context: Any, status: grpc.StatusCode, *problems: Problem, retry_delay: float = 0
) -> NoReturn:
    """Refuse a request as a whole."""
    failure = _failure((None, problem) for problem in problems)
    if retry_delay:
        details = failure.errors[0].details.quota_error_details
        details.rate_name = "Requests per account"
        details.retry_delay.FromTimedelta(timedelta(seconds=retry_delay))
    context.set_trailing_metadata(
        ((_FAILURE, failure.SerializeToString()), ("request-id", f"sandbox-{next(_ids)}"))
    )
    context.abort(status, "Request contains an invalid argument.")
    raise AssertionError("unreachable: abort raises")


_ids = count(1)


def _failure(problems: Iterator[tuple[int | None, Problem]], rows: str = "") -> Any:
    failure = GoogleAdsFailure.pb(GoogleAdsFailure())
    for index, problem in problems:
        error = failure.errors.add(message=problem.said)
        category, _, name = problem.code.partition(".")
        values = error.error_code.DESCRIPTOR.fields_by_name[category].enum_type.values_by_name
        setattr(error.error_code, category, values[name].number)
        if index is not None:
            error.location.field_path_elements.add(field_name=rows, index=index)
        for part in filter(None, problem.path.split(".")):
            error.location.field_path_elements.add(field_name=part)
    return failure


def _answer(
    answer: Any, problems: dict[int, list[Problem]], results: list[Any], rows: str, only: bool
) -> Any:
    if problems:
        pairs = ((i, problem) for i, found in sorted(problems.items()) for problem in found)
        status = answer.partial_failure_error
        status.code, status.message = 3, "Multiple errors in details. First error: …"
        status.details.add().Pack(_failure(pairs, rows))
    if not only:
        answer.results.extend(results)
    answer.job_id = 2**31 + next(_ids)
    return answer


def _check_request(request: Any, rows: int, category: str, what: str, context: Any) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    if not request.partial_failure:
        _fail(context, invalid, Problem("partial_failure_error.PARTIAL_FAILURE_MODE_REQUIRED"))
    if rows > MAX_ROWS:
        _fail(context, invalid, Problem(f"{category}.TOO_MANY_{what}_IN_REQUEST"))
    if not rows:
        _fail(context, invalid, Problem("request_error.REQUIRED_FIELD_MISSING", what.lower()))


_NOT_ALLOWED = "not_allowlisted_error.CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE"


def _upload(google: Google, request: Any, context: Any, fault: GoogleFault | None) -> Any:
    _check_request(request, len(request.conversions), _UPLOAD, "CONVERSIONS", context)
    if not google.allowlisted:
        _fail(context, grpc.StatusCode.PERMISSION_DENIED, Problem(_NOT_ALLOWED))
    response = uploading.UploadClickConversionsResponse
    answer = response.pb(response())
    result = type(uploading.ClickConversionResult.pb(uploading.ClickConversionResult()))
    orders = Counter((row.conversion_action, row.order_id) for row in request.conversions)
    problems: dict[int, list[Problem]] = {}
    results = []
    for index, row in enumerate(request.conversions):
        if fault is not None and fault.partial:
            found = [Problem(fault.code)]
        else:
            found = list(_of_conversion(google, row))
        if row.order_id and orders[row.conversion_action, row.order_id] > 1:
            found.append(Problem(f"{_UPLOAD}.DUPLICATE_ORDER_ID", "order_id"))
        if not found and not request.validate_only:
            found = _taken(google, row)
        if found:
            problems[index] = found
            results.append(result())
        else:
            results.append(
                result(
                    gclid=row.gclid,
                    conversion_action=row.conversion_action,
                    conversion_date_time=row.conversion_date_time,
                )
            )
    return response.wrap(_answer(answer, problems, results, "conversions", request.validate_only))


def _of_conversion(google: Google, row: Any) -> Iterator[Problem]:
    if row.order_id in google.refuse:
        yield Problem(google.refuse[row.order_id], "", f"Refused: '{row.order_id}'")
    yield from _of_action(google, row, _UPLOAD, ("UPLOAD_CLICKS",))
    yield from _of_moment(google, row.conversion_date_time, "conversion_date_time")
    clicks = [name for name in _CLICK_IDS if getattr(row, name)]
    if "gbraid" in clicks and "wbraid" in clicks:
        yield Problem(f"{_UPLOAD}.GBRAID_WBRAID_BOTH_SET", "gbraid")
    elif len(clicks) > 1:
        yield Problem("field_error.VALUE_MUST_BE_UNSET", clicks[1])
    for name in clicks:
        if not _CLICK.fullmatch(getattr(row, name)):
            code = f"{_UPLOAD}.UNPARSEABLE_{name.upper()}"
            yield Problem(code, name, f"'{getattr(row, name)}' cannot be decoded.")
    if not clicks and not row.user_identifiers:
        yield Problem("field_error.REQUIRED", "gclid")
    yield from _of_people(row.user_identifiers, _UPLOAD, ("hashed_email", "hashed_phone_number"))
    yield from _of_money(row.conversion_value, row.currency_code, "conversion_value")
    if "@" in row.order_id:
        yield Problem(f"{_UPLOAD}.ORDER_ID_CONTAINS_PII", "order_id")
    for name in ("ad_user_data", "ad_personalization"):
        if getattr(row.consent, name) not in (0, 2, 3):
            yield Problem("enum_error.ENUM_VALUE_NOT_PERMITTED", f"consent.{name}")


def _of_action(
    google: Google, row: Any, category: str, kinds: tuple[str, ...]
) -> Iterator[Problem]:
    found = _ACTION.fullmatch(row.conversion_action)
    if found is None:
        yield Problem("request_error.RESOURCE_NAME_MALFORMED", "conversion_action")
    elif (action := google.actions.get(found[2])) is None:
        yield Problem(f"{category}.NO_CONVERSION_ACTION_FOUND", "conversion_action")
    elif action.kind not in kinds:
        yield Problem(f"{category}.INVALID_CONVERSION_ACTION_TYPE", "conversion_action")


def _of_moment(google: Google, text: str, path: str) -> Iterator[Problem]:
    if not _MOMENT.fullmatch(text):
        code = "date_error.INVALID_STRING_DATE_TIME_SECONDS_WITH_OFFSET"
        yield Problem(code, path, f"'{text}' is not of the form yyyy-mm-dd hh:mm:ss+|-hh:mm.")
    elif _at(text) > google.clock.now() + timedelta(minutes=1):
        yield Problem("date_error.LATER_THAN_MAXIMUM_DATE", path)


def _of_people(people: Any, category: str, kinds: tuple[str, ...]) -> Iterator[Problem]:
    if len(people) > 5:
        yield Problem("collection_size_error.TOO_MANY", "user_identifiers")
    for person in people:
        kind = person.WhichOneof("identifier")
        if kind not in kinds:
            yield Problem(f"{category}.UNSUPPORTED_USER_IDENTIFIER", "user_identifiers")
            continue
        hashes = (
            [person.address_info.hashed_first_name, person.address_info.hashed_last_name]
            if kind == "address_info"
            else [getattr(person, kind)]
        )
        if not all(_HASH.fullmatch(one) for one in hashes):
            yield Problem(
                f"{category}.INVALID_USER_IDENTIFIER",
                "user_identifiers",
                f"'{hashes[0]}' is not a SHA-256 value.",
            )


def _of_money(value: float, currency: str, path: str) -> Iterator[Problem]:
    if value < 0:
        yield Problem("range_error.TOO_LOW", path)
    if not math.isfinite(value):
        yield Problem("field_error.INVALID_VALUE", path)
    if currency and currency not in _CURRENCIES:
        yield Problem("currency_code_error.UNSUPPORTED", "currency_code")


_IN_OUR_WORDS = {
    "DUPLICATE_TRANSACTION_ID": f"{_UPLOAD}.ORDER_ID_ALREADY_IN_USE",
    "DUPLICATE_GCLID": f"{_UPLOAD}.CLICK_CONVERSION_ALREADY_EXISTS",
}


def _taken(google: Google, row: Any) -> list[Problem]:
    """Enter a conversion, or say why it is none."""
    now, at = google.clock.now(), _at(row.conversion_date_time)
    click = next((v for name in _CLICK_IDS if (v := getattr(row, name))), "")
    people = tuple(p.hashed_email or p.hashed_phone_number for p in row.user_identifiers)
    action = row.conversion_action.rpartition("/")[2]
    known = google.clicks.get(row.gclid)
    if now - at > timedelta(days=90):
        return [Problem(f"{_UPLOAD}.EXPIRED_EVENT", "conversion_date_time")]
    if known is not None and at < known.at:
        return [Problem(f"{_UPLOAD}.CONVERSION_PRECEDES_EVENT", "conversion_date_time")]
    if known is not None and now - known.at < timedelta(hours=6):
        return [Problem(f"{_UPLOAD}.TOO_RECENT_EVENT", "gclid")]
    if known is not None and known.customer != google.actions[action].customer:
        return [Problem(f"{_UPLOAD}.INVALID_CUSTOMER_FOR_CLICK", "gclid")]
    value = row.conversion_value if row.HasField("conversion_value") else None
    entry = Row(action, row.order_id, click, at, value, row.currency_code, people)
    if (action, row.order_id) in google.conversions:
        google.conversions[action, row.order_id].received += 1
        return [Problem(f"{_UPLOAD}.ORDER_ID_ALREADY_IN_USE", "order_id")]
    if google.is_unmatched(entry):
        name = "EVENT_NOT_FOUND" if click else "CLICK_NOT_FOUND"
        return [Problem(f"{_UPLOAD}.{name}", "gclid" if click else "user_identifiers")]
    reason = google.take(entry)
    return [Problem(_IN_OUR_WORDS[reason])] if reason else []


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _adjust(google: Google, request: Any, context: Any, fault: GoogleFault | None) -> Any:
    rows = request.conversion_adjustments
    _check_request(request, len(rows), _ADJUST, "ADJUSTMENTS", context)
    response = adjusting.UploadConversionAdjustmentsResponse
    answer = response.pb(response())
    result = type(adjusting.ConversionAdjustmentResult.pb(adjusting.ConversionAdjustmentResult()))
    seen = Counter((r.conversion_action, r.order_id, r.adjustment_date_time) for r in rows)
    problems: dict[int, list[Problem]] = {}
    results = []
    for index, row in enumerate(rows):
        found = (
            [Problem(fault.code)] if fault and fault.partial else list(_of_adjustment(google, row))
        )
        if seen[row.conversion_action, row.order_id, row.adjustment_date_time] > 1:
            found.append(Problem(f"{_ADJUST}.DUPLICATE_ADJUSTMENT_IN_REQUEST"))
        if not found:
            found = _adjusted(google, row, only=request.validate_only)
        if found:
            problems[index] = found
        results.append(
            result()
            if found
            else result(order_id=row.order_id, conversion_action=row.conversion_action)
        )
    return response.wrap(
        _answer(answer, problems, results, "conversion_adjustments", request.validate_only)
    )


def _of_adjustment(google: Google, row: Any) -> Iterator[Problem]:
    kind = _Types(row.adjustment_type).name
    if row.order_id in google.refuse:
        yield Problem(google.refuse[row.order_id], "", f"Refused: '{row.order_id}'")
    yield from _of_action(google, row, _ADJUST, ("UPLOAD_CLICKS", "WEBPAGE"))
    yield from _of_moment(google, row.adjustment_date_time, "adjustment_date_time")
    if row.order_id and row.HasField("gclid_date_time_pair") and kind != "ENHANCEMENT":
        yield Problem(f"{_ADJUST}.GCLID_DATE_TIME_PAIR_AND_ORDER_ID_BOTH_SET")
    if not row.order_id:
        yield Problem("field_error.REQUIRED", "order_id")
    if kind not in ("RETRACTION", "RESTATEMENT", "ENHANCEMENT"):
        yield Problem("enum_error.ENUM_VALUE_NOT_PERMITTED", "adjustment_type")
    if (kind == "RESTATEMENT") != row.HasField("restatement_value"):
        wrong = "REQUIRED" if kind == "RESTATEMENT" else "VALUE_MUST_BE_UNSET"
        yield Problem(f"field_error.{wrong}", "restatement_value")
    value = row.restatement_value
    yield from _of_money(value.adjusted_value, value.currency_code, "restatement_value")
    if kind != "ENHANCEMENT" and (row.user_identifiers or row.user_agent):
        yield Problem("field_error.VALUE_MUST_BE_UNSET", "user_identifiers")
    if kind == "ENHANCEMENT" and not row.user_identifiers:
        yield Problem("field_error.REQUIRED", "user_identifiers")
    yield from _of_people(
        row.user_identifiers, _ADJUST, ("hashed_email", "hashed_phone_number", "address_info")
    )


def _adjusted(google: Google, row: Any, *, only: bool) -> list[Problem]:
    """Change a conversion, or say why it cannot be."""
    action = row.conversion_action.rpartition("/")[2]
    kind, at, now = (
        _Types(row.adjustment_type).name,
        _at(row.adjustment_date_time),
        google.clock.now(),
    )
    known = google.conversions.get((action, row.order_id))
    name = None
    if kind == "ENHANCEMENT" and google.actions[action].kind != "WEBPAGE":
        name = "CONVERSION_ACTION_NOT_ELIGIBLE_FOR_ENHANCEMENT"
    elif known is None:
        name = "CONVERSION_NOT_FOUND"
    elif kind == "ENHANCEMENT" and now - known.at > timedelta(hours=24):
        name = "CONVERSION_EXPIRED"
    elif kind == "ENHANCEMENT" and known.is_enhanced:
        name = "CONVERSION_ALREADY_ENHANCED"
    elif kind != "ENHANCEMENT":
        name = _why_not(known, at, now)
    if name or known is None:
        return [Problem(f"{_ADJUST}.{name}", "order_id")]
    if only:
        return []
    if kind == "ENHANCEMENT":
        known.is_enhanced = True
        return []
    restated = row.restatement_value.adjusted_value if kind == "RESTATEMENT" else None
    known.adjustments.append((at, kind, restated))
    known.value = restated if kind == "RESTATEMENT" else 0.0
    known.currency = row.restatement_value.currency_code or known.currency
    return []


def _why_not(known: Any, at: datetime, now: datetime) -> str | None:
    latest = max((when for when, _, _ in known.adjustments), default=None)
    if now - known.at > timedelta(days=54):
        return "CONVERSION_EXPIRED"
    if now - known.at < timedelta(hours=24):
        return "TOO_RECENT_CONVERSION"
    if at <= known.at:
        return "ADJUSTMENT_PRECEDES_CONVERSION"
    if known.is_retracted:
        return "CONVERSION_ALREADY_RETRACTED"
    if latest == at:
        return "RESTATEMENT_ALREADY_EXISTS"
    if latest is not None and latest > at:
        return "MORE_RECENT_RESTATEMENT_FOUND"
    return None


def _customers(google: Google, request: Any, context: Any, fault: GoogleFault | None) -> Any:
    names = sorted({f"customers/{action.customer}" for action in google.actions.values()})
    return customer_service.ListAccessibleCustomersResponse(resource_names=names)
