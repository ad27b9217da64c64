"""Which days of an account a run loads."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from tributary.errors import SettingsError
from tributary.platforms.source import Account, Source

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Window:
    """Which days to load, in each account's own time zone.

    `since` and `until` (both included) win. Without them: the `days` days up to the last one that
    had ended in the account's time zone at `anchor`.
    """

    anchor: datetime
    since: date | None = None
    until: date | None = None
    days: int | None = None

    def dates(
        self, account: Account, zone: ZoneInfo, now: datetime, source: type[Source] | Source
    ) -> list[date]:
        """The days for an account, oldest first. Days that have not begun in its time zone are left
        out with a warning, and so are those that the platform has no longer.

        Raises:
            SettingsError: no day is left.
        """
        today = now.astimezone(zone).date()
        last_ended = min(self.anchor, now).astimezone(zone).date() - timedelta(days=1)
        until = min(self.until or last_ended, today)
        if self.until is not None and until < self.until:
            log.warning("%s: days after %s have not begun there; left out", account.name, today)
        since = self.since or until - timedelta(days=(self.days or account.lookback_days) - 1)
        keeps = f"{source.title} keeps {source.months_kept} months"
        oldest = today - relativedelta(months=source.months_kept)
        if since < oldest <= until:
            log.warning("%s: %s; days before %s are left out", account.name, keeps, oldest)
            since = oldest
        if until < oldest:
            raise SettingsError(
                f"Nothing to load for {account.name}: {keeps}, back to {oldest}, and {until} is "
                "before that."
            )
        if since > until:
            raise SettingsError(
                f"Nothing to load for {account.name}: {since} is after {until}, the last day that "
                f"could be asked for in {zone.key}. Give an earlier `since`."
            )
        return [since + timedelta(days=n) for n in range((until - since).days + 1)]
