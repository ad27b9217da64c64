"""Which event a destination takes, until when, and what each refusal of a platform asks of us.

Consent (the design's rule): `ad_user_data` refused: nothing leaves. Never asked: the brand's
`consent_when_unknown`, and always no where `always_require_consent_in` names the person's country.
`ad_personalization` is judged alike and travels with the event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

from tributary.errors import TributaryError
from tributary.platforms.google import errors as google_errors
from tributary.platforms.google import rules as google
from tributary.platforms.meta import conversions as meta
from tributary.platforms.meta import errors as meta_errors
from tributary.platforms.posthog import errors as posthog_errors
from tributary.platforms.posthog import events as posthog

Event = Mapping[str, Any]

# https://eur-lex.europa.eu/eli/agree_internation/1994/1/oj: the EU's members and IS, LI, NO.
_EEA = {
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS",
    "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
}  # fmt: skip


class Rules(NamedTuple):
    """What a platform takes."""

    longest_age: timedelta  # how long after it happened, an event of any kind
    deadline: Callable[[Event], datetime]
    addressable: Callable[[Event], bool]  # whether the event can identify somebody
    kinds: frozenset[str] = frozenset({"conversion"})
    batch_key: Callable[[Event], str] = lambda event: ""  # what one request may not mix
    # How long what comes twice is dropped; None: for ever, an order's id is known for good.
    dedup_window: timedelta | None = None


_META_RULES = Rules(
    meta.LONGEST_AGE, meta.deadline, meta.addressable, dedup_window=meta.DEDUP_WINDOW
)
_RULES = {
    "meta": _META_RULES,
    "google_data_manager": Rules(
        google.LONGEST_AGE,
        google.deadline,
        google.addressable_by_address,
        frozenset({"conversion", "adjustment"}),
        google.data_manager_batch,
    ),
    "google_ads": Rules(
        google.LONGEST_AGE,
        google.deadline,
        google.addressable,
        frozenset({"conversion", "adjustment", "enhancement"}),
        google.ads_batch,
    ),
    "posthog": Rules(posthog.LONGEST_AGE, posthog.deadline, posthog.addressable),
}


def rules_of(platform: str) -> Rules:
    """The rules of a platform; Meta's for one that has none of its own."""
    return _RULES.get(platform, _META_RULES)


class Consent(NamedTuple):
    """What a person allows, with the unknown decided."""

    user_data: bool
    personalization: bool


def consent_of(
    said: Mapping[str, Any], brand: Mapping[str, Any], now: Mapping[str, Any] | None = None
) -> Consent:
    """What holds for an event.

    Args:
        said: the event's own `consent`: both answers (true, false, null) and `required`, whether
            the person is where an unknown consent means no.
        brand: the brand's settings.
        now: the answers of the person's profile today, which win where there are any.
    """
    unknown = not said.get("required") and brand.get("consent_when_unknown") == "allow"

    def answer(key: str) -> bool:
        for source in (now or {}, said):
            if source.get(key) is not None:
                return bool(source[key])
        return unknown

    return Consent(answer("ad_user_data"), answer("ad_personalization"))


def consent_required(country: str | None, brand: Mapping[str, Any]) -> bool:
    """Whether an unknown consent always means no for a person of that country (alpha-2)."""
    where = brand.get("always_require_consent_in", ["EEA", "GB", "CH"])
    return country is not None and (country in where or ("EEA" in where and country in _EEA))


def widest_window(platforms: set[str]) -> timedelta:
    """How far back an event may lie that any of these platforms still takes."""
    return max((rules_of(platform).longest_age for platform in platforms), default=timedelta(0))


class FirstState(NamedTuple):
    """A delivery as it is born."""

    sync_status: str
    outcome: str | None
    deadline: datetime
    batch_key: str
    due: datetime  # not before it happened: platforms refuse what lies ahead of their own clock


def first_state(event: Event, destination: Any, now: datetime) -> FirstState:
    """`pending`, or `skipped` with the reason why the event is rightly not sent.

    Args:
        event: a row of `ops.conversion_events`.
        destination: a `destinations.Destination`.
    """
    rules = rules_of(destination.platform)
    until = rules.deadline(event)
    outcome = None
    if event.get("erased_at"):
        outcome = "erased"
    elif refusal := not_taken(event, destination):
        outcome = refusal
    elif event["is_test"] and not destination.is_for_tests:
        outcome = "test"
    elif not consent_of(event["consent"], destination.brand_settings).user_data:
        outcome = "no_consent"
    elif not rules.addressable(event):
        outcome = "unaddressable"
    elif event["event_time"] < destination.send_from:
        outcome = "before_send_from"
    elif until <= now:
        outcome = "expired"
    status = "skipped" if outcome else "pending"
    due = max(now, event["event_time"])
    return FirstState(status, outcome, until, rules.batch_key(event), due)


