"""The Google Ads API over gRPC: conversions, adjustments, and the clicks of a day.

Rules: https://developers.google.com/google-ads/api/docs/conversions/upload-offline,
…/upload-adjustments and the comments of `google.ads.googleads.v26`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import grpc
from google.ads.googleads.client import GoogleAdsClient
from google.ads.googleads.errors import GoogleAdsException
from google.ads.googleads.interceptors import ExceptionInterceptor, MetadataInterceptor
from google.ads.googleads.v26.errors.types.errors import GoogleAdsFailure
from google.ads.googleads.v26.services.types import (
    conversion_adjustment_upload_service as adjusting,
)
from google.ads.googleads.v26.services.types import conversion_upload_service as uploading
from google.api_core import exceptions as api
from google.oauth2.credentials import Credentials
from google.protobuf.json_format import MessageToDict

from tributary.event import Event
from tributary.platforms.google import rules
from tributary.platforms.google.credentials import Access
from tributary.platforms.google.errors import (
    STATUSES,
    ErrorKind,
    Flaw,
    GoogleAccessRefused,
    GoogleError,
    GoogleUnreachable,
    ads,
    most_severe,
    redacted,
    request_error,
)

VERSION = "v26"
MAX_IDENTIFIERS = 5  # of a conversion or an enhancement

_GRANTED, _DENIED = 2, 3  # ConsentStatusEnum; other numbers than Data Manager's
_ENHANCEMENT, _RETRACTION, _RESTATEMENT = 4, 2, 3  # ConversionAdjustmentTypeEnum
_FAILURE = f"google.ads.googleads.{VERSION}.errors.googleadsfailure-bin"
_OPTIONS = [("grpc.max_metadata_size", 16 * 2**20), ("grpc.max_receive_message_length", 64 * 2**20)]
_ROWS = ("conversions", "conversion_adjustments")
_Answer = TypeVar("_Answer")


def _plain(kind: Any) -> Any:
    """The class below proto-plus, whose wrapping would cost more than the rest of a request."""
    return type(kind.pb(kind()))


_Conversion, _Adjustment = _plain(uploading.ClickConversion), _plain(adjusting.ConversionAdjustment)
_Upload = _plain(uploading.UploadClickConversionsRequest)
_Adjust = _plain(adjusting.UploadConversionAdjustmentsRequest)


class Uploaded(NamedTuple):
    """What Google said of a request's rows: all that are not in `flaws` were taken."""

    flaws: dict[int, list[Flaw]]  # by index in the request
    request_id: str | None


def action_name(customer_id: str, action_id: str) -> str:
    """The resource name of a conversion action."""
    return f"customers/{customer_id}/conversionActions/{action_id}"


