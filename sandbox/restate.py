"""Days that come to have other figures than they had: late data, corrections, rows withdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from sandbox.delivery import GROWING, Delivery


class Restatement(NamedTuple):
    """What is different from now on. The same rows always get the same figures."""

    days: frozenset[date] | None = None  # account-local; None: all
    ads: frozenset[str] | None = None  # whose figures change by `percent`; None: all
    percent: int = 0
    vanish: frozenset[str] = frozenset()  # ads without a row
    spend: int = 0  # minor units, added to the first row that is left
    impressions: int = 0  # likewise

    def retell(self, day: date, rows: Sequence[Delivery]) -> list[Delivery]:
        """The rows of a day as they are now."""
        if self.days is not None and day not in self.days:
            return list(rows)
        changed = [self._changed(row) for row in rows if row.ad.id not in self.vanish]
        if changed:
            first = changed[0]
            changed[0] = first._replace(
                spend=first.spend + self.spend, impressions=first.impressions + self.impressions
            )
        return changed

    def _changed(self, row: Delivery) -> Delivery:
        if not self.percent or (self.ads is not None and row.ad.id not in self.ads):
            return row
        factor = 100 + self.percent
        figures = {name: getattr(row, name) * factor // 100 for name in GROWING}
        return row._replace(impressions=max(1, row.impressions * factor // 100), **figures)


def restatement(days: Any, ads: Any, percent: Any, vanish: Any) -> Restatement:
    """One from outside: days (ISO 8601) and ads as lists, or None for all."""
    if not isinstance(percent, int) or isinstance(percent, bool):
        raise ValueError("percent must be a whole number")
    for name, value in (("days", days), ("ads", ads), ("vanish", vanish)):
        if value is not None and not (
            isinstance(value, list | tuple | set | frozenset)
            and all(isinstance(item, str | date) for item in value)
        ):
            raise ValueError(f"{name} must be a list")
    return Restatement(
        days=None if days is None else frozenset(_day(item) for item in days),
        ads=None if ads is None else frozenset(ads),
        percent=percent,
        vanish=frozenset(vanish or ()),
    )


def _day(item: str | date) -> date:
    return date.fromisoformat(item) if isinstance(item, str) else item
