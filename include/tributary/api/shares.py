"""Who may use the warehouse now: a brand that is slow takes from itself, not from the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tributary.api.problems import ApiError

_MOST_WAITING = 250  # requests of one brand; as many as one address has connections

UNKNOWN, FAILED = "those unknown", "those who failed"  # no slugs: these have no spaces
LOOK_UPS = (UNKNOWN, FAILED)


class Shares:
    """Connections of one pool, given out in one event loop.

    A brand gets one more while it has fewer than are free. So one alone gets half of them, and each
    that comes after it half of what is left: of 16, four slow brands leave one for a fifth, and a
    sixth waits as long as five are slow. To look up whose a key or a webhook is, there are places
    beside those of brands. Who has to wait does so without a thread.
    """

    def __init__(self, connections: int, kept: int = 0) -> None:
        """Give out `connections` to brands, and `kept` more for look-ups alone."""
        self.patience = 5.0  # seconds that a request waits for its brand's share
        self._free = connections + kept
        self._kept = kept
        self._used: Counter[str | None] = Counter()
        self._waiting: dict[asyncio.Future[None], tuple[str | None, int | None]] = {}
        self._queued: Counter[str | None] = Counter()

    @asynccontextmanager
    async def of(
        self, brand: str | None, most: int | None = None, status: int = 503
    ) -> AsyncIterator[None]:
        """Hold a connection's place for a brand; None: for those who see all brands.

        Args:
            most: places that it never exceeds.
            status: of the refusal.

        Raises:
            ApiError: the brand's share is used up, and stays so.
        """
        if self._queued[brand] or not self._may(brand, most):
            await self._wait(brand, most, status)
        else:
            self._take(brand)
        try:
            yield
        finally:
            self._give_back(brand)

    def _may(self, brand: str | None, most: int | None) -> bool:
        used = self._used[brand]
        looking_up = sum(self._used[one] for one in LOOK_UPS)
        kept = max(0, self._kept - looking_up)
        may = used < self._free - kept or (brand in LOOK_UPS and kept > 0)
        return may and (most is None or used < most)

    def _take(self, brand: str | None) -> None:
        self._free -= 1
        self._used[brand] += 1

    def _give_back(self, brand: str | None) -> None:
        self._free += 1
        self._used[brand] -= 1
        if not self._used[brand]:
            del self._used[brand]
        for one, (other, most) in list(self._waiting.items()):
            if not self._free:
                break
            if not one.done() and self._may(other, most):
                self._take(other)
                one.set_result(None)

    async def _wait(self, brand: str | None, most: int | None, status: int) -> None:
        if self._queued[brand] >= _MOST_WAITING:
            raise _full(status)
        one = asyncio.get_running_loop().create_future()
        self._waiting[one] = brand, most
        self._queued[brand] += 1
        try:
            async with asyncio.timeout(self.patience):
                await one
        except BaseException as error:
            if one.done() and not one.cancelled():  # given at the moment of giving up
                self._give_back(brand)
            if isinstance(error, TimeoutError):
                raise _full(status) from None
            raise
        finally:
            del self._waiting[one]
            self._queued[brand] -= 1
            if not self._queued[brand]:
                del self._queued[brand]


def _full(status: int) -> ApiError:
    return ApiError(
        status,
        "Too many requests are under way, or other work such as an erasure or `configure` holds "
        "what they need; try again.",
        headers={"Retry-After": "5"},
    )
