"""The official library's own request to PostHog's `/batch/`, made once.

The library's queue sends from a thread of its own and does not report what happened to an event;
its request does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import requests
from urllib3.exceptions import NewConnectionError

from tributary.platforms.posthog.errors import (
    PosthogKeyRefused,
    PosthogNotThere,
    PosthogQuotaReached,
    PosthogRefused,
    PosthogThrottled,
    PosthogTransient,
    PosthogUnreachable,
)

# The library logs bodies, and with them ids of people, at lower levels.
logging.getLogger("posthog").setLevel(logging.WARNING)


class Posthog:
    """One project of a PostHog; each thread has an instance of its own."""

    def __init__(
        self, key: str, host: str | None, *, who: str, timeout: tuple[float, float] | float = 60
    ) -> None:
        self._key, self._host, self._who, self._timeout = key, host, who, timeout
        self._session = requests.Session()  # the library's own would repeat requests by itself
        self._session.max_redirects = 0  # one would turn the POST into a GET

    def check(self) -> None:
        """Ask whether the key is of a project: `/batch/` takes, and drops, those of none.

        Raises:
            PosthogError: the key is refused, or no answer came.
        """
        answer = self._post("/flags/?v=2", distinct_id="tributary", disable_flags=True)
        if answer.status_code == 400:
            raise self._not_there(400)
        if answer.status_code != 404:  # a PostHog of one's own may be older than this path
            self._raise_for(answer)

    def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """One request; PostHog takes all of it or nothing.

        Raises:
            PosthogError: it took nothing, or its answer is lost.
        """
        answer = self._post("/batch/", batch=list(events))
        self._raise_for(answer)
        try:
            said = answer.json()
        except ValueError:
            said = None
        if not isinstance(said, dict) or "status" not in said:
            raise PosthogTransient("PostHog's answer cannot be read.", http_status=200)
        if "events" in (said.get("quota_limited") or []):
            raise PosthogQuotaReached(
                f"The events that PostHog takes of {self._who} are used up, and it drops what is "
                "sent: raise the project's limit under Billing."
            )

    def _post(self, path: str, **body: Any) -> requests.Response:
        from posthog.request import post  # slow to import

        try:
            return post(
                self._key,
                self._host,
                path,
                gzip=path == "/batch/",
                timeout=self._timeout,  # type: ignore[arg-type]
                session=self._session,
                **body,
            )
        except requests.TooManyRedirects:
            raise self._not_there() from None
        except requests.RequestException as error:
            # Its text has the URL: only the kind of failure is kept.
            never_left = isinstance(error, requests.ConnectTimeout) or isinstance(
                getattr(next(iter(error.args), None), "reason", None), NewConnectionError
            )
            if never_left:
                raise PosthogUnreachable(
                    f"PostHog cannot be reached: check the host of {self._who}, proxy and firewall."
                ) from None
            raise PosthogTransient(f"PostHog did not answer ({type(error).__name__}).") from None

    def _raise_for(self, answer: requests.Response) -> None:
        """An answer that is not a yes, as an error; its words, which may quote events, are left."""
        status = answer.status_code
        if status == 200:
            return
        if status in (401, 403):
            raise PosthogKeyRefused(
                f"PostHog refuses the project key of {self._who}: put the key that begins with "
                "phc_ into its password field.",
                http_status=status,
            )
        if status == 429:
            raise PosthogThrottled(
                f"PostHog throttles {self._who}.", http_status=status, wait=_seconds(answer)
            )
        if status >= 500:
            raise PosthogTransient("PostHog had a temporary failure.", http_status=status)
        if status in (400, 413):
            raise PosthogRefused("PostHog refuses an event.", http_status=status)
        raise self._not_there(status)

    def _not_there(self, status: int | None = None) -> PosthogNotThere:
        return PosthogNotThere(
            f"The host of {self._who} is not PostHog's: it is https://us.i.posthog.com, "
            "https://eu.i.posthog.com, or that of your own.",
            http_status=status,
        )


def _seconds(answer: requests.Response) -> float | None:
    """What `Retry-After` asks for, where it is a number."""
    said = answer.headers.get("Retry-After", "")
    return float(said) if said.replace(".", "", 1).isdigit() else None
