"""The ad accounts of a run: which are listed, and what the task of one reads of its own row.

XCom carries ids and names alone. A task that is cleared later must see the settings, the
connection and the pause of that moment, not those of the moment when the accounts were listed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException

from tributary import config
from tributary.errors import SettingsError, StillRunning, TributaryError
from tributary.orchestration.callbacks import wrapped
from tributary.orchestration.connections import warehouse_uri

if TYPE_CHECKING:
    from tributary.warehouse import Connection

log = logging.getLogger(__name__)


def asked(context: Any) -> list[str]:
    """The account ids of the run's parameters, without Meta's `act_`; none: all active ones.

    Raises:
        SettingsError: one of them is no id.
    """
    ids = context["params"].get("accounts") or ()
    wanted = dict.fromkeys(str(one).strip().removeprefix("act_") for one in ids)
    wrong = [one for one in wanted if not one.isdigit()]
    if wrong:
        raise SettingsError(f"`accounts` must be a list of ad account ids, not {wrong[0]!r}.")
    return list(wanted)


def of(connection: Connection, platform: str) -> list[dict[str, Any]]:
    """All accounts of a platform: a row each of `ops.ad_accounts`, with brand and pause."""
    from tributary.warehouse import ad_accounts

    return [_typed(platform, row) for row in ad_accounts.of_platform(connection, platform)]


def _typed(platform: str, row: dict[str, Any]) -> dict[str, Any]:
    from tributary.settings import models

    return {**row, "settings": models.ad_account(platform, row["settings"])}


def one(connection: Connection, platform: str, account_id: str) -> dict[str, Any]:
    """One account as it is configured now.

    Raises:
        SettingsError: it is not configured.
    """
    from tributary.warehouse import ad_accounts

    row = ad_accounts.one(connection, platform, account_id)
    if row is None:
        raise SettingsError(
            f"The ad account {account_id} is not in the settings: add it to the settings file "
            "and apply it with `tributary configure FILE.yaml`."
        )
    return _typed(platform, row)


def label(row: dict[str, Any]) -> dict[str, str]:
    """What the list of a run says of an account: its id, and its name in the UI."""
    return {"account_id": row["account_id"], "name": row["name"]}


@dataclass
class Load:
    """The load of one account: its row of `ops.ad_accounts`, and how many rows it has loaded."""

    row: dict[str, Any]
    rows: int = 0


@contextmanager
def loading(platform: str, account_id: str, context: Any) -> Iterator[Load]:
    """Around the load of one account as it is configured now: how it ends is kept in
    `ops.ad_accounts`, and an account that the platform blocks is paused.

    Raises:
        SettingsError: the account is not configured.
        AirflowSkipException: it is paused, or was switched off after it was listed.
        AirflowRescheduleException: a report still runs; the task leaves its worker slot and comes
            back, which is no retry.
    """
    from tributary.warehouse import connect
    from tributary.warehouse.ad_accounts import pause, record_sync

    uri = warehouse_uri()
    with connect(uri) as connection:
        load = Load(one(connection, platform, account_id))
    _skip_unless_due(load.row, platform, context)
    try:
        yield load
    except StillRunning as error:
        wait = timedelta(seconds=min(error.wait or 0, config.cap_on_waits()))
        log.info("%s The task leaves its worker slot for %s.", error, wait)
        back = datetime.now(UTC) + wait
        raise AirflowRescheduleException(back) from error  # type: ignore[no-untyped-call]
    except TributaryError as error:
        with connect(uri, autocommit=True) as connection:
            failed = f"failed: {type(error).__name__}: {error}"
            record_sync(connection, platform, account_id, failed[:500], None)
            if error.blocks_account:
                pause(connection, platform, account_id, None, str(error))
        raise
    with connect(uri, autocommit=True) as connection:
        record_sync(connection, platform, account_id, "ok", load.rows)


def _skip_unless_due(row: dict[str, Any], platform: str, context: Any) -> None:
    from tributary.platforms import registry

    title = registry.platform(platform).title
    name, why = f"The {title} ad account {row['name']} ({row['account_id']})", ""
    if row["paused"]:
        which = row["account_id"] + ("" if platform == "meta" else f" --platform {platform}")
        why = (
            f"{name} is paused {row['paused'].rstrip('.')}. Resume it when that is settled: on the "
            f"page Tributary, or with `tributary accounts resume {which}`."
        )
    elif not row["is_active"] and row["account_id"] not in asked(context):
        why = f"{name} is not active any more: the settings say `is_active: false`."
    if why:
        log.warning("%s", wrapped(why))
        raise AirflowSkipException(why)
