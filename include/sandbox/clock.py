"""The time the sandbox lives in: the real one until a test sets it."""

from datetime import UTC, datetime, timedelta


class Clock:
    """Real time by default; virtual, and standing still, once set or advanced."""

    def __init__(self, now: datetime | None = None) -> None:
        self._virtual: datetime | None = None
        if now is not None:
            self.set(now)

    def now(self) -> datetime:
        """The aware UTC time."""
        return self._virtual or datetime.now(UTC)

    def set(self, moment: datetime) -> None:
        """Stand still at an aware moment."""
        if moment.tzinfo is None:
            raise ValueError("the clock takes aware datetimes only")
        self._virtual = moment.astimezone(UTC)

    def advance(self, step: timedelta) -> None:
        """Move on by step and stand still there."""
        self.set(self.now() + step)