def not_taken(event: Event, destination: Any) -> str | None:
    """The outcome of an event whose name or kind the destination does not take; None: it does."""
    if event["kind"] not in rules_of(destination.platform).kinds:
        return "not_adjustable" if event["kind"] == "adjustment" else "not_mapped"
    events = destination.settings.get("events")
    return None if events is None or event["event_name"] in events else "not_mapped"


class Action(Enum):
    """What a failed request asks of us."""

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


class SomeRefused(TributaryError):
    """A request of which nothing was taken, since some of its events are refused.

    Attributes:
        verdicts: by event id, an `outbox.Verdict` for each of those.
    """

    def __init__(
        self, error: google_errors.GoogleEventsRefused, verdicts: Mapping[Any, Any]
    ) -> None:
        super().__init__(str(error))
        self.verdicts = verdicts
        self.http_status, self.trace_id, self.label = error.http_status, error.trace_id, error.label


class QuotaReached(TributaryError):
    """Our own count says that the platform would refuse another request now."""

    label = "quota"
    retryable = True

    def __init__(self, project: str, wait: float) -> None:
        super().__init__(
            f"The requests that the project {project} may make are used up; others may share it. "
            f"The next may leave in {wait:.0f} s."
        )
        self.wait = wait


_ACTIONS: dict[type[TributaryError], Action] = {
    SomeRefused: Action.DROP,
    QuotaReached: Action.HOLD,
    google_errors.GoogleTransient: Action.RETRY,
    google_errors.GoogleUnreachable: Action.HOLD,
    google_errors.GoogleThrottled: Action.HOLD,
    google_errors.GoogleTokenRefused: Action.PAUSE,
    google_errors.GoogleForbidden: Action.PAUSE,
    google_errors.GoogleRefused: Action.ISOLATE,
    google_errors.GoogleUnknown: Action.ISOLATE,
    meta_errors.MetaRefused: Action.ISOLATE,
    meta_errors.MetaUnknown: Action.ISOLATE,
    meta_errors.MetaTooMuchData: Action.ISOLATE,
    meta_errors.MetaThrottled: Action.HOLD,
    meta_errors.MetaUnreachable: Action.HOLD,
    meta_errors.MetaTransient: Action.RETRY,
    meta_errors.MetaShortfall: Action.RECOUNT,
    meta_errors.MetaBlocked: Action.PAUSE,
    meta_errors.MetaTokenRefused: Action.PAUSE,
    meta_errors.MetaForbidden: Action.PAUSE,
    posthog_errors.PosthogRefused: Action.ISOLATE,
    posthog_errors.PosthogThrottled: Action.HOLD,
    posthog_errors.PosthogUnreachable: Action.HOLD,
    posthog_errors.PosthogTransient: Action.RETRY,
    posthog_errors.PosthogKeyRefused: Action.PAUSE,
    posthog_errors.PosthogNotThere: Action.PAUSE,
    posthog_errors.PosthogQuotaReached: Action.PAUSE,
}


def action_for(error: TributaryError) -> Action:
    """What a platform's error asks for; the nearest class of the error's own tree decides."""
    code = getattr(error, "code", None)
    if type(error) is meta_errors.MetaRefused and code != 100:
        return Action.PAUSE  # not of an event: an ended version, a proxy's own answer
    for kind in type(error).__mro__:
        if kind in _ACTIONS:
            return _ACTIONS[kind]
    raise error


def is_final(error: TributaryError) -> bool:
    """Whether an event refused alone with this error will never be taken."""
    return isinstance(error, meta_errors.MetaEventRefused)


def is_throttle(error: TributaryError) -> bool:
    """Whether the platform only wants us to be slower: nothing that a person must mend."""
    slower = (
        meta_errors.MetaThrottled,
        google_errors.GoogleThrottled,
        posthog_errors.PosthogThrottled,
        QuotaReached,
    )
    return isinstance(error, slower) and not isinstance(error, meta_errors.MetaBlocked)


def outcome_of(error: TributaryError) -> str:
    """The platform's code, such as `100/2804009`, or what stands in its place."""
    return str(getattr(error, "label", type(error).__name__))


def is_unknown(error: TributaryError) -> bool:
    """Whether a platform gave a code that has no rule here: somebody must write one."""
    return isinstance(error, google_errors.GoogleUnknown | meta_errors.MetaUnknown)
