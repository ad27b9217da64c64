"""An event as it is handed in → a row of `ops.conversion_events`. Nothing is stored here.

Every field of `tributary.event.FIELDS` is read; all faults of an event are found in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast
from uuid import uuid4

from tributary.deliver import clicks, contacts, event_ids, identity, parse
from tributary.deliver.brands import Brand
from tributary.deliver.consent import consent_required
from tributary.deliver.event_names import aliases, event_name
from tributary.event import (
    COLUMN_FIELDS,
    CONSENTS,
    FIELDS,
    INTERNAL,
    PERSON,
    Consent,
    Event,
    EventRefused,
)

# An event as a source hands it in: names of `event.FIELDS`, aliases of them, and, for our own
# sources, `event.INTERNAL`. A file, a REST body or a webhook may bring any value; None, "" and an
# absent key are alike.
Raw = Mapping[str, object]

NO_TIME = "event_time is missing: the time of the import is taken"
_FUTURE = timedelta(minutes=10)  # clocks differ

# A placeholder in one of these is left out; in the others it is a fault.
_STRICT = ("amount", "choice", "currency", "flag", "json", "time")
_MAY_BE_PLACEHOLDER = frozenset(
    name for name, field in FIELDS.items() if name != "brand" and field.kind not in _STRICT
)
_TELLS_EVENTS_APART = {"event_id", "transaction_id"}
_NO_VALUE = {
    "placeholder": "is a placeholder, such as undefined, null, 0 or {{id}}: different events would "
    "count as one. Fill the variable where the event is made, or leave the field out",
    "scientific": "is a number as spreadsheets shorten it, such as 1.2E+11: different events would "
    "count as one. Format the column as text and export it again",
}
_LEFT_OUT = {
    "placeholder": "{} left out: it is a placeholder",
    "scientific": "{} left out: a spreadsheet has shortened the number (1.2E+11)",
}

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Faults(list[EventRefused]):
    """The faults of one event."""

    __slots__ = ()

    def collect(self, read: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        """What `read` returns; None where it refuses the value."""
        try:
            return read(*args, **kwargs)
        except EventRefused as error:
            self.append(error)
            return None

    def fields(self) -> set[str]:
        """Names of the fields at fault."""
        return {name for error in self for name, _ in error.faults}

    def check(self) -> None:
        """Raise them all as one `EventRefused`, if there are any."""
        if self:
            first, *others = sorted(self, key=lambda error: _ORDER.get(error.field, 0))
            raise EventRefused(*first.faults[0], *others) from None


_ORDER = {name: number for number, name in enumerate(FIELDS)}


class Given(NamedTuple):
    """An event under the names of `event.FIELDS`, without placeholders."""

    fields: dict[str, object]
    custom: dict[str, object]  # the rest of Meta's custom_data
    notes: list[str]  # what was left out, and why
    of_url: set[str]  # click ids that only the page's address had
    faults: Faults

    @property
    def contact(self) -> str | None:
        """The person's id in the brand's own system."""
        return parse.text_of(self.fields.get("contact_id"))

    @property
    def needs_contact(self) -> bool:
        """Whether a stored contact may know when its click was first seen."""
        return "fbclid" in self.fields and not self.fields.keys() & {"fbc", "fbclid_seen_at"}


def given(brand: Brand, raw: Raw, *, internal: bool = False) -> Given:
    """The event under our own names; its faults are collected, not raised.

    Args:
        internal: whether it may have the fields of `event.INTERNAL`.
    """
    faults = Faults()
    fields, custom = _named(brand, raw, internal, faults)
    notes = _leave_out_placeholders(fields, faults)
    return Given(fields, custom, notes, clicks.take_from_url(fields), faults)


def _named(
    brand: Brand, raw: Raw, internal: bool, faults: Faults
) -> tuple[dict[str, object], dict[str, object]]:
    """The fields, and the other keys of custom_params."""
    known = aliases(brand)
    fields: dict[str, object] = {}
    custom: dict[str, Any] = {}
    params = faults.collect(parse.json_object, "custom_params", raw.get("custom_params")) or {}
    for mapping in (raw, params):
        for key, value in mapping.items():
            name = known.get(key, key)
            if value is None or value == "" or key == "custom_params":
                continue
            if name in FIELDS or (internal and name in INTERNAL and mapping is raw):
                fields.setdefault(name, value)
            elif mapping is raw and name == key:
                faults.append(
                    EventRefused(key, "is not a field of an event; put it into custom_params")
                )
            else:
                custom[name] = value
    if "content_ids" in custom:
        ids = custom["content_ids"]
        custom["content_ids"] = [str(one) for one in (ids if isinstance(ids, list) else [ids])]
    if custom:
        faults.collect(parse.check_custom_params, custom)
    return fields, custom


def _leave_out_placeholders(fields: dict[str, object], faults: Faults) -> list[str]:
    """Take out the fields whose text is no value; returns a note for each."""
    notes = []
    for name, value in list(fields.items()):
        # Lists, which only a person's fields may be, are looked at by `identity`.
        if name not in _MAY_BE_PLACEHOLDER or isinstance(value, list | tuple):
            continue
        text = value.strip() if isinstance(value, str) else parse.text_of(value) or ""
        if why := identity.why_absent(text):
            del fields[name]
            if name == "event_name":
                text = "is a placeholder: fill the variable that it comes from"
                faults.append(EventRefused(name, text))
            elif name in _TELLS_EVENTS_APART:
                faults.append(EventRefused(name, _NO_VALUE[why]))
            else:
                notes.append(_LEFT_OUT[why].format(name))
    return sorted(notes)


def row(
    brand: Brand,
    event: Given,
    *,
    source: str,
    now: datetime,
    contact: Mapping[str, Any] | None = None,
) -> Event:
    """The event as it is stored, but for its destinations and when it was created.

    Args:
        source: where it comes from, such as `file`.
        contact: the row of `ops.contacts` of its person.

    Raises:
        EventRefused: with all faults of the event.
    """
    fields, notes, faults = event.fields, event.notes, event.faults
    read = faults.collect
    at_fault = faults.fields()
    name = None if "event_name" in at_fault else read(event_name, brand, fields)
    at = (
        read(parse.moment, "event_time", fields.get("event_time"), now, brand.settings.time_zone)
        or now
    )
    if at > now + _FUTURE:
        faults.append(EventRefused("event_time", "must not be in the future"))
    seen_at = fields.get("fbclid_seen_at")
    seen = read(parse.moment, "fbclid_seen_at", seen_at, at, brand.settings.time_zone) or at
    person = {key: fields[key] for key in PERSON if key in fields}
    hashes, address = identity.user_hashes(person, brand.settings.default_country)
    own_parameters = tuple(brand.settings.url_parameters)
    url = read(parse.page_url, "event_source_url", fields.get("event_source_url"), own_parameters)
    simple = {
        column: reader(field, fields.get(field), faults, notes) for column, field, reader in _SIMPLE
    }
    if source == "file" and "event_time" not in fields:
        notes.append(NO_TIME)
    source_of_action = read(
        parse.action_source, "action_source", fields.get("action_source"),
        has_browser=bool(url and simple["user_agent"]),
    )  # fmt: skip
    found: dict[str, object] = {
        "id": fields.get("id") or uuid4(),
        "brand_id": brand.id,
        "event_name": name,
        "kind": fields.get("kind", "conversion"),
        "adjusts": fields.get("adjusts"),
        "adjusts_time": fields.get("adjusts_time"),  # not a column: the original has it
        "revision": fields.get("revision", 0),
        "event_time": at,
        "action_source": source_of_action,
        "event_source_url": url,
        **simple,
        "source": source,
        "fbp": clicks.fbp(fields.get("fbp")),
        "fbc": clicks.fbc(fields, at, seen, contact, notes),
        "user_hashes": fields.get("user_hashes") or hashes,
        "google_address": fields.get("google_address") or address,
        "consent": fields.get("consent") or _consent(brand, fields, faults),
        "custom_params": event.custom,
        "is_test": simple["is_test"] or False,
        "notes": notes,
    }
    _check_amount(found, faults)
    faults.check()
    stored = cast(Event, found)
    if stored["event_id"] is None:
        # A line of a file without a time must be the same event when the file is handed in again.
        is_dated = "event_time" in fields or source != "file"
        stored["event_id"] = event_ids.made(
            brand, stored, fields, event.of_url, at if is_dated else None, contact
        )
    return stored


_Reader = Callable[[str, object, Faults, list[str]], object]


def _reader(kind: str) -> _Reader:
    """How a field of this kind is read by its own value alone."""
    if kind == "text":
        return lambda field, value, faults, notes: parse.free_text(field, value, notes)
    read = parse.READERS[kind]  # type: ignore[index]  # a kind of `READERS`

    def collecting(field: str, value: object, faults: Faults, notes: list[str]) -> object:
        return None if value is None else faults.collect(read, field, value)

    return collecting


# Column, the name under which it is handed in, and its reader.
_SIMPLE = tuple(
    (column, field.name or column, _reader(field.kind))
    for column, field in COLUMN_FIELDS.items()
    if not field.is_internal and (field.kind == "text" or field.kind in parse.READERS)
)


def _check_amount(row: Mapping[str, object], faults: Faults) -> None:
    """A value needs a currency, and a purchase needs a value."""
    at_fault = faults.fields()
    if row["event_value"] is not None and row["currency"] is None and "currency" not in at_fault:
        faults.append(EventRefused("currency", "is missing beside a value; write an ISO 4217 code"))
    if row["event_name"] == "Purchase" and row["event_value"] is None and "value" not in at_fault:
        faults.append(EventRefused("value", "a Purchase needs value and currency"))


def _consent(brand: Brand, fields: Mapping[str, object], faults: Faults) -> Consent:
    country = fields.get("country")
    countries = country if isinstance(country, list | tuple) else [country]
    known = [code for one in countries if (code := identity.country_alpha2(one))]
    # For a person of unknown country, the default one may require consent; it never lifts it.
    known = known or list(filter(None, [brand.settings.default_country]))
    user_data, personalization = (
        faults.collect(parse.flag, key, fields.get(key)) for key in CONSENTS
    )
    return {
        "ad_user_data": user_data,
        "ad_personalization": personalization,
        "required": any(consent_required(one, brand.settings) for one in known),
    }


def contact_clicks(
    raw: Raw, now: datetime, contact: Mapping[str, Any] | None
) -> dict[str, str | None]:
    """The clicks (`contacts.CLICKS`) of an event that is not stored, checked."""
    names = ("event_source_url", *contacts.CLICKS)
    fields = {name: raw[name] for name in names if raw.get(name)}
    _leave_out_placeholders(fields, Faults())
    clicks.take_from_url(fields)
    return clicks.of_contact(fields, now, contact)
