"""How much Graph computes at once: what makes clients split their queries, or ask for reports."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from sandbox.errors import page_too_big, sync_timeout, too_much_data


@dataclass
class Limits:
    """None: no limit. All may be changed while the sandbox runs."""

    sync_row_limit: int | None = None  # rows of an insights query in one go, all its pages together
    sync_refusal: int = 100  # its code: 100 (subcode 1504018) or 2 (subcode 1504038)
    async_row_limit: int | None = None  # rows of a report
    async_refusal: str = "failed"  # "failed": the report fails; "refused": POST is, with 1487534
    fields_limit: int | None = None  # fields of an insights query; refused as too many rows are
    page_row_limit: int | None = None  # `limit` of a page of insights
    edge_page_limit: int | None = None  # `limit` of a page of objects
    retention_days_less: int = 0  # than 37 months, for which insights are kept
    report_seconds: float = 0.2  # that any report takes, by the clock
    report_rows_per_second: int = 200_000  # what comes on top; 0: nothing does
    calls_per_hour: int = 190_000  # of each account: what Meta calls full access
    calls_per_hour_of: dict[str, int] = field(default_factory=dict)  # account id -> its own

    def __post_init__(self) -> None:
        self._check()

    def change(self, **changes: Any) -> None:
        """Set several at once; an unknown name or an impossible value changes nothing."""
        before = vars(self).copy()
        unknown = changes.keys() - {one.name for one in fields(self)}
        if unknown:
            raise ValueError(f"unknown limit: {', '.join(sorted(unknown))}")
        vars(self).update(changes)
        try:
            self._check()
        except ValueError:
            vars(self).update(before)
            raise

    def _check(self) -> None:
        if not isinstance(self.calls_per_hour_of, dict):
            raise ValueError("calls_per_hour_of must be an object of account ids")
        whole: dict[str, Any] = {
            **{f"calls_per_hour_of[{key}]": n for key, n in self.calls_per_hour_of.items()},
            "calls_per_hour": self.calls_per_hour,
        }
        for name in (
            "sync_row_limit",
            "async_row_limit",
            "fields_limit",
            "page_row_limit",
            "edge_page_limit",
        ):
            if getattr(self, name) is not None:
                whole[name] = getattr(self, name)
        for name, value in whole.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number above 0")
        for name in ("report_seconds", "report_rows_per_second", "retention_days_less"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name} must be a number of at least 0")
        if self.sync_refusal not in (100, 2):
            raise ValueError("sync_refusal must be 100 or 2")
        if self.async_refusal not in ("failed", "refused"):
            raise ValueError("async_refusal must be failed or refused")

    def check_sync(self, rows: int, fields: int) -> None:
        """Refuse a query that would take too long in one go."""
        if _above(rows, self.sync_row_limit) or _above(fields, self.fields_limit):
            raise sync_timeout(self.sync_refusal)

    def check_page(self, size: int, limit: int | None) -> None:
        """Refuse a page that would be too big."""
        if _above(size, limit):
            raise page_too_big()

    def check_report(self, rows: int, fields: int) -> bool:
        """Whether a report can be computed; one that cannot may be refused at once."""
        if not _above(rows, self.async_row_limit) and not _above(fields, self.fields_limit):
            return True
        if self.async_refusal == "refused":
            raise too_much_data()
        return False

    def report_takes(self, rows: int) -> timedelta:
        """How long the clock must go on until a report of so many rows is there."""
        per_second = self.report_rows_per_second
        return timedelta(seconds=self.report_seconds + (rows / per_second if per_second else 0))

    def hourly(self, account_id: str) -> int:
        """How many calls an account has in an hour."""
        return self.calls_per_hour_of.get(account_id, self.calls_per_hour)


def _above(number: int, limit: int | None) -> bool:
    return limit is not None and number > limit
