"""The ad account and its campaigns, ad sets and ads, as Graph describes them.

Archived and deleted objects are asked for by name: Graph hides them otherwise, and their spend with
them (https://developers.facebook.com/docs/marketing-api/best-practices/manage-your-ad-object-status).

Insights, not these objects, hold the figures. So what is not needed to join them may be missing: a
page that fails is asked for again in smaller pages and without its optional fields, down to the one
field or object that Graph cannot give; that one is left out with a warning.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from tributary.platforms.meta.client import Graph, Listing, Row
from tributary.platforms.meta.errors import (
    MetaCursorExpired,
    MetaError,
    MetaForbidden,
    MetaRefused,
    MetaTooMuchData,
    MetaUnknown,
    redacted,
)
from tributary.platforms.meta.plan import Plan, bare

log = logging.getLogger(__name__)

IDS_AT_ONCE = 50
PAGE_SIZE = 1000
# Objects that are asked for a field which may be refused for all: single ones may be broken.
_PROBES = 8


class Edge(NamedTuple):
    """What is asked of the objects of an edge.

    Attributes:
        fields: without these an object is of no use.
        optional: left out with a warning where Graph does not give them.
        statuses: every effective status that the objects can have.
    """

    fields: tuple[str, ...]
    optional: tuple[str, ...]
    statuses: tuple[str, ...]


ACCOUNT = Edge(
    ("id", "account_id", "name", "currency", "timezone_name"),
    ("timezone_offset_hours_utc", "account_status", "amount_spent"),
    (),
)

_CAMPAIGN_STATUSES = ("ACTIVE", "ARCHIVED", "DELETED", "IN_PROCESS", "PAUSED", "WITH_ISSUES")
_ADSET_STATUSES = (*_CAMPAIGN_STATUSES, "CAMPAIGN_PAUSED")
AD_STATUSES = (
    *_ADSET_STATUSES, "ADSET_PAUSED", "DISAPPROVED", "PENDING_BILLING_INFO", "PENDING_REVIEW",
    "PREAPPROVED",
)  # fmt: skip

EDGES: dict[str, Edge] = {
    "campaigns": Edge(
        ("id", "account_id", "name", "status", "effective_status"),
        ("objective", "buying_type", "bid_strategy", "daily_budget", "lifetime_budget",
         "start_time", "stop_time", "created_time", "updated_time"),
        _CAMPAIGN_STATUSES,
    ),
    "adsets": Edge(
        ("id", "account_id", "campaign_id", "name", "status", "effective_status"),
        ("daily_budget", "lifetime_budget", "bid_strategy", "billing_event", "optimization_goal",
         "targeting", "start_time", "end_time", "created_time", "updated_time"),
        _ADSET_STATUSES,
    ),
    "ads": Edge(
        ("id", "account_id", "campaign_id", "adset_id", "name", "status", "effective_status"),
        ("creative{id,name,title,body,object_type,call_to_action_type}", "created_time",
         "updated_time"),
        AD_STATUSES,
    ),
}  # fmt: skip

_TIMES = ("start_time", "stop_time", "end_time", "created_time", "updated_time")
_AMOUNTS = ("daily_budget", "lifetime_budget", "amount_spent")
# As dbt's staging reads them (dbt/macros/meta_payload.sql).
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)", re.ASCII)
_NUMBER = re.compile(r"(?!.{31})-?\d+(\.\d+)?", re.ASCII)


def account(graph: Graph, account_id: str, plan: Plan) -> Row:
    """The account object: name, currency, timezone_name … (budgets in minor units).

    Raises:
        MetaError: as `Graph.get`.
    """
    path = f"act_{account_id}"

    def ask(*names: str) -> Row:
        return graph.get(path, fields=",".join(names))

    optional = plan.given("account", ACCOUNT.optional)
    try:
        return ask(*ACCOUNT.fields, *optional)
    except MetaError as error:
        if not error.may_be_field or not optional:
            raise
        found = ask(*ACCOUNT.fields)
        for name in optional:
            try:
                found |= ask("id", name)
            except MetaError as refusal:
                if not refusal.may_be_field:
                    raise
                leave_out(plan, "account", name, refusal)
        return found


class Reader:
    """Reads the objects of an account's edges.

    Args:
        plan: what is known to work; changed where something else was found to.
    """

    def __init__(self, graph: Graph, account_id: str, plan: Plan) -> None:
        self._graph, self._account_id, self._plan = graph, account_id, plan
        self._bare: set[str] = set()  # edges read without optional fields, which come by id

    def pages(self, edge: str, after: str | None = None) -> Iterator[tuple[list[Row], str | None]]:
        """Pages of all campaigns, adsets or ads, archived and deleted ones included, each with the
        cursor of the next one (None: it was the last).

        Args:
            after: the cursor to go on from.

        Raises:
            MetaError: what neither smaller pages nor fewer fields could help.
        """
        listing = self._listing(edge, after)
        begun, too_much = 1, False  # by an earlier try's cursor, anew, without optional fields
        while not listing.ended:
            limit = listing.limit
            try:
                rows = self._page(edge, listing)
            except MetaCursorExpired:
                begun += 1
                if begun > 3:
                    raise
                log.warning("%s: the cursor has expired; from the first page again", edge)
                listing = self._listing(edge, None)
                continue
            except MetaError as error:
                listing = self._changed(edge, listing, error)
                too_much = too_much or isinstance(error, MetaTooMuchData)
                continue
            if too_much:
                self._plan.edge_pages[edge] = limit
            yield rows, listing.after

    def by_id(self, edge: str, ids: Sequence[str]) -> Iterator[list[Row]]:
        """Campaigns, adsets or ads by id, 50 in a call: Graph's limit.

        What Graph does not give is left out with a warning that names it, and not asked for again
        for a week.

        Raises:
            MetaError: as `Graph.get`.
        """
        known = [one for one in ids if one not in self._plan.unreadable]
        names = EDGES[edge].fields + self._plan.given(edge, EDGES[edge].optional)
        for start in range(0, len(known), IDS_AT_ONCE):
            found: dict[str, Row] = {}
            for rows in self._by_id(edge, known[start : start + IDS_AT_ONCE], names, IDS_AT_ONCE):
                for row in rows:
                    found.setdefault(row["id"], {}).update(row)
            yield list(found.values())

    def _listing(self, edge: str, after: str | None) -> Listing:
        names = EDGES[edge].fields
        if edge not in self._bare:
            names += self._plan.given(edge, EDGES[edge].optional)
        return self._graph.listing(
            f"act_{self._account_id}/{edge}",
            fields=",".join(names),
            effective_status=self._plan.statuses(edge, EDGES[edge].statuses),
            limit=self._plan.edge_pages.get(edge, PAGE_SIZE),
            after=after,
        )

    def _page(self, edge: str, listing: Listing) -> list[Row]:
        """The next page; where one of its optional fields or objects is broken, without that."""
        optional = self._plan.given(edge, EDGES[edge].optional)
        try:
            rows = _identified(edge, listing.read())
            if edge not in self._bare:
                return rows
        except MetaError as error:
            if not error.may_be_field or error.named or not optional:
                raise
            try:
                rows = self._without(edge, listing, optional)
            except MetaCursorExpired:  # it is one of the query with these fields
                self._bare.add(edge)
                raise
            log.warning("a page of %s came only without its optional fields: %s", edge, error)
        given = self._given_fields(edge, rows, optional)
        if given != optional and not listing.ended and edge not in self._bare:
            listing.change(fields=",".join(EDGES[edge].fields + given))
        known: dict[str, Row] = {row["id"]: row for row in rows}
        for names, ids in self._askable(list(known), given).items():
            for some in self._by_id(edge, ids, ("id", *names), IDS_AT_ONCE):
                for row in some:
                    known[row["id"]] |= row
        return list(known.values())

    def _askable(self, ids: list[str], names: tuple[str, ...]) -> dict[tuple[str, ...], list[str]]:
        """The objects by the fields that Graph gives of them, as far as is known."""
        broken, askable = set(self._plan.unreadable), dict[tuple[str, ...], list[str]]()
        for one in ids:
            given = tuple(name for name in names if f"{one}.{bare(name)}" not in broken)
            if given:
                askable.setdefault(given, []).append(one)
        return askable

    def _without(self, edge: str, listing: Listing, optional: tuple[str, ...]) -> list[Row]:
        """The next page without these fields; the pages behind it are asked for with them."""
        listing.change(fields=",".join(EDGES[edge].fields))
        try:
            return _identified(edge, listing.read())
        finally:
            listing.change(fields=",".join(EDGES[edge].fields + optional))

    def _given_fields(
        self, edge: str, rows: list[Row], optional: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Those of the optional fields that Graph gives for one object at least, of a few."""
        if len(rows) < 2:
            return optional
        for name in optional:
            refusal = None
            for row in rows[:: max(1, len(rows) // _PROBES)][:_PROBES]:
                try:
                    self._graph.get("", ids=row["id"], fields=f"id,{name}")
                except MetaError as error:
                    if not error.may_be_field:
                        raise
                    refusal = error
                else:
                    refusal = None
                    break
            if refusal:
                leave_out(self._plan, edge, name, refusal)
        return self._plan.given(edge, optional)

    def _changed(self, edge: str, listing: Listing, error: MetaError) -> Listing:
        """The listing, asked for otherwise, where that may help; else the error."""
        statuses = self._plan.statuses(edge, EDGES[edge].statuses)
        if error.named in statuses:
            refuse_status(self._plan, edge, error)
            listing.change(effective_status=self._plan.statuses(edge, EDGES[edge].statuses))
            return listing
        half = listing.limit // 2
        if not half or not (isinstance(error, MetaTooMuchData) or error.may_be_size):
            raise error
        log.warning("%s in pages of %d: %s; asking for %d", edge, listing.limit, error, half)
        listing.change(limit=half)
        return listing

    def _by_id(
        self, edge: str, ids: Sequence[str], names: tuple[str, ...], at_once: int
    ) -> Iterator[list[Row]]:
        """Objects by id; where Graph refuses a call, halved to the one id and field it is about."""
        for start in range(0, len(ids), at_once):
            some = ids[start : start + at_once]
            try:
                answer = self._graph.get("", ids=",".join(some), fields=",".join(names))
            except MetaError as error:
                yield from self._smaller_by_id(edge, some, names, error)
            else:
                yield [answer[i] | {"id": i} for i in some if isinstance(answer.get(i), dict)]

    def _smaller_by_id(
        self, edge: str, ids: Sequence[str], names: tuple[str, ...], error: MetaError
    ) -> Iterator[list[Row]]:
        of_one = isinstance(error, MetaForbidden | MetaUnknown) or error.may_be_field
        if len(ids) > 1 and (of_one or isinstance(error, MetaTooMuchData) or error.may_be_size):
            yield from self._by_id(edge, ids, names, len(ids) // 2)
            return
        if not of_one or len(ids) > 1:
            raise error
        required = tuple(name for name in names if name in EDGES[edge].fields)
        optional = [name for name in names if name not in required]
        if error.may_be_field and optional and names != ("id", optional[0]):
            if required != ("id",):
                yield from self._by_id(edge, ids, required, 1)
            for name in optional if ids[0] not in self._plan.unreadable else ():
                yield from self._by_id(edge, ids, ("id", name), 1)
        elif optional and error.may_be_field:
            log.warning("%s of %s %s is left out: %s", bare(optional[0]), _one(edge), ids[0], error)
            self._plan.unreadable.append(f"{ids[0]}.{bare(optional[0])}")
        elif isinstance(error, MetaForbidden | MetaRefused | MetaUnknown):
            log.warning("%s %s of an insights row cannot be read: %s", _one(edge), ids[0], error)
            self._plan.unreadable.append(ids[0])
        else:
            raise error


def leave_out(plan: Plan, edge: str, name: str, error: MetaError) -> None:
    """Go on without a field that Graph does not give."""
    plan.left_out.append(f"{edge}.{bare(name)}")
    log.warning("the field %s of %s is left out for a week: %s", bare(name), edge, error)


def refuse_status(plan: Plan, edge: str, error: MetaError) -> None:
    """Go on without a status that Graph no longer knows."""
    assert error.named is not None
    plan.refused_statuses.append(f"{edge}.{error.named}")
    log.warning("the status %s is asked for no more in %s for a week: %s", error.named, edge, error)


def statuses_in_use(graph: Graph, account_id: str) -> set[str]:
    """The effective statuses of all ads that are neither archived nor deleted.

    Graph needs no list of statuses for these, so that it gives those as well that we do not know.

    Raises:
        MetaError: as `Graph.get`.
    """
    pages = graph.pages(f"act_{account_id}/ads", fields="id,effective_status", limit=PAGE_SIZE)
    found = {row.get("effective_status") for rows in pages for row in rows}
    return {status for status in found if isinstance(status, str) and status}


def unreadable_fields(row: Row) -> list[str]:
    """What in an object is no time or no number where it should be, such as `end_time: 0`.

    Such a field is null in the marts. Returns each with its value, for a warning.
    """
    wrong = [
        name
        for names, is_one in ((_TIMES, _is_time), (_AMOUNTS, _is_number))
        for name in names
        if (value := row.get(name)) not in (None, "") and not is_one(value)
    ]
    return [f"{name} is {redacted(repr(row[name]))}" for name in wrong]


def _identified(edge: str, rows: list[Row]) -> list[Row]:
    found = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
    if len(found) < len(rows):
        log.warning("%d of the %s have no id and are left out", len(rows) - len(found), edge)
    return found


def _one(edge: str) -> str:
    return {"campaigns": "campaign", "adsets": "ad set", "ads": "ad"}[edge]


def _is_time(value: object) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        return bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and bool(_NUMBER.fullmatch(str(value)))
