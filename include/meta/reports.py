"""Daily insights: one row per ad and day, and the account's own totals to hold them against.

Dates are days of the ad account's time zone, both ends included. Metrics are strings in Graph's
answer, spend in major units of the account's currency; a metric that does not apply is absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from include.meta.client import Graph, Row
from include.meta.errors import MetaTransient
from include.meta.hierarchy import AD_STATUSES

AD_FIELDS = (
    "account_id,account_name,account_currency,campaign_id,campaign_name,adset_id,adset_name,"
    "ad_id,ad_name,impressions,reach,frequency,clicks,inline_link_clicks,spend,"
    "actions,action_values,date_start,date_stop"
)
ACCOUNT_FIELDS = (
    "account_id,account_currency,impressions,clicks,spend,actions,action_values,"
    "date_start,date_stop"
)

# Without this filter ads that are archived or deleted by now leave the rows, and their spend too.
ANY_AD = [{"field": "ad.effective_status", "operator": "IN", "value": list(AD_STATUSES)}]


def ad_days(
    graph: Graph,
    account_id: str,
    since: date,
    until: date,
    windows: Sequence[str] = (),
    page_size: int = 500,
) -> Iterator[list[Row]]:
    """Pages of rows, one per ad with delivery and day, of all ads whatever their status.

    Args:
        windows: attribution windows to break actions down by; Graph's default only, when empty.

    Raises:
        MetaTransient: a row came that was not asked for.
    """
    for page in _insights(graph, account_id, "ad", since, until, windows, page_size, ANY_AD):
        for row in page:
            day = row.get("date_start")
            if (
                not row.get("ad_id")
                or day != row.get("date_stop")
                or not _within(day, since, until)
            ):
                raise MetaTransient("Meta answered with an insights row that was not asked for")
        yield page


def account_days(
    graph: Graph, account_id: str, since: date, until: date, windows: Sequence[str] = ()
) -> dict[date, Row]:
    """The account's own totals by day; a day without delivery is absent."""
    return {
        date.fromisoformat(row["date_start"]): row
        for page in _insights(graph, account_id, "account", since, until, windows, 500, None)
        for row in page
        if _within(row.get("date_start"), since, until)
    }


def _within(day: object, since: date, until: date) -> bool:
    return isinstance(day, str) and since.isoformat() <= day <= until.isoformat()


def _insights(
    graph: Graph,
    account_id: str,
    level: str,
    since: date,
    until: date,
    windows: Sequence[str],
    page_size: int,
    filtering: list[dict[str, Any]] | None,
) -> Iterator[list[Row]]:
    return graph.pages(
        f"act_{account_id}/insights",
        level=level,
        fields=AD_FIELDS if level == "ad" else ACCOUNT_FIELDS,
        time_increment=1,
        time_range={"since": since.isoformat(), "until": until.isoformat()},
        action_attribution_windows=list(windows) or None,
        filtering=filtering,
        limit=page_size,
    )
