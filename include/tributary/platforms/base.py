"""What a destination platform is: the protocol that each folder below `platforms/` implements.

A platform is a `Platform` object: its rules, the form of its requests, what its errors ask for and
what its outcomes mean. It is stateless, knows no database and no Airflow, and imports no SDK; a
`Sender`, made for each thread, holds the client. `registry` lists the platforms; the platform's
`hook.py` makes clients from an Airflow connection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar
from uuid import UUID

from tributary.errors import TributaryError
from tributary.platforms.settings import DestinationSettings

if TYPE_CHECKING:
    from tributary.event import Event

S = TypeVar("S", bound=DestinationSettings)


class Platform(ABC, Generic[S]):
    """One platform that conversions are sent to; `S` are the settings of a destination there."""

    # Who it is.
    name: ClassVar[str]  # in the settings file and in `ops.destinations`
    title: ClassVar[str]  # for people
    settings: type[S]  # its part of the settings file
    connection: ClassVar[ConnectionType]
    errors: ClassVar[type[PlatformError]]  # the root of the tree of its errors

    # What it takes.
    longest_age: ClassVar[timedelta]  # since the event, of any kind
    kinds: ClassVar[frozenset[str]] = frozenset({"conversion"})
    dedup_window: ClassVar[timedelta | None] = None  # it drops repeats so long; None: for ever
    first_adjustment: ClassVar[timedelta] = timedelta(0)  # it refuses one sooner after its original
    max_batch: ClassVar[int]  # events of one request
    client_options: ClassVar[Mapping[str, Any]] = {}  # of the client that an upload uses
    match_keys: ClassVar[MatchKeys | None] = None  # None: it does not match events to ad clicks
    place_key: ClassVar[str | None] = None  # the setting that says which account counts the events

    @abstractmethod
    def deadline(self, event: Event) -> datetime:
        """The moment after which the platform refuses the event."""

    @abstractmethod
    def addressable(self, event: Event) -> bool:
        """Whether the event identifies somebody to the platform."""

    def batch_key(self, event: Event) -> str:
        """Events of one request have the same key."""
        return ""

    def flaw(self, event: Event) -> str | None:
        """The code with which the platform would refuse the event; None: none is known."""
        return None

    @abstractmethod
    def places(self, settings: S) -> Mapping[str, str]:
        """Where the platform counts a destination's events, in words, by event name; `*`: all."""

    def counts_twice(self, one: S, other: S, place: str, brands: set[str]) -> str:
        """Why two active destinations may not both send to `place`, in a sentence; empty: they may.

        Args:
            brands: the slugs of their brands, one or two.
        """
        return ""

    def test_mode(self, settings: S) -> str | None:
        """What marks all that this destination sends as a test, for people; None: nothing does.

        The text goes on from "The destination acme-meta".
        """
        return None

    # How it is sent to.

    @abstractmethod
    def sender(self, client: Any, settings: S) -> Sender:
        """A sender for one thread, with a client of its own (of the platform's own hook)."""

    @abstractmethod
    def send_test_event(self, client: Any, settings: S, event: Event, code: str | None) -> str:
        """Send one event that the platform does not count; says what it answered.

        Args:
            event: a page view of a person who does not exist.
            code: a test code that the person gave, for platforms that have such.

        Raises:
            SettingsError: nothing would mark the event as a test.
            TributaryError: the platform refuses it.
        """

    has_match_quality: ClassVar[bool] = False  # whether it has scores

    def match_quality(self, client: Any, settings: S) -> dict[str, float]:
        """The platform's own scores, out of 10, of how well it can match events, by event name.

        Raises:
            PlatformError: the credentials may not read them.
        """
        return {}

    # What its outcomes mean.

    @abstractmethod
    def meaning(self, code: str) -> Meaning | None:
        """What a code of the platform's own means; None: it has no rule for it."""

    @abstractmethod
    def codes(self) -> Iterable[str]:
        """Every code that the platform's error tables name; each has a `meaning`."""


class Sender(ABC):
    """Sends one thread's events to one destination."""

    quota: Quota | None = None  # what its requests are counted against

    @abstractmethod
    def send(self, events: Sequence[Event]) -> Sent:
        """Make one request.

        Returns:
            Verdicts by event id for those that are not simply `sent / accepted`, and the answer.

        Raises:
            PlatformError: nothing is known to be taken; its `action` says what to do.
        """

    def poll(self, request_id: str) -> RequestStatus:
        """Ask how the platform processed a request whose answer had a `poll_after`.

        Raises:
            StatusGone: the platform does not know the request (any more).
            PlatformError: the status cannot be read now.
        """
        raise StatusGone("The platform processes each request before it answers.")


