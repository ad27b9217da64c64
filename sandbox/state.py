"""All that a sandbox knows: the world, what each platform has taken, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

from sandbox.events import Events
from sandbox.faults import Faults
from sandbox.google import Google
from sandbox.graph import DEFAULT_TOKENS, Graph, Token
from sandbox.limits import Limits
from sandbox.posthog import Posthog
from sandbox.requests import Requests
from sandbox.restate import restatement
from sandbox.world import Clock, World

DEFAULT_START = date(2026, 7, 1)


class State:
    """What the servers answer from; `control` and tests change it while they run."""

    def __init__(
        self,
        world: World | None = None,
        *,
        clock: Clock | None = None,
        tokens: dict[str, Token] | None = None,
        latency: float = 0.0,
        empty_pages: bool = True,
    ) -> None:
        self.world = world or World(DEFAULT_START)
        self.clock = clock or Clock()
        self.tokens = dict(DEFAULT_TOKENS if tokens is None else tokens)
        self.latency = latency
        self.requests = Requests()
        self.graph = Graph(self.world, self.clock, self.tokens, empty_pages=empty_pages)
        self.google = Google(self.clock)
        self.posthog = Posthog()
        self._at_first = (dict(self.tokens), latency)

    @property
    def limits(self) -> Limits:
        """How much it computes at once, and how many calls it takes."""
        return self.graph.limits

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self.graph.faults

    @property
    def events(self) -> Events:
        """The conversions that it has taken."""
        return self.graph.events

    def pixel_sent(self, pixel: str, event_name: str, event_id: str) -> None:
        """The pixel in a browser sends an event now; see `Events.pixel_sent`."""
        self.events.pixel_sent(pixel, event_name, event_id, self.clock.now())

    def set_usage(
        self, account_id: str, percent: float | None, minutes: float | None = None
    ) -> None:
        """Let the usage headers of an account say this; see `usage.Usage.set`."""
        self.graph.usage.set(account_id, percent, self.clock.now(), minutes)

    def restate(
        self,
        account_id: str,
        *,
        days: Iterable[date | str] | None = None,
        ads: Iterable[str] | None = None,
        percent: int = 7,
        vanish: Iterable[str] = (),
    ) -> None:
        """From now on these ads (None: all) have other figures on these days (None: all).

        Those in `vanish` have no row on them. What was restated before stays restated.
        """
        if account_id not in self.world.accounts:
            raise ValueError(f"there is no account {account_id}")
        change = restatement(
            None if days is None else list(days),
            None if ads is None else list(ads),
            percent,
            list(vanish),
        )
        self.world.restate(account_id, change)

    def reset(self) -> None:
        """As if it had just started, its tokens and latency too; the time of its clock stays."""
        self.graph.reset()
        self.google.reset()
        self.posthog.reset()
        self.requests.clear()
        tokens, self.latency = self._at_first
        self.tokens.clear()
        self.tokens.update(tokens)
        self.world.forget_restatements()
        self.world.hide(())
        self.clock.advance_per_request = timedelta(0)
