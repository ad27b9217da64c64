"""What the tests of the marts share: real dbt builds in this process, and hand-made raw rows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from tributary import config, dbt_run

# The worlds are of March 2026: hourly builds compute their purchases whatever today's date is.
LATE_DAYS = "TRIBUTARY_ATTRIBUTION_LATE_DAYS"
RECOMPUTE = ("--vars", "recompute: true")
GOOD = {"success", "pass", "no-op"}
MARTS = (
    "ad_campaigns", "ad_adsets", "ad_ads", "ad_spend", "ad_restatements", "ad_attributions",
    "data_problems",
)  # fmt: skip
# Kept by another key than `id`, and views.
OTHER_MARTS = (
    "ad_attribution_credits", "ad_performance", "campaign_performance", "ad_platform_claims",
    "conversion_delivery_status",
)  # fmt: skip

Row = dict[str, Any]


def outcome(
    uri: str, *arguments: str, project: Path | None = None, quiet: bool = True
) -> dict[str, tuple[str, str]]:
    """`dbt build`, whatever comes of it: status and message of every node, by its name."""
    environment = config.dbt_environment(uri) | {LATE_DAYS: os.environ.get(LATE_DAYS, "100000")}
    if project is not None:
        environment |= {"DBT_PROJECT_DIR": str(project), "DBT_PROFILES_DIR": str(project)}
        environment |= {"DBT_TARGET_PATH": str(project / "target")}
    with patch.dict(os.environ):
        shown_texts = ["--quiet"] if quiet else []
        result = dbt_run.invoke(environment, *shown_texts, "build", *arguments)
    assert result.exception is None, result.exception
    nodes = {node.node.name: (str(node.status), node.message or "") for node in result.result}
    assert nodes, "nothing was built"
    return nodes


def build(uri: str, *arguments: str, project: Path | None = None) -> None:
    """`dbt build`, in which every node must succeed, without a warning."""
    nodes = outcome(uri, *arguments, project=project)
    wrong = {name: node for name, node in nodes.items() if node[0] not in GOOD}
    assert not wrong, wrong


def build_models(uri: str, *arguments: str) -> None:
    """A build without its tests: for speed, and for states that a test would complain about."""
    build(uri, "--exclude-resource-type", "test", "unit_test", *arguments)


def build_marts(uri: str, *arguments: str) -> None:
    """Intermediate models and marts, on the views of staging that an earlier build has made."""
    build_models(uri, "--select", "path:models/intermediate", "path:models/marts", *arguments)


class Warehouse:
    """A migrated database with the brand `acme` (reporting in USD), to be filled by hand.

    Beside it is `lumen` (reporting in EUR), which has the order A and a visit t1 of a profile ann,
    as `acme` may: whatever is built, is built beside another brand with the same ids.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.connection = psycopg.connect(uri, autocommit=True, row_factory=dict_row)
        self.loads = 0
        self.warnings: set[str] = set()
        self.execute(
            "insert into ops.brands "
            "(slug, name, reporting_currency, time_zone, managed_by, settings) "
            "values ('acme', 'Acme', 'USD', 'UTC', 'file', '{}'), "
            "('lumen', 'Lumen', 'EUR', 'UTC', 'file', '{}')"
        )
        self.touch("t1", "ann", "2026-03-10 01:00", brand="lumen", ad_id="91")
        self.purchase("A", "ann", "2026-03-10 02:00", "70.00", brand="lumen", currency="EUR")

    def execute(self, statement: str, *parameters: object) -> None:
        """Run a statement."""
        self.connection.execute(statement, parameters or None)

    def rows(self, query: str, *parameters: object) -> list[Row]:
        """All rows of a query."""
        return self.connection.execute(query, parameters or None).fetchall()

    def row(self, query: str, *parameters: object) -> Row:
        """The one row of a query."""
        (row,) = self.rows(query, *parameters)
        return row

    def contents(self, mart: str) -> list[Row]:
        """All rows and columns of a mart."""
        return self.rows(f"select * from marts.{mart} order by id")

    def account(
        self, account_id: str, currency: str = "USD", *, described: bool = True, brand: str = "acme"
    ) -> None:
        """An account of the settings, described by Meta or not."""
        self.execute(
            "insert into ops.ad_accounts "
            "(platform, account_id, brand_id, conn_id, is_active, settings) "
            "select 'meta', %s, id, 'meta_' || slug, true, '{}' from ops.brands where slug = %s",
            account_id, brand,
        )  # fmt: skip
        if described:
            payload = {"name": f"Account {account_id}", "currency": currency}
            self.described("meta_ad_accounts", account_id, f"act_{account_id}", payload
                           | {"timezone_name": "Asia/Jakarta"})  # fmt: skip

    def described(
        self, table: str, account_id: str, object_id: str, payload: Row, day: int = 1
    ) -> None:
        """An object as Meta describes it, extracted on a day of March 2026."""
        self.execute(
            f"insert into raw.{table} values (%s, %s, %s, %s, 'run') on conflict (account_id, id) "
            "do update set payload = excluded.payload, extracted_at = excluded.extracted_at",
            account_id, object_id, Jsonb(payload), datetime(2026, 3, day, tzinfo=UTC),
        )  # fmt: skip

    def load(
        self,
        account_id: str,
        day: str,
        ads: Iterable[Row],
        *,
        status: str = "reconciled",
        currency: str = "USD",
        ledger: bool = True,
    ) -> None:
        """Replace an account's day, as a load does: rows, account totals, the ledger's row."""
        ads = list(ads)
        self.loads += 1
        at = datetime(2026, 3, 20, tzinfo=UTC) + timedelta(minutes=self.loads)
        month = date.fromisoformat(day).replace(day=1)
        following = (month + timedelta(days=32)).replace(day=1)
        self.execute(
            f"create table if not exists raw.meta_ad_insights_{month:%Y_%m} "
            "partition of raw.meta_ad_insights "
            f"for values from ('{month}') to ('{following}')"
        )
        for table in ("meta_ad_insights", "meta_account_insights"):
            self.execute(
                f"delete from raw.{table} where account_id = %s and date = %s", account_id, day
            )
        for ad in ads:
            payload = {"account_id": account_id, "account_currency": currency, **ad}
            self.execute(
                "insert into raw.meta_ad_insights values (%s, %s, %s, %s, %s, 'run')",
                account_id, day, ad["ad_id"], Jsonb(payload), at,
            )  # fmt: skip
        spend = sum((Decimal(ad.get("spend", "0")) for ad in ads), Decimal(0))
        shown = sum(int(ad.get("impressions", "0")) for ad in ads)
        totals = {"account_currency": currency, "spend": str(spend), "impressions": str(shown)}
        if ads:
            self.execute(
                "insert into raw.meta_account_insights values (%s, %s, %s, %s, 'run')",
                account_id, day, Jsonb(totals), at,
            )  # fmt: skip
        if ledger:
            self.execute(
                "insert into ops.loads values "
                "(%s, 'ad_insights', %s, %s, %s, %s, %s, %s, %s, 'run', 0, %s, %s) "
                "on conflict (account_id, report, date) do update set rows = excluded.rows, "
                "spend = excluded.spend, impressions = excluded.impressions, "
                "account_spend = excluded.account_spend, "
                "account_impressions = excluded.account_impressions, status = excluded.status, "
                "loaded_at = excluded.loaded_at",
                account_id, day, len(ads), spend, shown, spend, shown, status, at, at,
            )  # fmt: skip

    def restate(self, account_id: str, day: str, ads: Iterable[Row], **more: Any) -> None:
        """Load a day that was loaded before, and keep in the ledger that it reads differently."""
        key = (account_id, day)
        sums = (
            "select jsonb_build_object('rows', rows, 'spend', spend, 'impressions', impressions)"
            "::text as sums, loaded_at from ops.loads where (account_id, date) = (%s, %s)"
        )
        before = self.row(sums, *key)
        self.load(account_id, day, ads, **more)
        after = self.row(sums, *key)
        self.execute(
            "insert into ops.restatements "
            "(account_id, report, date, before, after, changed_rows, restated_at, run_id) "
            "values (%s, 'ad_insights', %s, %s, %s, 1, %s, 'run')",
            *key, before["sums"], after["sums"], after["loaded_at"],
        )  # fmt: skip

    def touch(
        self, touchpoint_id: str | None, profile_id: str, at: str, *, brand: str = "acme",
        **said: str,
    ) -> None:  # fmt: skip
        """A visit to the site, with what its URL said."""
        self._insert("touchpoints", {
            "touchpoint_id": touchpoint_id, "brand_slug": brand, "profile_id": profile_id,
            "touched_at": at if "+" in at or "infinity" in at else f"{at}+00", **said,
        })  # fmt: skip

    def purchase(
        self, transaction_id: str | None, profile_id: str | None, at: str, amount: str, *,
        brand: str | None = "acme", **more: Any,
    ) -> None:  # fmt: skip
        """A purchase, completed and in USD unless `more` says otherwise."""
        self._insert("transactions", {
            "transaction_id": transaction_id, "brand_slug": brand, "profile_id": profile_id,
            "transacted_at": f"{at}+00", "amount": amount, "currency": "USD",
            "status": "completed", **more,
        })  # fmt: skip

    def _insert(self, table: str, row: Row) -> None:
        marks = ", ".join(["%s"] * len(row))
        self.execute(f"insert into app.{table} ({', '.join(row)}) values ({marks})", *row.values())

    def rate(self, day: str, base: str, rate: str, quote: str = "USD") -> None:
        """An exchange rate."""
        self.execute(
            "insert into app.exchange_rates values (%s, %s, %s, %s)", day, base, quote, rate
        )


def ad(ad_id: str, spend: str = "1.00", impressions: int = 10, **more: Any) -> Row:
    """An insights row of ad `ad_id`, in ad set `s<ad_id>` of campaign `c1`."""
    return {
        "ad_id": ad_id,
        "ad_name": f"Ad {ad_id}",
        "adset_id": f"s{ad_id}",
        "adset_name": f"Set {ad_id}",
        "campaign_id": "c1",
        "campaign_name": "Campaign",
        "spend": spend,
        "impressions": str(impressions),
        "clicks": "3",
        **more,
    }
