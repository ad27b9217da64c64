"""The reports of one payment, put together whatever their order.

Stripe reports one payment by a session, an intent, a charge and an invoice, and of its person by
a customer, too; each says something else, and which comes first is chance. What comes before the
payment is kept among the webhooks' payloads, encrypted like all of them, with the ids that it
names (`links`); every report reads the others again. Reports that share the id of the payment
itself report the payment. Those that share only the customer or the subscription describe the
person: they fill in what is still lacking, never where they name another e-mail address, and give
way to what the payment's own reports say.

The posts of one payment or person wait for each other: two of the same moment would each miss the
other one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from tributary.api.webhooks.base import Links, Parsed, Settings
from tributary.deliver import amend, contacts, destinations, erasure, purchases
from tributary.deliver.brands import Brand
from tributary.deliver.clicks import with_clicks
from tributary.deliver.parse import NO
from tributary.deliver.purchases import Purchase
from tributary.deliver.reading import Raw
from tributary.deliver.store import in_one_transaction, locked
from tributary.event import CONSENTS, FIELDS
from tributary.warehouse import Connection, webhook_payloads

# How long a payment that may be a renewal waits for its invoice, where the setting needs it.
# Stripe sends both within seconds, and tries again what is not answered at once.
HELD = timedelta(hours=1)
_MOST = 30  # reports that are read again in one step; a customer may have thousands
_HOPS = 4  # from intent to charge, invoice, subscription, customer
_OF_PERSON = {
    "contact_id", "user_agent", "ad_id", *CONSENTS,
    *(n for n, field in FIELDS.items() if field.kind in ("person", "click", "cookie", "ip")),
}  # fmt: skip

Parse = Callable[[bytes, datetime], Parsed | None]


def renewals_are(settings: Settings) -> str:
    """What a subscription's later payments are by the webhook's setting: `purchase` by default."""
    return str(settings.get("renewals", "purchase"))


class Report(NamedTuple):
    """A report that came before."""

    id: str
    parsed: Parsed
    hashes: frozenset[str]

    @property
    def links(self) -> Links:
        """By what it is found."""
        assert self.parsed.links is not None
        return self.parsed.links


def gather(
    connection: Connection, brand: Brand, source: str, parsed: Parsed, parse: Parse
) -> list[Report]:
    """The reports of the same payment and person that came before, the oldest first.

    Args:
        parse: makes a parsed of an encrypted payload; None where that cannot be done any more.
    """
    assert parsed.links is not None
    found: dict[str, tuple[datetime, Report]] = {}
    seen: set[str] = set()
    new, own = set(parsed.links.all), set(parsed.links.own)
    for _ in range(_HOPS):
        if not new or len(found) >= 2 * _MOST:
            break
        rows = webhook_payloads.related(
            connection, brand.id, source,
            links=new, own=own, but=[parsed.id, *found], limit=_MOST,
        )  # fmt: skip
        seen |= new
        new = set()
        for row in rows:
            read = parse(row["payload"], row["received_at"])
            if read is not None and read.links is not None:
                report = Report(row["provider_id"], read, frozenset(row["hashes"]))
                found[report.id] = row["received_at"], report
                new |= set(read.links.all) - seen
                own |= read.links.own
    return [report for _, report in sorted(found.values(), key=lambda one: (one[0], one[1].id))]


def split(
    payment: str | None, links: Links, reports: Sequence[Report]
) -> tuple[list[Report], list[Report]]:
    """Those of the payment itself, and those of the same person beside it.

    Args:
        links: of what is known of the payment already.
    """
    ids = connected({*links.own, *([payment] if payment else [])}, reports, payment)
    own = [one for one in reports if _is_of(one, payment) and one.links.own & ids]
    shared = links.shared.union(*(one.links.shared for one in own))
    mine = {one.id for one in own}
    return own, [one for one in reports if one.id not in mine and one.links.shared & shared]


def connected(
    ids: Iterable[str], reports: Iterable[Report], payment: str | None = None
) -> set[str]:
    """The ids that lead from report to report to these.

    Args:
        payment: reports of another one are no bridge; None: all are.
    """
    found, left = set(ids), list(reports)
    while more := [one for one in left if _is_of(one, payment) and one.links.own & found]:
        found.update(*(one.links.own for one in more))
        left = [one for one in left if not one.links.own <= found]
    return found


def _is_of(report: Report, payment: str | None) -> bool:
    return payment is None or report.links.payment in (None, payment)


def merged(raw: Raw, own: Iterable[Report], others: Iterable[Report] = ()) -> dict[str, Any]:
    """What all of them say: the event itself first, then its other reports, then its person's."""
    out = dict(raw)
    for one in own:
        _add(out, {k: v for k, v in one.parsed.contact.items() if k != "is_test"})
    for one in others:
        if speaks_of(out, one):
            _add(out, {k: v for k, v in one.parsed.contact.items() if k in _OF_PERSON})
    return out


def _is_stripes(raw: Raw) -> bool:
    return str(raw.get("contact_id", "cus_")).startswith("cus_")


def speaks_of(raw: Raw, report: Report) -> bool:
    """Whether nothing says that the report of the same customer is of another person."""
    names = {str(one.get("email", "")).strip().lower() for one in (raw, report.parsed.contact)}
    return len(names - {""}) < 2


def _add(out: dict[str, Any], said: Mapping[str, Any]) -> None:
    for key, value in said.items():
        if key == "contact_id" and _is_stripes(out):
            out[key] = value  # the shop's own id of the person, by which it knows the consent
        elif key in CONSENTS and str(value).strip().lower() in NO:
            out[key] = value
        else:
            out.setdefault(key, value)