def moment(at: datetime) -> str:
    """A time as the API takes it: neither `T` nor `Z`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}+00:00"


def conversion(event: Event, action: str, *, personalization: bool) -> Any:
    """The event as a click conversion.

    Args:
        event: a row of `ops.conversion_events`; value in major units.
        action: resource name of the conversion action.
        personalization: whether the person allows it; nothing leaves without `ad_user_data`.
    """
    out = _Conversion(
        conversion_action=action,
        conversion_date_time=moment(event["event_time"]),
        order_id=rules.dedup_key(event),
    )
    # Exactly one: GBRAID_WBRAID_BOTH_SET and the like refuse the row.
    if name := next((name for name in rules.CLICK_IDS if event[name]), None):
        setattr(out, name, event[name])
    _identify(out, event)
    out.consent.ad_user_data = _GRANTED
    out.consent.ad_personalization = _GRANTED if personalization else _DENIED
    if event["event_value"] is not None:
        out.conversion_value = float(event["event_value"])
    if event["currency"]:
        out.currency_code = event["currency"]
    return out


def adjustment(event: Event, action: str) -> Any:
    """A refund or changed amount (value: what is left, in major units), or an enhancement."""
    out = _Adjustment(
        conversion_action=action,
        order_id=rules.dedup_key(event),
        adjustment_date_time=moment(event["event_time"]),
    )
    if event["kind"] == "enhancement":
        out.adjustment_type = _ENHANCEMENT
        _identify(out, event)
        address = rules.address(event)
        if address and len(out.user_identifiers) < MAX_IDENTIFIERS:
            info = out.user_identifiers.add().address_info
            info.hashed_first_name = address["given_name"]
            info.hashed_last_name = address["family_name"]
            info.country_code, info.postal_code = address["region_code"], address["postal_code"]
        if event["user_agent"] and out.user_identifiers:
            out.user_agent = event["user_agent"]
    elif not event["event_value"]:
        out.adjustment_type = _RETRACTION
    else:
        out.adjustment_type = _RESTATEMENT
        out.restatement_value.adjusted_value = float(event["event_value"])
        if event["currency"]:
            out.restatement_value.currency_code = event["currency"]
    return out


def _identify(out: Any, event: Event) -> None:
    """One identifier per UserIdentifier: they are a oneof."""
    hashes = event["user_hashes"].get("google", {})
    for digest in hashes.get("email", ())[:3]:
        out.user_identifiers.add(hashed_email=digest)
    for digest in hashes.get("phone", ())[: MAX_IDENTIFIERS - len(out.user_identifiers)]:
        out.user_identifiers.add(hashed_phone_number=digest)


class GoogleAds:
    """A client that sends each request once; repeating it is the outbox's business.

    Args:
        host: `http://host:port` for the sandbox (plain gRPC); a host or https URL for another
            endpoint with TLS; Google's own when absent.
        timeout: seconds that a request may take; the library itself would wait for ever.
    """

    def __init__(
        self,
        access: Access,
        *,
        host: str | None = None,
        developer_token: str | None = None,
        login_customer_id: str | None = None,
        timeout: float = 60,
    ) -> None:
        self._access, self._timeout = access, timeout
        self._login = login_customer_id
        self._developer_token = developer_token
        parts = urlsplit(host) if host and "://" in host else None
        self._is_plain = parts is not None and parts.scheme == "http"
        self._endpoint = parts.netloc if parts else host
        self._credentials = Credentials("not fetched yet")
        self._channel: grpc.Channel | None = None
        self._services: dict[str, Any] = {}

    def upload(
        self, customer_id: str, conversions: Sequence[Any], *, validate_only: bool = False
    ) -> Uploaded:
        """One `UploadClickConversions` with at most 2000 rows.

        Raises:
            GoogleError: the request as a whole was refused or lost.
        """
        request = _Upload(
            customer_id=customer_id,
            conversions=conversions,
            partial_failure=True,
            validate_only=validate_only,
        )
        wrapped = uploading.UploadClickConversionsRequest.wrap(request)
        service = self._service("ConversionUploadService")
        return self._rows(service.upload_click_conversions, wrapped)

    def adjust(
        self, customer_id: str, adjustments: Sequence[Any], *, validate_only: bool = False
    ) -> Uploaded:
        """One `UploadConversionAdjustments` with at most 2000 rows.

        Raises:
            GoogleError: as `upload`.
        """
        request = _Adjust(
            customer_id=customer_id,
            conversion_adjustments=adjustments,
            partial_failure=True,
            validate_only=validate_only,
        )
        wrapped = adjusting.UploadConversionAdjustmentsRequest.wrap(request)
        service = self._service("ConversionAdjustmentUploadService")
        return self._rows(service.upload_conversion_adjustments, wrapped)

    def clicks(self, customer_id: str, day: date) -> Iterator[dict[str, Any]]:
        """The clicks of one day in the account's time zone, which may be 90 days ago.

        Yields:
            Rows with snake_case names: click_view, campaign, ad_group, customer, segments.

        Raises:
            GoogleError: see `tributary.platforms.google.errors`.
        """
        query = f"{_CLICKS} where segments.date = '{day.isoformat()}'"
        service = self._service("GoogleAdsService")
        found = self._ask(
            lambda **call: list(service.search_stream(customer_id=customer_id, query=query, **call))
        )
        for batch in found:
            for row in type(batch).pb(batch).results:
                yield MessageToDict(row, preserving_proto_field_name=True)

    def customers(self) -> list[str]:
        """Ids of the accounts that the credentials may open; for a test of the connection.

        Raises:
            GoogleError: see `tributary.platforms.google.errors`.
        """
        service = self._service("CustomerService")
        answer = self._ask(lambda **call: service.list_accessible_customers(**call))
        return [name.rpartition("/")[2] for name in answer.resource_names]

    def _rows(self, method: Callable[..., Any], request: Any) -> Uploaded:
        answer = self._ask(lambda **call: method(request, **call))
        status = answer.partial_failure_error
        flaws: dict[int, list[Flaw]] = {}
        for detail in status.details if status.code else ():
            for error in GoogleAdsFailure.pb(GoogleAdsFailure.deserialize(detail.value)).errors:
                flaw = _flaw(error)
                index = _index(error)
                if index is None:
                    raise self._request_error(flaw, None, error)
                flaws.setdefault(index, []).append(flaw)
        return Uploaded(flaws, str(answer.job_id) if answer.job_id else None)

    def _service(self, name: str) -> Any:
        if name not in self._services:
            self._services[name] = self._plain_service(name) if self._is_plain else (
                self._tls_client().get_service(name)
            )  # fmt: skip
        return self._services[name]

    def _tls_client(self) -> Any:
        return GoogleAdsClient(
            credentials=self._credentials,
            developer_token=self._developer_token,
            login_customer_id=self._login,
            endpoint=self._endpoint,
            version=VERSION,
            use_proto_plus=True,
        )

    def _plain_service(self, name: str) -> Any:
        """The library's client over a channel without TLS, with its own interceptors."""
        if self._channel is None:
            self._channel = grpc.intercept_channel(
                grpc.insecure_channel(self._endpoint, options=_OPTIONS),
                MetadataInterceptor(self._developer_token, self._login, None),
                ExceptionInterceptor(VERSION, use_proto_plus=True),
            )
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
        module = import_module(f"google.ads.googleads.{VERSION}.services.services.{snake}")
        client = getattr(module, f"{name}Client")
        return client(transport=client.get_transport_class("grpc")(channel=self._channel))

    def _ask(self, ask: Callable[..., _Answer]) -> _Answer:
        """Ask with a valid access token."""

        def once(token: str | None) -> _Answer:
            metadata: tuple[tuple[str, str], ...] = ()
            if token is not None:
                self._credentials.token = token
                if self._is_plain:  # call credentials need TLS
                    metadata = (("authorization", f"Bearer {token}"),)
            return self._once(partial(ask, timeout=self._timeout, retry=None, metadata=metadata))

        return self._access.with_token(once)

    def _once(self, ask: Callable[[], _Answer]) -> _Answer:
        try:
            return ask()
        except GoogleAdsException as error:
            failure = GoogleAdsFailure.pb(error.failure)
            raise self._failed(failure, error.request_id, _status_name(error.error)) from None
        except api.GoogleAPICallError as error:
            raise self._meaning(error) from None

    def _meaning(self, error: Any) -> GoogleError:
        """For statuses that the library does not turn into a GoogleAdsException."""
        call = error.errors[0] if error.errors else None
        trailing = dict(call.trailing_metadata() or ()) if call is not None else {}
        status = error.grpc_status_code.name if error.grpc_status_code else f"http_{error.code}"
        if raw := trailing.get(_FAILURE):
            failure = GoogleAdsFailure.pb(GoogleAdsFailure.deserialize(raw))
            if failure.errors:
                return self._failed(failure, trailing.get("request-id"), status)
        if status == "UNAUTHENTICATED":
            return self._access_refused(status)
        if status == "UNAVAILABLE" and "failed to connect" in str(error.message).lower():
            return GoogleUnreachable("Google could not be reached: no connection came about")
        return request_error(
            STATUSES.get(status, ErrorKind.UNKNOWN), status, str(error.message), self._access.who
        )

    def _failed(self, failure: Any, request_id: str | None, status: str) -> GoogleError:
        flaws = [_flaw(error) for error in failure.errors]
        if not flaws:
            kind = STATUSES.get(status, ErrorKind.UNKNOWN)
            return request_error(kind, status, "", self._access.who, trace_id=request_id)
        worst = most_severe(flaws)
        return self._request_error(worst, request_id, failure.errors[flaws.index(worst)])

    def _request_error(self, flaw: Flaw, request_id: str | None, error: Any) -> GoogleError:
        if flaw.code.startswith("authentication_error.OAUTH_TOKEN"):
            return self._access_refused(flaw.code, request_id)
        delay = error.details.quota_error_details.retry_delay
        wait = delay.seconds + delay.nanos / 1e9
        return request_error(
            flaw.kind, flaw.code, flaw.message, self._access.who,
            trace_id=request_id, wait=wait or None,
        )  # fmt: skip

    def _access_refused(self, code: str, request_id: str | None = None) -> GoogleError:
        return GoogleAccessRefused(
            f"Google refuses the access token of {self._access.who}: give consent to "
            "https://www.googleapis.com/auth/adwords anew and put the new refresh token into the "
            "connection.",
            code=code,
            trace_id=request_id,
        )


_CLICKS = (
    "select click_view.gclid, click_view.ad_group_ad, click_view.keyword, click_view.page_number, "
    "campaign.id, campaign.name, ad_group.id, ad_group.name, customer.id, segments.date, "
    "segments.ad_network_type from click_view"
)


def _status_name(error: Any) -> str:
    code = error.code()
    return str(getattr(code, "name", code))


def _flaw(error: Any) -> Flaw:
    category = error.error_code.WhichOneof("error_code")
    if category is None:
        return Flaw("unknown", redacted(error.message), ErrorKind.UNKNOWN)
    value = error.error_code.DESCRIPTOR.fields_by_name[category].enum_type.values_by_number.get(
        getattr(error.error_code, category)
    )
    code = f"{category}.{value.name if value else getattr(error.error_code, category)}"
    path = ".".join(part.field_name for part in error.location.field_path_elements)
    return Flaw(code, f"{redacted(error.message)} [{path}]", ads(code))


def _index(error: Any) -> int | None:
    """The row that an error is about; None: the whole request."""
    for part in error.location.field_path_elements:
        if part.field_name in _ROWS and part.HasField("index"):
            return int(part.index)
    return None
