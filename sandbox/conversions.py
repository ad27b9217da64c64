"""What the Conversions API takes: the parameters of `POST /<pixel>/events`, and every event in it.

The first bad event has the whole request refused, by a message that does not say which one it is,
but does quote it, and by texts for people in the language of the pixel's owner (here Indonesian),
so that a client can go by code and subcode alone. A subcode is given where its meaning is known;
every other refusal has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from ipaddress import ip_address
from typing import Any, NamedTuple

import orjson
import pycountry

from sandbox.errors import GraphError, bad_parameter
from sandbox.events import Event
from sandbox.params import json_value, only

MAX_EVENTS = 1000
ACTION_SOURCES = (
    "email",
    "website",
    "app",
    "phone_call",
    "chat",
    "physical_store",
    "system_generated",
    "business_messaging",
    "other",
)
CHANNELS = ("whatsapp", "messenger", "instagram")

TOO_OLD, NO_PURCHASE_VALUE, NOT_HASHED, BAD_LEAD_ID = 2804003, 2804009, 2804016, 2804036
NO_DEVICE, TOO_LITTLE, NOT_FOR_MESSAGING, NO_MESSAGING_IDS = 2804043, 2804050, 2804066, 2804116

_PARAMETERS = ("data", "test_event_code", "partner_agent", "upload_tag", "namespace_id")
_DAY_SECONDS = 86_400
_MAX_AGE_DAYS = {"physical_store": 62}  # others: 7
_EXTINFO_LENGTH = 16
_QUOTED = 500  # characters of a value that a message holds

_HASH = re.compile(r"[0-9a-f]{64}")
# What follows the last dot is the mark of Meta's own parameter builder.
_FBP = re.compile(r"fb\.\d\.\d{13}\.\d+(\.[\w-]{2}|\.[\w-]{8})?", re.ASCII)
_FBC = re.compile(r"fb\.\d\.\d{13}\.[\w-]+(\.[\w-]{2}|\.[\w-]{8})?", re.ASCII)
_LEAD_ID = re.compile(r"\d{15,16}", re.ASCII)
_URL = re.compile(r"https?://[^\s/]\S*")

_TEXTS = {
    TOO_OLD: (
        "Stempel Waktu Peristiwa Terlalu Lama",
        "Stempel waktu peristiwa ini terlalu jauh di masa lalu.",
    ),
    NO_PURCHASE_VALUE: (
        "Parameter Wajib untuk Peristiwa Pembelian Tidak Ada",
        "Peristiwa pembelian Anda harus memiliki nilai dan mata uang.",
    ),
    NOT_HASHED: (
        "Parameter Informasi Pelanggan Tidak Di-hash",
        "Informasi pelanggan harus di-hash dengan SHA-256 sebelum dikirim.",
    ),
    BAD_LEAD_ID: ("ID Prospek Tidak Valid", "ID prospek harus terdiri dari 15 hingga 16 digit."),
    NO_DEVICE: (
        "Informasi Perangkat Tidak Lengkap",
        "Peristiwa aplikasi memerlukan 16 nilai informasi perangkat.",
    ),
    TOO_LITTLE: (
        "Informasi Pelanggan Tidak Mencukupi",
        "Peristiwa ini tidak memiliki cukup parameter informasi pelanggan.",
    ),
    NOT_FOR_MESSAGING: (
        "Jenis Peristiwa Tidak Didukung",
        "Jenis peristiwa ini tidak didukung untuk pesan bisnis.",
    ),
    NO_MESSAGING_IDS: (
        "ID Pesan Bisnis Tidak Ada",
        "Peristiwa pesan bisnis memerlukan ID untuk salurannya.",
    ),
}
_OTHER_TEXTS = ("Parameter Tidak Valid", "Salah satu parameter peristiwa tidak valid.")


class Upload(NamedTuple):
    """A request that may be taken."""

    events: list[Event]
    test_event_code: str | None


def read(params: Mapping[str, str], data: Any, now: float, *, strict_website: bool) -> Upload:
    """The events of a request; `data` is that parameter where the body brought it as JSON."""
    only(params, *_PARAMETERS)
    _check_agent(params.get("partner_agent"))
    for name in ("test_event_code", "upload_tag", "namespace_id"):
        if not params.get(name, "x").strip():
            raise bad_parameter(f"Param {name} must not be empty.")
    events = _events(json_value(params, "data") if "data" in params else data)
    for event in events:
        _check(event, now, strict_website)
    return Upload(events, params.get("test_event_code"))


def refusal(said: str, value: Any, subcode: int | None = None) -> GraphError:
    """What is said of a bad event, with the value that makes it one."""
    shown = value if isinstance(value, str) else orjson.dumps(value).decode()
    shown = shown[:_QUOTED]
    title, text = _TEXTS.get(subcode or 0, _OTHER_TEXTS)
    return GraphError(
        f'(#100) {said} - got "{shown}".',
        subcode=subcode,
        user_title=title,
        user_message=f"{text} Nilai: {shown}",
    )


def _check_agent(agent: str | None) -> None:
    if agent is not None and (len(agent) >= 23 or sum(map(str.isalpha, agent)) < 2):
        raise bad_parameter(
            "Param partner_agent must have fewer than 23 characters, two of them letters."
        )


def _events(data: Any) -> list[Event]:
    """The events of `data`: objects, or texts that hold objects, as the SDK sends them."""
    if data is None:
        raise bad_parameter("The parameter data is required.")
    if not isinstance(data, list) or not data:
        raise bad_parameter("Param data must be a non-empty array.")
    if len(data) > MAX_EVENTS:
        raise bad_parameter(f"Param data must have at most {MAX_EVENTS} events.")
    return [_event(item) for item in data]


def _event(item: Any) -> Event:
    if isinstance(item, str):
        try:
            item = orjson.loads(item)
        except orjson.JSONDecodeError as error:
            raise refusal("An event must be a JSON object", item) from error
    if not isinstance(item, dict):
        raise refusal("An event must be a JSON object", item)
    return item


def _check(event: Event, now: float, strict_website: bool) -> None:
    """Refuse the event, if there is anything to refuse it for."""
    for name, value in event.items():
        check = _OF_EVENT.get(name)
        if check is None:
            raise refusal("Unexpected key in an event", name)
        check(name, value)
    for name in ("event_name", "event_time", "user_data", "action_source"):
        if name not in event:
            raise refusal(f"The event parameter {name} is required", event)
    source, age = event["action_source"], now - event["event_time"]
    if not 0 <= age <= _MAX_AGE_DAYS.get(source, 7) * _DAY_SECONDS:
        # One code for both: https://github.com/Adsmurai-Google-Tag-Manager-Templates/
        # adsmurai-facebook-pixel-and-conversions-api/issues/3 has the future.
        raise refusal("The event's timestamp is out of range", event["event_time"], TOO_OLD)
    _check_identity(event["user_data"])
    if event["event_name"] == "Purchase":
        _check_purchase(event.get("custom_data", {}))
    if source == "website" and strict_website:
        _check_website(event)
    elif source == "app":
        _check_app(event.get("app_data", {}))
    elif source == "business_messaging":
        _check_messaging(event)
    _check_limited_use(event)


def _check_identity(user_data: dict[str, Any]) -> None:
    """Refuse what could be anybody."""
    keys = user_data.keys()
    if len(keys) > _MOST_TOO_LITTLE:
        return
    if any(keys <= known for known in _ANYBODY):
        raise refusal("Insufficient customer information", user_data, TOO_LITTLE)


def _check_purchase(custom_data: dict[str, Any]) -> None:
    if "value" not in custom_data or "currency" not in custom_data:
        raise refusal("A Purchase needs value and currency", custom_data, NO_PURCHASE_VALUE)


def _check_website(event: Event) -> None:
    if "event_source_url" not in event:
        raise refusal("A website event needs event_source_url", event)
    if "client_user_agent" not in event["user_data"]:
        raise refusal("A website event needs client_user_agent", event["user_data"])


def _check_app(app_data: dict[str, Any]) -> None:
    extinfo = app_data.get("extinfo")
    if not isinstance(extinfo, list) or len(extinfo) != _EXTINFO_LENGTH:
        raise refusal(f"extinfo must have {_EXTINFO_LENGTH} values", extinfo, NO_DEVICE)
    if extinfo[0] not in ("a2", "i2"):
        raise refusal("extinfo must begin with a2 or i2", extinfo, NO_DEVICE)


def _check_messaging(event: Event) -> None:
    if "messaging_channel" not in event:
        raise refusal("The event parameter messaging_channel is required", event)
    if event["event_name"] == "Lead":  # here it is LeadSubmitted
        raise refusal("Unsupported business messaging event", "Lead", NOT_FOR_MESSAGING)
    keys = event["user_data"].keys()
    if not any(keys >= needed for needed in _MESSAGING_IDS[event["messaging_channel"]]):
        raise refusal("The channel's ids are missing", event["user_data"], NO_MESSAGING_IDS)


def _check_limited_use(event: Event) -> None:
    if not event.get("data_processing_options"):
        return
    for name in ("data_processing_options_country", "data_processing_options_state"):
        if name not in event:
            raise refusal(f"The event parameter {name} is required", event)


# Of single values: name and value.


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise refusal(f"Param {name} must be a non-empty string", value)


def _whole(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise refusal(f"Param {name} must be an integer", value)


def _bool(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise refusal(f"Param {name} must be a boolean", value)


def _object(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise refusal(f"Param {name} must be an object", value)


def _url(name: str, value: Any) -> None:
    if not isinstance(value, str) or not _URL.fullmatch(value):
        raise refusal(f"Param {name} must be a URL", value)


def _one_of(*allowed: str) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value not in allowed:
            raise refusal(f"Param {name} must be one of {{{', '.join(allowed)}}}", value)

    return check


def _options(name: str, value: Any) -> None:
    if value not in ([], ["LDU"]):
        raise refusal(f'Param {name} must be [] or ["LDU"]', value)


def _place(*allowed: int) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if type(value) is not int or value not in allowed:
            raise refusal(f"Param {name} is not a known place", value)

    return check


def _user_data(name: str, value: Any) -> None:
    _object(name, value)
    for key, identifier in value.items():
        check = _OF_USER.get(key)
        if check is None:
            raise refusal(f"Unexpected key in {name}", key)
        check(key, identifier)


def _hash(name: str, value: Any) -> None:
    for one in value if isinstance(value, list) and value else (value,):
        if not isinstance(one, str) or not _HASH.fullmatch(one):
            raise refusal(f"Param {name} must be hashed with SHA-256", one, NOT_HASHED)


def _texts(name: str, value: Any) -> None:
    for one in value if isinstance(value, list) and value else (value,):
        _text(name, one)


def _raw(name: str, value: Any) -> None:
    _text(name, value)
    if _HASH.fullmatch(value):
        raise refusal(f"Param {name} must not be hashed", value)


def _ip(name: str, value: Any) -> None:
    try:
        ip_address(value if isinstance(value, str) else "")
    except ValueError as error:
        raise refusal(f"Param {name} must be an IP address", value) from error


def _like(pattern: re.Pattern[str], subcode: int | None = None) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise refusal(f"Param {name} is malformed", value, subcode)

    return check


def _lead_id(name: str, value: Any) -> None:
    _LEAD(name, str(value) if type(value) is int else value)


def _custom_data(name: str, value: Any) -> None:
    """Anything goes, but for what Meta computes with."""
    _object(name, value)
    if "value" in value:
        amount = value["value"]
        if not isinstance(amount, int | float) or isinstance(amount, bool) or amount < 0:
            raise refusal("Param value must be a number of at least 0", amount)
    if "currency" in value:
        currency = value["currency"]
        if not isinstance(currency, str) or currency.upper() not in _currencies():
            raise refusal("Param currency must be an ISO 4217 code", currency)


@cache
def _currencies() -> frozenset[str]:
    """What money is counted in: ISO 4217 without its codes for tests and for no currency."""
    return frozenset(one.alpha_3 for one in pycountry.currencies) - {"XTS", "XXX"}


_LEAD = _like(_LEAD_ID, BAD_LEAD_ID)
_HASHED = (
    *("em", "ph", "fn", "ln", "db", "ge", "ct", "st", "zp", "country"),
    *("f5first", "f5last", "fi", "dobd", "dobm", "doby"),  # parts of names and birthdays
)
_UNHASHED = (
    *("client_user_agent", "subscription_id", "fb_login_id", "anon_id", "madid", "page_id"),
    *(
        "page_scoped_user_id",
        "ctwa_clid",
        "ig_account_id",
        "ig_sid",
        "whatsapp_business_account_id",
    ),
)
_OF_USER: Mapping[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(_HASHED, _hash),
    **dict.fromkeys(_UNHASHED, _raw),
    "external_id": _texts,
    "client_ip_address": _ip,
    "fbc": _like(_FBC),
    "fbp": _like(_FBP),
    "lead_id": _lead_id,
}
_OF_EVENT: Mapping[str, Callable[[str, Any], None]] = {
    "event_name": _text,
    "event_time": _whole,
    "event_id": _text,
    "event_source_url": _url,
    "action_source": _one_of(*ACTION_SOURCES),
    "user_data": _user_data,
    "custom_data": _custom_data,
    "app_data": _object,
    "original_event_data": _object,
    "attribution_data": _object,
    "opt_out": _bool,
    "referrer_url": _text,
    "advanced_measurement_table": _text,
    "customer_segmentation": _text,
    "messaging_channel": _one_of(*CHANNELS),
    "data_processing_options": _options,
    "data_processing_options_country": _place(0, 1),
    "data_processing_options_state": _place(0, *range(1000, 1014)),
}
_ANYBODY = (
    frozenset({"ct", "country", "st", "zp", "ge", "client_user_agent"}),
    frozenset({"db", "client_user_agent"}),
    frozenset({"fn", "ge"}),
    frozenset({"ln", "ge"}),
)
_MOST_TOO_LITTLE = max(map(len, _ANYBODY))
_MESSAGING_IDS = {
    "whatsapp": ({"page_id", "ctwa_clid"}, {"whatsapp_business_account_id", "ctwa_clid"}),
    "messenger": ({"page_id", "page_scoped_user_id"},),
    "instagram": ({"ig_account_id", "ig_sid"},),
}
