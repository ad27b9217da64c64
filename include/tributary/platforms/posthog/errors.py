"""PostHog's answers that are not a success, and what to do about each.

PosthogError                 HTTP status; never a key or an identifier
├── PosthogTransient         an outage or a lost answer: send the same again, its uuid is known
│   └── PosthogUnreachable   the request never left
├── PosthogThrottled         too many requests: wait `wait` seconds (None: no hint was given)
├── PosthogKeyRefused        the project key is wrong: a person must replace it
├── PosthogNotThere          the host answers, and is no PostHog: a person must correct it
├── PosthogQuotaReached      the project's quota of events is used up: a person must look
└── PosthogRefused           one of the events, or the size of all, is refused

https://posthog.com/docs/api/capture
"""

from __future__ import annotations

from tributary.platforms.base import Action, PlatformError


class PosthogError(PlatformError):
    """An answer of PostHog that is not a yes."""

    label = "no_answer"  # for tables, where there is no HTTP status

    def __init__(
        self, text: str, *, http_status: int | None = None, wait: float | None = None
    ) -> None:
        super().__init__(f"{text} (HTTP {http_status})" if http_status else text)
        self.http_status = http_status
        self.wait = wait
        if http_status not in (None, 200):
            self.label = f"http_{http_status}"


class PosthogTransient(PosthogError):
    """An outage, a dropped connection or an unreadable answer."""

    action = Action.RETRY
    retryable = True


class PosthogUnreachable(PosthogTransient):
    """No connection came about: nothing can have been taken."""

    action = Action.HOLD
    label = "unreachable"


class PosthogThrottled(PosthogError):
    """Too many requests."""

    action = Action.HOLD
    is_throttle = True
    retryable = True


class PosthogKeyRefused(PosthogError):
    """The project key is missing, malformed, or of no project."""

    action = Action.PAUSE


class PosthogNotThere(PosthogError):
    """Something else than PostHog answers at the connection's host."""

    action = Action.PAUSE


class PosthogQuotaReached(PosthogError):
    """PostHog answers yes and drops the events, since the quota is used up."""

    action = Action.PAUSE
    label = "quota"


class PosthogRefused(PosthogError):
    """An event is malformed, or the request is too large; PostHog takes nothing of it."""

    action = Action.ISOLATE
