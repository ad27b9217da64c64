"""Conversions over HTTP: handed in, found, put back, erased."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from tributary.api.access import Caller, Reader, Writer
from tributary.api.database import database
from tributary.api.models import (
    Batch,
    BatchResult,
    Conversion,
    ConversionIn,
    Conversions,
    DeliveryChange,
    ItemResult,
    Status,
    Text,
)
from tributary.api.problems import ApiError, Fault, fault, faults_of, faults_of_event, unprocessable
from tributary.deliver import brands, contacts, erasure, intake, ledger, outbox
from tributary.deliver.brands import Brand
from tributary.deliver.intake import Receipt
from tributary.event import EventRefused
from tributary.warehouse import Connection

router = APIRouter(tags=["conversions"])

_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


@router.post(
    "/conversions",
    status_code=201,
    responses={200: {"model": Conversion, "description": "It was known; the first row."}},
)
def create(body: ConversionIn, caller: Writer, request: Request, response: Response) -> Conversion:
    """Take a conversion. The same event_id again changes nothing and gives the first row."""
    with database(request).connection() as connection:
        known = brands.load(connection)
        raw = _given(body)
        brand = _brand(known, raw, caller)
        receipt = _take(connection, brand, [raw])[0]
        if receipt.status == "refused":
            raise unprocessable(_faults(receipt))
        assert receipt.id is not None
        row = ledger.one(connection, caller.brand_id, receipt.id)
    if row is None:  # under another event id
        raise unprocessable([fault("event_id", intake.ERASED)])
    if receipt.status == "duplicate":
        response.status_code = 200
    return Conversion(**row)


@router.post("/conversions/batch")
def create_batch(body: Batch, caller: Writer, request: Request) -> BatchResult:
    """Take up to 1000 conversions; a wrong one costs only itself."""
    results: dict[int, ItemResult] = {}
    by_brand: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    with database(request).connection() as connection:
        known = brands.load(connection)
        for index, item in enumerate(body.events):
            try:
                raw = _given(ConversionIn.model_validate(item))
                brand = _brand(known, raw, caller)
            except ValidationError as error:
                results[index] = _refused(index, faults_of(error.errors()))
            except EventRefused as error:
                results[index] = _refused(index, faults_of_event(error))
            except ApiError as error:
                results[index] = _refused(index, error.faults)
            else:
                by_brand.setdefault(brand.slug, []).append((index, raw))
        for slug, items in by_brand.items():
            receipts = _take(connection, known[slug], [raw for _, raw in items])
            for (index, _), receipt in zip(items, receipts, strict=True):
                if receipt.status == "refused":
                    results[index] = _refused(index, _faults(receipt))
                else:
                    results[index] = ItemResult(index=index, status=receipt.status, id=receipt.id)
    ordered = [results[index] for index in sorted(results)]
    counts = {
        status: sum(one.status == status for one in ordered)
        for status in ("accepted", "duplicate", "refused")
    }
    return BatchResult(**counts, results=ordered)


@router.get("/conversions")
def find(
    caller: Reader,
    request: Request,
    status: Annotated[Status | None, Query(description="Of any of its deliveries.")] = None,
    event_name: Annotated[Text | None, Query()] = None,
    brand: Annotated[Text | None, Query(description="Slug.")] = None,
    campaign_id: Annotated[Text | None, Query()] = None,
    since: Annotated[datetime | None, Query(description="Earliest event time.")] = None,
    until: Annotated[datetime | None, Query(description="Event times before this.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Annotated[int, Query(ge=0, le=ledger.MOST_COUNTED)] = 0,
    after: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
) -> Conversions:
    """Conversions, the newest first."""
    filters = {
        "status": status,
        "event_name": event_name,
        "brand": brand,
        "campaign_id": campaign_id,
        "since": _utc("since", since),
        "until": _utc("until", until),
    }
    with database(request).connection() as connection:
        rows, count = ledger.find(
            connection, caller.brand_id, filters, limit=limit, offset=offset, after=after
        )
    return Conversions(
        data=[Conversion(**row) for row in rows],
        count=count,
        limit=limit,
        offset=offset,
        next=rows[-1]["id"] if len(rows) == limit else None,
    )


@router.get("/conversions/{id}")
def read(id: UUID, caller: Reader, request: Request) -> Conversion:
    """A conversion with its deliveries."""
    with database(request).connection() as connection:
        return Conversion(**_one(connection, caller, id))


@router.patch("/conversions/{id}")
def change(id: UUID, body: DeliveryChange, caller: Writer, request: Request) -> Conversion:
    """Put a delivery back into the outbox, or leave it out, at one destination."""
    with database(request).connection() as connection:
        row = _one(connection, caller, id)
        now = outbox.now_of(connection)
        ledger.change_delivery(connection, row, body.destination, body.sync_status, now)
        return Conversion(**_one(connection, caller, id))


@router.delete("/conversions/{id}", status_code=204)
def erase(id: UUID, caller: Writer, request: Request) -> None:
    """Erase the person's data of a conversion. The ledger's counts stay; it does not come back."""
    with database(request).connection() as connection:
        row = _one(connection, caller, id)
        known = brands.load(connection)[row["brand"]]
        erasure.erase_event(connection, {**row, "brand_id": known.id}, outbox.now_of(connection))


def _one(connection: Connection, caller: Caller, event: UUID) -> ledger.Row:
    row = ledger.one(connection, caller.brand_id, event)
    if row is None:
        raise ApiError(404, "There is no such conversion.")
    return row


def _given(body: ConversionIn) -> dict[str, Any]:
    """The fields that were given."""
    return body.model_dump(exclude_none=True)


def _brand(known: Mapping[str, Brand], raw: dict[str, Any], caller: Caller) -> Brand:
    """Whose event it is: the key's brand, or the one that is named."""
    slug = raw.pop("brand", None) or caller.brand
    if slug is None and len(known) == 1:
        slug = next(iter(known))
    if slug is None:
        raise EventRefused("brand", "is missing; write the brand's slug")
    if caller.brand not in (None, slug) or slug not in known:
        raise EventRefused("brand", "is no brand that you may write to")
    return known[slug]


def _take(connection: Connection, brand: Brand, raws: list[dict[str, Any]]) -> list[Receipt]:
    """Hand events to intake, and keep what they say of their contacts."""
    with connection.transaction():
        receipts = intake.take(connection, brand, raws, source="api", now=outbox.now_of(connection))
        contacts.learn(
            connection, [receipt.id for receipt in receipts if receipt.status == "accepted"]
        )
    return receipts


def _faults(receipt: Receipt) -> list[Fault]:
    return [fault(field, text) for field, text in receipt.faults]


def _refused(index: int, faults: Sequence[Fault]) -> ItemResult:
    return ItemResult(
        index=index,
        status="refused",
        errors=list(faults),
    )


def _utc(field: str, moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise EventRefused(field, "is no moment that a calendar has") from None
    return min(moment, _LATEST)
