"""Google's clicks of an account: which campaign, ad group and ad a gclid belongs to."""

from __future__ import annotations

import logging
from datetime import date, datetime
from typing import TYPE_CHECKING

import orjson

from tributary import warehouse

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
        day: in the account's time zone; Google tells of the last 90.
        now: when the read began.

    Returns:
        Clicks of that day.

    Raises:
        GoogleError: nothing was changed.
    """
    rows = {row["click_view"]["gclid"]: row for row in client.clicks(account_id, day)}
    with warehouse.connect(uri) as connection:
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))",
            [f"click_view|{account_id}|{day}"],
        )
        newer = connection.execute(
            "select 1 from raw.google_click_view where account_id = %s and date = %s "
            "and extracted_at > %s limit 1",
            [account_id, day, now],
        ).fetchone()
        if newer is not None:
            log.warning("account %s, %s: a newer read is stored already", account_id, day)
            return len(rows)
        if not rows:
            # Google takes single clicks away, never all of a day: that is an outage.
            kept = connection.execute(
                "select count(*) as n from raw.google_click_view "
                "where account_id = %s and date = %s",
                [account_id, day],
            ).fetchone()
            if kept and kept["n"]:
                log.warning(
                    "account %s, %s: Google answers with no click; the %d that are stored are kept",
                    account_id, day, kept["n"],
                )  # fmt: skip
            return 0
        connection.execute(
            "delete from raw.google_click_view where account_id = %s and date = %s "
            "and gclid <> all (%s)",
            [account_id, day, list(rows)],
        )
        connection.execute(
            "insert into raw.google_click_view as c "
            "(account_id, date, gclid, payload, extracted_at, run_id) "
            "select %s, %s, gclid, payload::jsonb, %s, %s "
            "from unnest(%s::text[], %s::text[]) as v (gclid, payload) "
            "on conflict (account_id, date, gclid) do update set payload = excluded.payload, "
            "extracted_at = excluded.extracted_at, run_id = excluded.run_id",
            [
                account_id, day, now, run_id,
                list(rows), [orjson.dumps(row).decode() for row in rows.values()],
            ],
        )  # fmt: skip
    return len(rows)
