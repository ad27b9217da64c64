"""Values of an event as they are handed in → as they are stored, or `EventRefused`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

import orjson
import pycountry

from tributary.deliver import personal
from tributary.deliver.personal import personal_in
from tributary.event import EventRefused, Kind
from tributary.platforms.meta.conversions import ACTION_SOURCES

_MOST_ID = 256  # characters
_MOST_CLICK = 512
_MOST_TEXT = 2_048
_MOST_URL = 8_192
_MOST_CUSTOM = 16_384  # bytes of custom_params as JSON
_MOST_IPS = 20  # proxies on the way
_CURRENCIES = {currency.alpha_3 for currency in pycountry.currencies} - {"XXX", "XTS"}  # no money
_ACTION_SOURCE_ALIASES = {"web": "website", "phone": "phone_call", "store": "physical_store"}
_ACTION_SOURCES = tuple(one for one in ACTION_SOURCES if one != "business_messaging")
_YES, NO = {"true", "t", "yes", "y", "1", "1.0"}, {"false", "f", "no", "n", "0", "0.0"}


def text_of(value: object) -> str | None:
    """The value as text that Postgres can store; None where there is none."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # what a spreadsheet makes of an id
    text = str(value).replace("\x00", "").encode(errors="replace").decode()
    return text.strip() or None


def free_text(field: str, value: object, notes: list[str]) -> str | None:
    """The first 2,048 characters of a text; left out, with a note, where it names a person."""
    text = text_of(value)
    if text and (found := personal_in(text := text[:_MOST_TEXT])):
        notes.append(f"{field} left out: it holds {found}")
        return None
    return text


def identifier(field: str, value: object) -> str | None:
    """An id of at most 256 characters that names no person."""
    text = text_of(value)
    if text is None:
        return None
    if len(text) > _MOST_ID:
        raise EventRefused(field, f"must be an id of at most {_MOST_ID} characters")
    if found := personal_in(text):
        raise EventRefused(
            field, f"holds {found}; it would be stored in clear: write an id that names no person"
        )
    return text


def click_id(field: str, value: object) -> str | None:
    """A click id of Google, which does not document its form; None where it cannot be one."""
    text = text_of(value)
    return text if text and len(text) <= _MOST_CLICK and not personal_in(text) else None


def amount(field: str, value: object) -> Decimal | None:
    """An amount in major units, zero or more."""
    if value is None:
        return None
    try:
        text = str(value).strip()
        number = Decimal(text if len(text) <= 40 else "nan")
    except (InvalidOperation, ValueError):
        raise EventRefused(field, "must be a number such as 1234.50") from None
    if not number.is_finite() or abs(number.adjusted()) > 15:
        raise EventRefused(field, "must be a number such as 1234.50")
    if number < 0:
        raise EventRefused(
            field,
            "must not be negative; a refund belongs in app.transactions (refunded_amount)",
        )
    return number


def currency(field: str, value: object) -> str | None:
    """An ISO 4217 code, in upper case."""
    text = text_of(value)
    if text is None:
        return None
    if text.upper() not in _CURRENCIES:
        raise EventRefused(field, "must be an ISO 4217 code such as USD")
    return text.upper()


def flag(field: str, value: object) -> bool | None:
    """True, false, or None where the value is absent."""
    if value is None or isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in _YES | NO:
        raise EventRefused(field, "must be true, false or empty")
    return text in _YES


def moment(field: str, value: object, default: datetime, zone: str) -> datetime:
    """A time in UTC; without an offset it is in `zone`.

    Where a clock is put back and the time exists twice, the first of the two; where it is put
    forward and the time does not exist, the time that the clock would show without the change.
    """
    if value is None:
        return default
    if isinstance(value, int | float) or re.fullmatch(r"\s*\d{9,14}\s*", str(value), re.ASCII):
        return _of_epoch(field, value if isinstance(value, int | float) else float(str(value)))
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise EventRefused(
            field, "must be a time in ISO 8601 such as 2026-01-31T18:30:00+00:00"
        ) from None
    if not 2000 <= found.year < 2100:
        raise EventRefused(field, "must be a time between the years 2000 and 2100")
    if found.tzinfo is None:
        found = found.replace(tzinfo=ZoneInfo(zone))
    return found.astimezone(UTC)


