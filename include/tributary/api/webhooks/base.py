"""What a webhook source is: how a provider proves its posts, and what they say.

A source reads a payload that is already proven to be the provider's; it knows no HTTP and no
database. A source is a file here and a line in `registry.py`; the settings file knows its name and
options from `tributary.settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from tributary.api.webhooks.signatures import Signature
from tributary.deliver.reading import Raw

Payload = Mapping[str, Any]
Settings = Mapping[str, Any]  # of the webhook, as in the settings file


@dataclass(frozen=True)
class Refund:
    """So much of a purchase was given back: all refunds of it together, or one dispute."""

    transaction_id: str
    refunded: Decimal
    currency: str
    at: datetime  # of the refund
    bought_at: datetime | None  # None: not said; the purchase is not waited for
    dispute: str | None = None  # its id
    is_final: bool = False  # whether the dispute has ended


class Invoice(NamedTuple):
    """What an invoice says of the payment that it asks for."""

    reason: str | None  # Stripe's `billing_reason`
    paid: Decimal
    currency: str
    at: datetime


@dataclass(frozen=True)
class Links:
    """By which ids the reports of one payment, and of one person, find each other."""

    payment: str | None = None  # the payment intent
    own: frozenset[str] = frozenset()  # of one payment alone: session, intent, charge, invoice
    shared: frozenset[str] = frozenset()  # of the person: customer, subscription
    invoice: Invoice | None = None
    is_one_off: bool = False  # no invoice asks for it

    @property
    def all(self) -> list[str]:
        """In an order that is the same for everybody who locks them."""
        return sorted(self.own | self.shared)


@dataclass(frozen=True)
class Parsed:
    """What a payload says."""

    id: str  # the provider's own event id
    event: Raw | None = None  # for intake
    refund: Refund | None = None
    contact: Raw = field(default_factory=dict)  # the person, also where there is no event
    ignored: str | None = None  # why there is neither event nor refund
    own_id: str | None = None  # the event's id where the browser's belongs to another one
    links: Links | None = None
    waits: bool = False  # whether it is kept for the payment that it belongs to


@dataclass(frozen=True)
class Source:
    """A provider of webhooks."""

    name: str  # in the URL, in the settings file and in the events' `source`
    # Of the payload, the moment when it was first posted, and the webhook's settings.
    # Raises EventRefused where the payload lacks what an event needs.
    parse: Callable[[Payload, datetime, Settings], Parsed]
    events: tuple[str, ...]  # names of the events that it makes without any option
    signature: Signature = field(default_factory=Signature)
