"""Google's clicks of an account: which campaign, ad group and ad a gclid belongs to."""

from __future__ import annotations

import logging
from datetime import date, datetime
from typing import TYPE_CHECKING

import orjson

from tributary import warehouse
from tributary.warehouse import clicks

if TYPE_CHECKING:
    from tributary.platforms.google_ads.client import GoogleAds

log = logging.getLogger(__name__)


def load_day(
    client: GoogleAds, uri: str, account_id: str, day: date, *, run_id: str, now: datetime
) -> int:
    """Replace an account's day in `raw.google_click_view` by what Google says of it now.

    One transaction under a lock; a read that began before the stored one is discarded, since a
    killed task may live on beside its next try.

    Args:
        account_id: the customer id, digits only.
        day: in the account's time zone; Google has the last 90.
        now: when the read began.

    Returns:
        Clicks of that day.

    Raises:
        GoogleError: nothing was changed.
    """
    rows = {row["click_view"]["gclid"]: row for row in client.clicks(account_id, day)}
    with warehouse.connect(uri) as connection:
        clicks.lock_day(connection, account_id, day)
        if clicks.has_newer(connection, account_id, day, now):
            log.warning("account %s, %s: a newer read is stored already", account_id, day)
            return len(rows)
        if not rows:
            # Google takes single clicks away, never all of a day: that is an outage.
            if stored := clicks.count(connection, account_id, day):
                log.warning(
                    "account %s, %s: Google answers with no click; the %d that are stored are kept",
                    account_id, day, stored,
                )  # fmt: skip
            return 0
        payloads = {gclid: orjson.dumps(row).decode() for gclid, row in rows.items()}
        clicks.replace_day(connection, account_id, day, payloads, run_id=run_id, read_at=now)
    return len(rows)