def complete(
    connection: Connection,
    brand: Brand,
    settings: Settings,
    event: Purchase,
    links: Links,
    reports: Sequence[Report],
    *,
    source: str,
    now: datetime,
) -> list[str] | None:
    """Complete an event by all that its reports say, as `amend.complete` does."""
    own, others = split(event.payment, links, reports)
    raw = merged(event.raw, own)
    weaker = [merged(event.raw, [], [one]) for one in others]
    same = [one.parsed.contact for one in others if speaks_of(raw, one)]
    if named := [one["contact_id"] for one in (raw, *same) if not _is_stripes(one)]:
        # The shop's own id of the person takes the place of Stripe's.
        raw["contact_id"] = named[0]
        shared = links.shared.union(*(one.links.shared for one in own))
        weaker += [{**event.raw, "contact_id": one} for one in shared if one.startswith("cus_")]
    raw = dict(contacts.lend(connection, brand.id, with_clicks(raw), now))
    problems = amend.complete(
        connection, brand, event.id, raw, source=source, now=now, weaker=weaker
    )
    if problems is not None:
        kind = kind_of(settings, event.payment, event.raw, own, others, reports)
        problems += renew(connection, brand, settings, event.id, kind, now)
    return problems


def attach(
    connection: Connection,
    brand: Brand,
    source: str,
    reports: Sequence[Report],
    events: Sequence[UUID],
) -> None:
    """Let kept reports that say something of the person go with it, and with its events.

    A report that names an address goes with no other address: of one customer's reports each may
    be of another person.
    """
    about = [one for one in reports if one.parsed.contact.keys() & _OF_PERSON]
    nameless = [one for one in reports if not one.parsed.contact.get("email")]
    for group, lenders in (
        ([one.id for one in about if one.parsed.contact.get("email")], nameless),
        ([one.id for one in about if not one.parsed.contact.get("email")], reports),
    ):
        if not group:
            continue
        # A nameless report may have been lent the address of one person by another payment.
        hashes = [
            one
            for lender in lenders
            for one in (erasure.own(lender.hashes) if lenders is nameless else lender.hashes)
        ]
        webhook_payloads.attach(
            connection, brand.id, source, group, events=events, hashes=erasure.lent(hashes)
        )


# First payments and renewals.


def kind_of(
    settings: Settings,
    payment: str,
    raw: Raw,
    own: Sequence[Report],
    others: Sequence[Report],
    reports: Sequence[Report],
    links: Links | None = None,
) -> str:
    """Whether a payment is `first`, a `renewal`, or `unknown` until its invoice comes.

    An invoice says so by its `billing_reason`. Since 2025-03-31 neither it nor the payment names
    the other: `invoice_payment.paid` does; without it an invoice of the same customer, amount and
    currency that has no other payment is taken for the payment's.

    Args:
        links: of the report that is at work.
    """
    if renewals_are(settings) == "purchase":
        return "first"
    known = [*([links] if links else []), *(one.links for one in own)]
    asked = [one for one in known if one.invoice is not None]
    if not asked and any(one.is_one_off for one in known):
        return "first"
    if not asked:
        at = raw["event_time"]
        assert isinstance(at, datetime)
        asked = [
            one.links for one in others
            if one.links.invoice is not None and one.links.payment is None
            and (one.links.invoice.paid, one.links.invoice.currency)
            == (raw["value"], str(raw["currency"]).upper())
            and not _is_paid(one.links, reports, payment)
            and abs(one.links.invoice.at - at) <= HELD
        ]  # fmt: skip
    if asked:
        return "renewal" if _is_renewal(asked[-1], (*own, *others)) else "first"
    return "unknown"


def _is_paid(invoice: Links, reports: Sequence[Report], payment: str) -> bool:
    """Whether an invoice is known to be another payment's."""
    return any(
        one.links.own & invoice.own and one.links.payment not in (None, payment) for one in reports
    )


def _is_renewal(invoice: Links, reports: Iterable[Report]) -> bool:
    assert invoice.invoice is not None
    reason = invoice.invoice.reason or ""
    if not reason.startswith("subscription_") or reason == "subscription_create":
        return False
    # The first payment after a free trial is asked for by a cycle's invoice.
    same = [
        one.links.invoice for one in reports
        if one.links.invoice and one.links.shared & _subscriptions(invoice)
        and not one.links.own & invoice.own
    ]  # fmt: skip
    return not (
        any(one.reason == "subscription_create" and not one.paid for one in same)
        and not any(one.paid for one in same)
    )


def _subscriptions(links: Links) -> frozenset[str]:
    return frozenset(one for one in links.shared if not one.startswith("cus_"))


def renew(
    connection: Connection, brand: Brand, settings: Settings, event: UUID, kind: str, now: datetime
) -> list[str]:
    """Do with a stored event what the setting `renewals` says.

    Returns:
        Why it cannot be done any more, in a sentence.
    """
    chosen = renewals_are(settings)
    if chosen == "purchase":
        return []
    if kind == "unknown":
        purchases.delay(connection, event, HELD)
        return []
    wanted = "Purchase" if kind == "first" else chosen
    with in_one_transaction(connection):
        targets = destinations.active_for_intake(connection, brand.id, now)
        found = locked(connection, event)
        if found is None:
            return []
        if found.has_left:
            return [] if kind == "first" or found.event["event_name"] == wanted else [_SENT]
        if wanted != "skip" and found.event["event_name"] != wanted:
            found.event["event_name"] = wanted
            amend.write(connection, found, ["event_name"], targets, now)
            amend.pass_on(connection, found, targets, now)
        if kind == "first":  # undo what a wrong guess has skipped
            amend.judge(connection, found, ("renewal",), targets, now)
        elif wanted == "skip":
            purchases.skip_renewal(connection, event, now)
    return []


_SENT = "a renewal, and it has left as a Purchase before its invoice came"
