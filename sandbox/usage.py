"""How much of its hourly calls each account has used, and the headers that report it."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson

from sandbox.errors import throttled
from sandbox.limits import Limits

_WINDOW_SECONDS = 3600
_TIER = {"ads_api_access_tier": "standard_access"}
_RESET_SECONDS = 300  # said of a level that was set without an end


class _Level(NamedTuple):
    """A level that was set, whatever was called."""

    percent: float
    until: datetime | None


class _Use(NamedTuple):
    """What the headers say of one account."""

    percent: float
    wait: float  # seconds until calls are taken again; 0 while they are
    reset: float  # seconds until usage falls


class Usage:
    """The hour of each account: a window that moves on with the clock."""

    def __init__(self, limits: Limits, accounts: Collection[str]) -> None:
        self._limits, self._accounts = limits, accounts
        self._calls: defaultdict[str, deque[float]] = defaultdict(deque)  # when, by account
        self._levels: dict[str, _Level] = {}

    def set(
        self, account_id: str, percent: float | None, now: datetime, minutes: float | None = None
    ) -> None:
        """Say this level from now on, for so many minutes; None: what was really called again.

        At 100 and above calls are refused, for 5 minutes unless set otherwise; below, a level
        without minutes stays.
        """
        if account_id not in self._accounts:
            raise ValueError(f"there is no account {account_id}")
        if percent is None:
            self._levels.pop(account_id, None)
            return
        if percent < 0 or (minutes is not None and minutes <= 0):
            raise ValueError("percent must be at least 0, minutes above 0")
        if minutes is None and percent >= 100:
            minutes = 5
        until = None if minutes is None else now + timedelta(minutes=minutes)
        self._levels[account_id] = _Level(percent, until)

    def admit(self, account_id: str, now: datetime) -> None:
        """Count a call, or refuse it: a refused one takes no room."""
        if self._use(account_id, now).wait:
            raise throttled(80004, 2446079)
        self._calls[account_id].append(now.timestamp())

    def headers(self, account_id: str | None, kind: str, now: datetime) -> dict[str, str]:
        """The four usage headers; `kind`: ads_management or ads_insights."""
        use = _Use(0, 0, 0) if account_id is None else self._use(account_id, now)
        app = self._app_percent(now)
        values = usage_headers(
            account_id or "0", kind, use.percent, minutes=use.wait / 60, reset=use.reset
        )
        values["x-fb-ads-insights-throttle"]["app_id_util_pct"] = app
        values["x-app-usage"] = dict.fromkeys(("call_count", "total_time", "total_cputime"), app)
        return {name: orjson.dumps(value).decode() for name, value in values.items()}

    def _use(self, account_id: str, now: datetime) -> _Use:
        level = self._levels.get(account_id)
        if level is not None and level.until is not None and level.until <= now:
            del self._levels[account_id]
            level = None
        if level is not None:
            ends = _RESET_SECONDS
            left = (level.until - now).total_seconds() if level.until else ends
            return _Use(level.percent, left if level.percent >= 100 else 0, left)
        calls = self._recent(account_id, now)
        limit = self._limits.hourly(account_id)
        percent = min(100.0, len(calls) * 100 / limit)
        if not calls:
            return _Use(percent, 0, 0)
        reset = calls[0] + _WINDOW_SECONDS - now.timestamp()
        # Room is there again when all but limit - 1 calls have left the window.
        full = len(calls) - limit
        wait = calls[full] + _WINDOW_SECONDS - now.timestamp() if full >= 0 else 0
        return _Use(percent, wait, reset)

    def _recent(self, account_id: str, now: datetime) -> deque[float]:
        calls = self._calls[account_id]
        while calls and calls[0] <= now.timestamp() - _WINDOW_SECONDS:
            calls.popleft()
        return calls

    def _app_percent(self, now: datetime) -> int:
        """The app's share of what all its accounts together may call."""
        called = sum(len(self._recent(account_id, now)) for account_id in self._accounts)
        allowed = sum(map(self._limits.hourly, self._accounts))
        return min(100, called * 100 // allowed) if allowed else 0


def usage_headers(
    account_id: str, kind: str, percent: float, *, minutes: float, reset: float
) -> dict[str, Any]:
    """What three of the headers hold: percentages, a wait in minutes, a reset in seconds."""
    business = {
        "type": kind,
        **dict.fromkeys(("call_count", "total_cputime", "total_time"), int(percent)),
        "estimated_time_to_regain_access": math.ceil(minutes),
        **_TIER,
    }
    return {
        "x-business-use-case-usage": {account_id: [business]},
        "x-ad-account-usage": {
            "acc_id_util_pct": round(percent, 2),
            "reset_time_duration": math.ceil(reset),
            **_TIER,
        },
        "x-fb-ads-insights-throttle": {
            "app_id_util_pct": 0,
            "acc_id_util_pct": round(percent, 2),
            **_TIER,
        },
    }
