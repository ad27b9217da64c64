"""A conversion event, and the one list of its fields.

Each field of a conversion is one entry of `Event` or `NotStored`. Its annotation says the stored
type, its `Field` how it is handed in. From these entries derive the columns of an import file, the
REST body, what intake reads, the insert into `ops.conversion_events`, the columns that a claim
returns, what an erasure clears, and docs/events.md (`python -m tributary.event > docs/events.md`).
Another field takes an entry here, a column of the table with its migration, and a line where a
platform's payload uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict, cast, get_type_hints
from uuid import UUID

from tributary.errors import TributaryError

# How intake reads a field (`deliver.parse`), and what it accepts.
FORMATS = {
    "amount": "number in major units, such as 1234.50",
    "choice": "one of the names in the next column",
    "click": "text, as the landing page's URL has it",
    "cookie": "text, as Meta's cookie has it",
    "currency": "ISO 4217 code",
    "flag": "true or false",
    "id": "text of at most 256 characters",
    "ip": "IPv4 or IPv6 address",
    "json": "JSON object of at most 16 kB",
    "name": "text of at most 100 characters",
    "person": "text; hashed before it is stored",
    "text": "text",
    "time": "ISO 8601, or epoch seconds",
    "url": "URL",
}
Kind = Literal[
    "amount", "choice", "click", "cookie", "currency", "flag", "id", "ip", "json", "name",
    "person", "text", "time", "url",
]  # fmt: skip


@dataclass(frozen=True)
class Field:
    """How a field of an event is handed in, and what happens to it later."""

    kind: Kind
    about: str  # what it is for
    example: str = ""
    needed: str = ""  # when it is required
    name: str = ""  # as it is handed in, where the column has another name
    is_internal: bool = False  # only our own sources may hand it in
    completes: bool = False  # a later report of the same event may add it
    is_inherited: bool = False  # an adjustment has its original's
    is_erased: bool = False  # an erasure clears it


class EventRefused(TributaryError):
    """An event that intake refuses. Never quotes a value: it may be a person's.

    Attributes:
        faults: each field at fault, with a sentence that says what it must be.
        field: the first of them.
    """

    def __init__(self, field: str, text: str, *others: EventRefused) -> None:
        self.field = field
        self.faults: tuple[tuple[str, str], ...] = (
            (field, text),
            *(fault for other in others for fault in other.faults),
        )
        super().__init__("; ".join(f"{name}: {text}" for name, text in self.faults))


class Consent(TypedDict, total=False):
    """What a person answered (true, false, null), and whether an unknown answer means no."""

    ad_user_data: bool | None
    ad_personalization: bool | None
    required: bool


_ORIGINALS = Field("json", "The original's, of an adjustment.", is_internal=True,
                   is_inherited=True, is_erased=True)  # fmt: skip


def _internal(about: str) -> Field:
    return Field("text", about, is_internal=True)


class _Columns(TypedDict, total=False):
    """The columns of `ops.conversion_events`; times in UTC, `event_value` in major units."""

    id: Annotated[UUID, _internal("The row's id.")]
    brand_id: UUID
    event_name: Annotated[
        str,
        Field("name", "What happened: a standard event of Meta such as Purchase or Lead, a name "
              "of your own that `event_names` maps to one, or a custom event.",
              "Purchase", "always", is_inherited=True),
    ]  # fmt: skip
    event_id: Annotated[
        str,
        Field("id", "What the browser pixel sends as eventID, so that Meta counts the purchase "
              "once. Made of brand, transaction and event name where it is empty.",
              "order-4711", is_inherited=True),
    ]  # fmt: skip
    kind: Annotated[str, _internal("conversion, adjustment or enhancement.")]
    adjusts: Annotated[UUID | None, _internal("The original's id, of an adjustment.")]
    revision: Annotated[int, _internal("Which adjustment of its original it is.")]
    event_time: Annotated[
        datetime,
        Field("time", "When it happened; without an offset, in the brand's time zone. Meta takes "
              "events of the last 7 days. Empty in a file: the time of the import.",
              "2026-11-20T12:00:00Z"),
    ]  # fmt: skip
    action_source: Annotated[
        str,
        Field("choice", "Where it happened: email, website, app, phone_call, chat, physical_store, "
              "system_generated or other. Empty: website with event_source_url and user_agent, "
              "else system_generated.",
              "system_generated", is_inherited=True),
    ]  # fmt: skip
    event_source_url: Annotated[
        str | None,
        Field("url", "The page on which it happened. Stored without parameters that may name a "
              "person.",
              "https://shop.example/thanks", "action_source is website",
              completes=True, is_inherited=True, is_erased=True),
    ]  # fmt: skip
    event_value: Annotated[
        Decimal | None,
        Field("amount", "What it is worth.", "19.90", "event_name is Purchase", "value"),
    ]
    currency: Annotated[str | None, Field("currency", "Of the value.", "USD", "value is given")]
    transaction_id: Annotated[
        str | None,
        Field("id", "The order's id. An order is one event, however often it is handed in.",
              "T-4711", is_inherited=True),
    ]  # fmt: skip
    campaign_id: Annotated[
        str | None, Field("id", "The campaign that brought it.", "23851234567890", completes=True)
    ]
    contact_id: Annotated[
        str | None,
        Field("id", "The person's id in your system. By it, consent is read again from "
              "app.profiles before anything is sent.",
              "c-42", completes=True, is_inherited=True, is_erased=True),
    ]  # fmt: skip
    source: str
    user_ip: Annotated[
        str | None,
        Field("ip", "The visitor's address. Cleared when the event's deliveries have ended.",
              "203.0.113.9", name="ip", completes=True, is_erased=True),
    ]  # fmt: skip
    user_agent: Annotated[
        str | None,
        Field("text", "The visitor's browser. Cleared when the event's deliveries have ended.",
              "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0",
              "action_source is website", completes=True, is_erased=True),
    ]  # fmt: skip
    fbp: Annotated[
        str | None,
        Field("cookie", "Meta's browser id: its cookie _fbp.", "fb.1.1763640000000.1098115397",
              completes=True, is_erased=True),
    ]  # fmt: skip
    fbc: Annotated[
        str | None,
        Field("cookie", "Meta's click: its cookie _fbc.", "fb.1.1763640000000.IwAR2F4dbP0l",
              completes=True, is_erased=True),
    ]  # fmt: skip
    gclid: Annotated[
        str | None,
        Field("click", "Google's click id.", "Cj0KCQiAw9qOBhC", completes=True,
              is_inherited=True, is_erased=True),
    ]  # fmt: skip
    gbraid: Annotated[
        str | None,
        Field("click", "Google's click id from iOS apps.", "0AAAAADvr3c", completes=True,
              is_inherited=True, is_erased=True),
    ]  # fmt: skip
    wbraid: Annotated[
        str | None,
        Field("click", "Google's click id from the web to iOS apps.", "Cl8KCQiA", completes=True,
              is_inherited=True, is_erased=True),
    ]  # fmt: skip
    ad_id: Annotated[
        str | None, Field("id", "The ad that brought it.", "120210000000000001", completes=True)
    ]
    user_hashes: Annotated[dict[str, dict[str, list[str]]], _ORIGINALS]
    google_address: Annotated[dict[str, str], _ORIGINALS]
    consent: Annotated[Consent, _ORIGINALS]
    custom_params: Annotated[
        dict[str, Any],
        Field("json", "Meta's custom_data, sent in clear.", '{"content_ids": ["sku-1"]}',
              is_erased=True),
    ]  # fmt: skip
    is_test: Annotated[
        bool,
        Field("flag", "A test: sent only to destinations with a test_event_code or validate_only.",
              "false", is_inherited=True),
    ]  # fmt: skip
    notes: list[str]
    destinations: list[str]
    created_at: datetime
    updated_at: datetime
    erased_at: datetime | None


class Event(_Columns, total=False):
    """A row of `ops.conversion_events`, and what a claim adds to it for the platform."""

    adjusts_time: Annotated[datetime | None, _internal("When the original happened.")]
    opt_out: bool  # may be used for attribution only
    is_void: bool  # its order is cancelled or wholly refunded


def _person(about: str, example: str) -> Field:
    return Field("person", about, example)


class NotStored(TypedDict, total=False):
    """Fields that are handed in and become part of a column under another name."""

    brand: Annotated[str, Field("text", "Slug of the brand.", "acme", "the import has no --brand")]
    email: Annotated[str, _person("E-mail address.", "jane.roe@example.com")]
    phone: Annotated[
        str, _person("Phone number, with + or with the person's country.", "+14155550100")
    ]
    first_name: Annotated[str, _person("First name.", "Jane")]
    last_name: Annotated[str, _person("Last name.", "Roe")]
    city: Annotated[str, _person("City.", "San Francisco")]
    state: Annotated[str, _person("State or province.", "CA")]
    zip: Annotated[str, _person("Postal code.", "94105")]
    country: Annotated[
        str, _person("Country, as a name or ISO 3166 code. It decides whether consent is required "
                     "(`always_require_consent_in`).", "US")
    ]  # fmt: skip
    gender: Annotated[str, _person("m or f.", "f")]
    date_of_birth: Annotated[str, _person("Date of birth.", "1990-02-16")]
    external_id: Annotated[
        str, _person("The person's id in your system, as the pixel sends it.", "u-42")
    ]
    fbclid: Annotated[
        str, Field("click", "Meta's click id, as the landing page's URL has it.", "IwAR2F4dbP0l")
    ]
    consent_ad_user_data: Annotated[
        bool,
        Field("flag", "Whether the person allows their data to be sent to ad platforms. Empty: "
              "never asked.",
              "true", "the brand's consent_when_unknown is deny (the default)"),
    ]  # fmt: skip
    consent_ad_personalization: Annotated[
        bool,
        Field("flag", "Whether the person allows personalised ads. Empty: never asked.", "true"),
    ]
    fbclid_seen_at: Annotated[datetime, _internal("When the click id was first seen.")]


def _entries(given: type) -> Iterator[tuple[str, Field | None]]:
    """Name and `Field` of each entry; None where a source cannot hand it in."""
    for name, kind in get_type_hints(given, include_extras=True).items():
        yield name, next(iter(getattr(kind, "__metadata__", ())), None)


COLUMNS = tuple(_Columns.__annotations__)
COLUMN_FIELDS = {name: field for name, field in _entries(Event) if field}  # by column
_BY_NAME = {
    **{field.name or name: field for name, field in COLUMN_FIELDS.items()},
    **{name: field for name, field in _entries(NotStored) if field},
}
FIELDS = {name: field for name, field in _BY_NAME.items() if not field.is_internal}  # by name
INTERNAL = frozenset(name for name, field in _BY_NAME.items() if field.is_internal)
PERSON = tuple(name for name, field in FIELDS.items() if field.kind == "person")
CONSENTS = ("consent_ad_user_data", "consent_ad_personalization")

INSERTED = tuple(name for name in COLUMNS if name != "erased_at")
# What no platform reads stays in the table.
CLAIMED = tuple(
    name for name in COLUMNS if name not in ("notes", "destinations", "created_at", "updated_at")
)
COMPLETED = tuple(name for name, field in COLUMN_FIELDS.items() if field.completes)
INHERITED = tuple(name for name, field in COLUMN_FIELDS.items() if field.is_inherited)
ERASED = tuple(name for name, field in COLUMN_FIELDS.items() if field.is_erased)


def documentation() -> str:
    """The page docs/events.md."""
    lines = [
        "# The fields of a conversion",
        "",
        "The columns of a file for `tributary events import`, and the keys of a body for",
        "`POST /conversions`. An empty field counts as absent. Generated:",
        "`python -m tributary.event > docs/events.md`.",
        "",
        "[examples/conversions.csv](examples/conversions.csv) is a file that is sent as it is: its",
        "event_time is empty, so that each line happens when it is imported, and its people have",
        "consented. In a file of your own write when each conversion happened: Meta takes none",
        "older than 7 days, a destination none from before it was configured (`send_from`).",
        "",
        "| column | required when | format | example | what it is for |",
        "|---|---|---|---|---|",
    ]
    for name, field in FIELDS.items():
        example = f"`{field.example}`"
        lines.append(
            f"| `{name}` | {field.needed} | {FORMATS[field.kind]} | {example} | {field.about} |"
        )
    return "\n".join(lines) + "\n"


def by_column(event: Event) -> dict[str, Any]:
    """The same mapping, for reading and writing a column by a name that is not literal."""
    return cast(dict[str, Any], event)


if __name__ == "__main__":
    print(documentation(), end="")