def send_one(sender: Sender, event: Event, destination: str) -> Answer:
    """Send a single event, for a test.

    Raises:
        TributaryError: the platform refuses it.
    """
    verdicts, answer = sender.send([event])
    for one in verdicts.values():
        if one.error:
            raise TributaryError(f"{destination}: {one.error} ({one.outcome})")
    return answer


class Verdict(NamedTuple):
    """The new state of a delivery."""

    sync_status: str
    outcome: str | None = None
    error: str | None = None
    trace_id: str | None = None
    counts: bool = False  # whether it is one of the five verdicts about the event itself
    unknown: bool = False  # whether the platform may have taken it all the same
    wait: timedelta | None = None  # until the next try, where that is known


class Answer(NamedTuple):
    """How a request ended, for its row in `ops.upload_batches`."""

    http_status: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    # Where the platform processes the request later: how long to wait before asking about it.
    poll_after: timedelta | None = None
    warnings: Sequence[str] = ()


Sent = tuple[Mapping[UUID, Verdict], Answer]


@dataclass(frozen=True)
class RequestStatus:
    """How a platform processed a request: counts of its events by reason, not the events."""

    state: str  # in the platform's words
    rows: int  # events of the request
    errors: Mapping[str, int]  # events by reason
    warnings: Mapping[str, int]
    has_ended: bool  # whether the status is final
    verdict: Verdict | None = None  # of each of the events; None: the counts do not say
    unknown_reasons: Sequence[str] = ()  # that this project has no rule for
    pause_reason: str | None = None  # why the destination must stop until a person acts


class Quota(NamedTuple):
    """How many requests a project may make; destinations may share it."""

    project: str
    per_minute: int
    per_day: int


class Action(Enum):
    """What to do after a request that failed."""

    ISOLATE = "one of the events is refused: find it, deliver the others"
    DROP = "the events that are refused are named: send the others again"
    RETRY = "it may have been taken: send the same again while the platform drops duplicates"
    RECOUNT = "not all were taken: send the same again, then find out which"
    HOLD = "nothing was taken: leave the destination alone for a while"
    PAUSE = "a person must act: pause the destination, one probe per cool-down"

    @property
    def isolates(self) -> bool:
        """Whether halving the batch helps."""
        return self in (Action.ISOLATE, Action.RECOUNT)

    @property
    def is_unknown(self) -> bool:
        """Whether the request may have been carried out."""
        return self in (Action.RETRY, Action.RECOUNT)


class PlatformError(TributaryError):
    """A platform's answer that is not the one hoped for. Each class of a platform says its action.

    Attributes:
        action: what an upload does; without one the class cannot be raised by a sender.
        is_final: an event that is refused alone with this error will never be taken.
        is_throttle: the platform only wants fewer requests: no person has to act.
        is_unknown_code: the platform gave a code that has no rule; the maintainers must add one.
        label: the platform's code, such as `100/2804009`, or what happened, such as `no_answer`.
    """

    action: Action
    is_final = False
    is_throttle = False
    is_unknown_code = False
    label: str
    http_status: int | None = None
    trace_id: str | None = None


class EventsRefused(PlatformError):
    """A request of which nothing was taken, since some of its events are refused.

    Attributes:
        verdicts: by event id, for each of those.
    """

    action = Action.DROP

    def __init__(self, error: PlatformError, verdicts: Mapping[UUID, Verdict]) -> None:
        super().__init__(str(error))
        self.verdicts = verdicts
        self.http_status, self.trace_id, self.label = error.http_status, error.trace_id, error.label


class QuotaReached(PlatformError):
    """By our own count the platform would refuse another request now."""

    action = Action.HOLD
    label = "quota"
    is_throttle = True
    retryable = True

    def __init__(self, project: str, wait: float) -> None:
        super().__init__(
            f"The quota of requests of the project {project} is used up; other destinations may "
            f"share it. The next request may leave in {wait:.0f} s."
        )
        self.wait = wait


class StatusGone(PlatformError):
    """The platform does not know the request whose status is asked for."""

    action = Action.PAUSE
    label = "status_gone"


class Meaning(NamedTuple):
    """An outcome explained to a person, in two short sentences."""

    means: str
    to_do: str


class MatchKeys(NamedTuple):
    """The fields of an event by which a platform matches it to a person and a click."""

    email: tuple[str, str]  # path in `user_hashes`
    phone: tuple[str, str]
    click_ids: tuple[str, ...]  # columns


@dataclass(frozen=True)
class ConnectionType:
    """A type of Airflow connection: its form, and the hook behind *Test*."""

    conn_type: str
    title: str
    hook: str  # import path of the class; the only part of a platform that imports Airflow
    hidden: tuple[str, ...]  # of Airflow's own fields
    relabeled: Mapping[str, str] = field(default_factory=dict)
    placeholders: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Field] = field(default_factory=dict)  # of the extra


class Field(NamedTuple):
    """A field of a connection's extra."""

    label: str
    secret: bool = False