def _of_epoch(field: str, seconds: float) -> datetime:
    """Of seconds, or milliseconds, since 1970."""
    if 1e11 < seconds < 1e14:
        seconds /= 1000
    if not 946_684_800 <= seconds <= 4_102_444_800:
        raise EventRefused(field, "must be a time between the years 2000 and 2100")
    return datetime.fromtimestamp(seconds, UTC)


def action_source(field: str, value: object, *, has_browser: bool) -> str:
    """One of Meta's action sources.

    https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/server-event
    """
    text = text_of(value)
    if text is None:
        return "website" if has_browser else "system_generated"
    text = _ACTION_SOURCE_ALIASES.get(text.lower(), text.lower())
    if text == "business_messaging":
        raise EventRefused(
            field,
            "business_messaging needs ids of the message, which an event cannot bring: write chat",
        )
    if text not in ACTION_SOURCES:
        raise EventRefused(field, f"must be one of {', '.join(_ACTION_SOURCES)}")
    return text


def page_url(field: str, value: object, parameters: tuple[str, ...]) -> str | None:
    """A page's address without what identifies a person: Meta refuses such URLs.

    Args:
        parameters: names of query parameters that stay beside advertising's own.
    """
    text = text_of(value)
    if text is None:
        return None
    if len(text) > _MOST_URL:  # its query is what makes it long
        text = re.split("[?#]", text[: _MOST_URL + 1], maxsplit=1)[0]
        if len(text) > _MOST_URL:
            return None
    try:
        return personal.page(text, parameters)
    except ValueError:
        raise EventRefused(field, "must be a URL") from None


# Addresses of no visitor. Ranges for documentation are left in: no proxy puts them there.
# https://www.iana.org/assignments/iana-ipv4-special-registry
# https://www.iana.org/assignments/iana-ipv6-special-registry
_PRIVATE = {
    version: [
        (int(network.network_address), int(network.netmask))
        for network in map(ipaddress.ip_network, networks)
    ]
    for version, networks in {
        4: ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
            "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3"),
        6: ("::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    }.items()
}  # fmt: skip


def visitor_ip(field: str, value: object) -> str | None:
    """The first public address of a list that proxies have made; None where there is none.

    https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
    """
    if not value:
        return None
    for part in str(value)[:1024].split(",", _MOST_IPS)[:_MOST_IPS]:
        text = part.strip().strip('"')
        if text.startswith("["):  # [2001:db8::1]:443
            text = text[1:].partition("]")[0]
        elif text.count(":") == 1:  # 203.0.113.9:443
            text = text.partition(":")[0]
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        number = int(address)
        if all(number & mask != network for network, mask in _PRIVATE[address.version]):
            return str(address)
    return None


def json_object(field: str, value: object) -> Mapping[str, object]:
    """A JSON object, also as text."""
    if isinstance(value, str) and value.strip():
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise EventRefused(field, "must be JSON") from None
    if value in (None, ""):
        return {}
    if not isinstance(value, Mapping):
        raise EventRefused(field, "must be a JSON object")
    return value


def check_custom_params(custom: Mapping[str, object]) -> None:
    """Refuse parameters that Postgres cannot store, or that name a person."""
    try:
        encoded = orjson.dumps(custom)
    except TypeError:
        raise EventRefused("custom_params", "must be JSON") from None
    if len(encoded) > _MOST_CUSTOM:
        raise EventRefused("custom_params", f"is larger than {_MOST_CUSTOM // 1024} kB of JSON")
    if b"\\u0000" in encoded:
        raise EventRefused("custom_params", "holds a NUL character")
    if found := personal.personal_in_params(custom):
        raise EventRefused("custom_params", f"holds {found}; it would be sent in clear")


# How a field of this kind is read that needs nothing but its own value.
READERS: dict[Kind, Callable[[str, object], object]] = {
    "amount": amount,
    "click": click_id,
    "currency": currency,
    "flag": flag,
    "id": identifier,
    "ip": visitor_ip,
}
