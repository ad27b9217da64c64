"""The exceptions of the project, as a tree:

TributaryError                  what a person can fix; its text is one sentence that says how
├── SettingsError               the settings file, a DAG run's parameters, a missing connection
│   └── tributary.settings.apply.NotOurs    only the settings file may change it
├── WarehouseError              the warehouse refused or does not answer
│   ├── WarehouseDown           worth a retry
│   │   └── WarehouseBusy       it answers: a lock, a deadlock or a timeout was in the way
│   └── LoadFenced              another try of this task has taken over; nothing was written
├── BuildFailed                 models or tests of dbt failed
│   └── BuildInterrupted        since the warehouse was away or busy: worth a retry
├── StillRunning                a report that a platform computes for long: come back to it
├── Unreconciled                ad rows and the account's own totals disagree on a closed day
├── DaysVanished                days that had spend are empty in the platform's answer
└── tributary.platforms.meta.errors.MetaError   what Graph said (a tree of its own)
"""

from __future__ import annotations


class TributaryError(Exception):
    """Base of all errors that the project raises on purpose.

    Attributes:
        retryable: whether the same step may succeed when it is tried again.
        wait: seconds to wait before that; None means that the caller's own rhythm applies.
        tries: how often the step is tried before a person must look.
    """

    retryable = False
    wait: float | None = None
    tries = 10

    @property
    def blocks_account(self) -> bool:
        """Whether the platform blocks the ad account until a person acts."""
        return False


class SettingsError(TributaryError):
    """Something that a person wrote (settings file, parameters, connection) cannot be used."""


class WarehouseError(TributaryError):
    """The warehouse refused what was asked."""


class WarehouseDown(WarehouseError):
    """The warehouse does not answer; a retry may help."""

    retryable = True


class WarehouseBusy(WarehouseDown):
    """Other work held what was needed for too long; a retry helps once it is done."""


class LoadFenced(WarehouseError):
    """This try of the task has lost its right to write; the newer one goes on."""


class BuildFailed(TributaryError):
    """Models or tests of a dbt build failed, and would fail again."""


class BuildInterrupted(BuildFailed):
    """A dbt build lost its connection, or met a lock, a deadlock or a server that restarts."""

    retryable = True
    tries = 4


class StillRunning(TributaryError):
    """A platform takes long over a report; another try of the task goes on with the same one.

    It is no failure, and uses up none of the task's retries.
    """

    retryable = True
    wait = 120.0


class Unreconciled(TributaryError):
    """Rows of a day that has ended do not add up to the account's own totals."""


class DaysVanished(TributaryError):
    """Days that had spend have none in the platform's answer: an outage, until it lasts."""

    retryable = True
    tries = 4
