"""The ad account and what stands in it: campaigns, ad sets, ads, as Graph describes them.

Archived and deleted objects are asked for by name: Graph hides them otherwise, and their spend with
them (https://developers.facebook.com/docs/marketing-api/best-practices/manage-your-ad-object-status).
"""

from __future__ import annotations

from collections.abc import Iterator

from include.meta.client import Graph, Row

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


def objects(graph: Graph, account_id: str, edge: str, page_size: int = 200) -> Iterator[list[Row]]:
    """Pages of all campaigns, adsets or ads of an account, archived and deleted ones included."""
    fields, statuses = EDGES[edge]
    return graph.pages(
        f"act_{account_id}/{edge}",
        fields=fields,
        effective_status=list(statuses),
        limit=page_size,
    )
