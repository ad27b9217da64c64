"""The time the sandbox lives in: the real one until a test sets it."""

from datetime import UTC, datetime, timedelta


class Clock:
    """Real time by default; virtual, and stopped, once set or advanced.

    `advance_per_request` moves a virtual clock on with each request that the sandbox answers, so
    that a client in another process which polls until something is done need not sleep.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self._virtual: datetime | None = None
        self.advance_per_request = timedelta(0)
        if now is not None:
            self.set(now)

    def now(self) -> datetime:
        """The aware UTC time."""
        return self._virtual or datetime.now(UTC)

    def set(self, moment: datetime) -> None:
        """Stop at an aware moment."""
        if moment.tzinfo is None:
            raise ValueError("the clock takes aware datetimes only")
        self._virtual = moment.astimezone(UTC)

    def advance(self, step: timedelta) -> None:
        """Move on by step and stop there."""
        self.set(self.now() + step)

    def follow(self) -> None:
        """Be the real time again."""
        self._virtual = None

    def tick(self) -> None:
        """A request has been answered."""
        if self.advance_per_request:
            self.advance(self.advance_per_request)
