"""The ad account and what stands in it: campaigns, ad sets, ads, as Graph describes them.

Archived and deleted objects are asked for by name: Graph hides them otherwise, and their spend with
them (https://developers.facebook.com/docs/marketing-api/best-practices/manage-your-ad-object-status).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from include.meta.client import Graph, Row
from include.meta.errors import MetaForbidden

log = logging.getLogger(__name__)

IDS_AT_ONCE = 50
PAGE_SIZE, SMALLEST_PAGE = 1000, 25

ACCOUNT_FIELDS = (
    "id,account_id,name,currency,timezone_name,timezone_offset_hours_utc,account_status,"
    "amount_spent"
)

_CAMPAIGN_STATUSES = ("ACTIVE", "ARCHIVED", "DELETED", "IN_PROCESS", "PAUSED", "WITH_ISSUES")
_ADSET_STATUSES = (*_CAMPAIGN_STATUSES, "CAMPAIGN_PAUSED")
AD_STATUSES = (
    *_ADSET_STATUSES, "ADSET_PAUSED", "DISAPPROVED", "PENDING_BILLING_INFO", "PENDING_REVIEW",
    "PREAPPROVED",
)  # fmt: skip

# Edge of the account → fields, and every effective status that its objects can have.
EDGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "campaigns": (
        "id,account_id,name,objective,buying_type,bid_strategy,status,effective_status,"
        "daily_budget,lifetime_budget,start_time,stop_time,created_time,updated_time",
        _CAMPAIGN_STATUSES,
    ),
    "adsets": (
        "id,account_id,campaign_id,name,status,effective_status,daily_budget,lifetime_budget,"
        "bid_strategy,billing_event,optimization_goal,targeting,start_time,end_time,"
        "created_time,updated_time",
        _ADSET_STATUSES,
    ),
    "ads": (
        "id,account_id,campaign_id,adset_id,name,status,effective_status,"
        "creative{id,name,title,body,object_type,call_to_action_type},created_time,updated_time",
        AD_STATUSES,
    ),
}


def account(graph: Graph, account_id: str) -> Row:
    """The account object: name, currency, timezone_name … (budgets in minor units)."""
    return graph.get(f"act_{account_id}", fields=ACCOUNT_FIELDS)


def objects(
    graph: Graph, account_id: str, edge: str, page_size: int = PAGE_SIZE
) -> Iterator[list[Row]]:
    """Pages of all campaigns, adsets or ads of an account, archived and deleted ones included."""
    fields, statuses = EDGES[edge]
    return graph.pages(
        f"act_{account_id}/{edge}",
        least=SMALLEST_PAGE,
        fields=fields,
        effective_status=list(statuses),
        limit=page_size,
    )


def objects_by_id(
    graph: Graph, edge: str, ids: Sequence[str], at_once: int = IDS_AT_ONCE
) -> Iterator[list[Row]]:
    """Campaigns, adsets or ads by id, 50 in a call: Graph's limit.

    Graph refuses a call as a whole when one of its ids does not exist; then it is halved until the
    id stands alone, and that one is left out with a warning.
    """
    fields, _ = EDGES[edge]
    for start in range(0, len(ids), at_once):
        some = ids[start : start + at_once]
        try:
            answer = graph.get("", ids=",".join(some), fields=fields)
        except MetaForbidden as error:
            if len(some) == 1:
                log.warning("one of the %s of an insights row cannot be read: %s", edge, error)
                continue
            yield from objects_by_id(graph, edge, some, len(some) // 2)
        else:
            yield [answer[one] for one in some if isinstance(answer.get(one), dict)]
