"""Asynchronous reports: made at one moment, ready at a later one of the clock, kept for 30 days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from sandbox.errors import bad_parameter, no_such_field, no_such_object
from sandbox.objects import Account
from sandbox.params import Params, fields, limit, only
from sandbox.reports import Query
from sandbox.rows import Piece

_KEPT = timedelta(days=30)
_FIELDS = (
    "id",
    "account_id",
    "time_ref",
    "time_completed",
    "async_status",
    "async_percent_completion",
    "date_start",
    "date_stop",
)
_FAILURE = {
    "error_code": -2,
    "error_subcode": 2490547,
    "error_message": "Report Failed",
    "error_user_title": "Report Failed",
    "error_user_msg": "The report could not be completed. Ask for less data at a time.",
}
_FAILURE_SINCE = 25  # the version of Graph that began to say why


@dataclass(eq=False)
class Run:
    """A report: `pieces` are the figures of the moment at which it was asked for."""

    id: str
    account: Account
    query: Query
    params: Mapping[str, str]  # as it was asked for, without the token
    pieces: list[Piece]
    made: datetime
    ready: datetime
    end: str = "Job Completed"
    stuck_at: int | None = None  # percent at which it stays
    kind = "report"

    def status(self, now: datetime) -> tuple[str, int]:
        """Status and percentage. The percentage may reach 100 before the report can be read."""
        takes = self.ready - self.made
        done = 1.0 if now >= self.ready else max(0.0, (now - self.made) / takes)
        if self.stuck_at is not None:
            done = min(done, self.stuck_at / 100)
            return _unfinished(done), int(done * 100)
        if done < 1:
            return _unfinished(done), min(100, int(done * 110))
        return self.end, 100 if self.end == "Job Completed" else 0

    def show(self, params: Params, version: str, now: datetime) -> dict[str, Any]:
        """`GET /<report run id>`"""
        only(params, "fields")
        status, percent = self.status(now)
        shown: dict[str, Any] = {
            "id": self.id,
            "account_id": self.account.id,
            "time_ref": int(self.made.timestamp()),
            "async_status": status,
            "async_percent_completion": percent,
            "date_start": self.query.since.isoformat(),
            "date_stop": self.query.until.isoformat(),
        }
        if status == "Job Completed":
            shown["time_completed"] = int(self.ready.timestamp())
        says_why = int(version[1:].partition(".")[0]) >= _FAILURE_SINCE
        if status == "Job Failed" and says_why:
            shown |= _FAILURE
        wanted = fields(params)
        for name, inner in wanted.items():
            if name not in (*_FIELDS, *_FAILURE) or inner is not None:
                raise no_such_field(name, "AdReportRun")
        return {name: shown[name] for name in (*wanted, "id") if name in shown} if wanted else shown

    def results(self, params: Params, now: datetime) -> Query:
        """What a page of `GET /<report run id>/insights` shows; until it is ready, nothing."""
        only(params, "fields", "limit", "after")
        if self.status(now)[0] != "Job Completed":
            raise no_such_object(self.id)
        limit(params)
        wanted = [name for name in fields(params) if not name.startswith("date_")]
        for name in wanted:
            if name not in self.query.fields:
                raise bad_parameter(f"The report was made without the field {name}.")
        return self.query._replace(fields=tuple(wanted)) if wanted else self.query


def _unfinished(done: float) -> str:
    if done < 0.05:
        return "Job Not Started"
    return "Job Started" if done < 0.15 else "Job Running"


class Runs:
    """The reports that were asked for."""

    def __init__(self, seed: int) -> None:
        self._seed, self._made = seed, 0
        self._runs: dict[str, Run] = {}  # the oldest first, as far as the clock goes forward

    def add(
        self, query: Query, params: Params, pieces: list[Piece], now: datetime, takes: timedelta
    ) -> Run:
        """A new report."""
        for old in [run for run in self._runs.values() if now - run.made > _KEPT]:
            del self._runs[old.id]
        account = query.node if isinstance(query.node, Account) else query.node.account
        self._made += 1
        name = f"{self._seed}|{account.id}|{now.isoformat()}|{self._made}"
        number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
        kept = {k: v for k, v in params.items() if k not in ("access_token", "appsecret_proof")}
        run = Run(f"6{number % 10**15:015d}", account, query, kept, pieces, now, now + takes)
        self._runs[run.id] = run
        return run

    def get(self, run_id: str, now: datetime) -> Run | None:
        """The report, while it is kept."""
        run = self._runs.get(run_id)
        return run if run is not None and now - run.made <= _KEPT else None
