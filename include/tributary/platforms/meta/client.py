"""A hardened Graph client over facebook-business' session.

The SDK supplies the session, its API version, `appsecret_proof` and the certificate bundle. What
it does not do is done here: timeouts; the token in a header (the SDK puts it into every URL, from
where it reaches proxies' logs); the HTTP status checked as well as the body (the SDK takes a 502
whose JSON has no `error` for a success); paging until `next` is gone (the SDK stops at an empty
page) or leads nowhere new; errors without the request's contents. The SDK's crash reporter is never
installed.

It also governs its own pace: every answer's usage headers are read, failed ones' too, and pauses
grow smoothly as a limit is neared. At the limit it stops with `MetaThrottled`, which carries the
platform's own hint of how long; waiting is the caller's business, so that a worker slot is freed.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import requests
from facebook_business.api import FacebookAdsApi
from facebook_business.session import FacebookSession
from tenacity import RetryCallState, Retrying, retry_if_exception
from tenacity.wait import wait_random_exponential
from urllib3.exceptions import NewConnectionError

from tributary.config import cap_on_waits
from tributary.platforms.meta import usage
from tributary.platforms.meta.errors import (
    MetaCursorExpired,
    MetaError,
    MetaRefused,
    MetaThrottled,
    MetaTokenRefused,
    MetaTransient,
    MetaUnknown,
    MetaUnreachable,
    from_answer,
    redacted,
)

log = logging.getLogger(__name__)

Row = dict[str, Any]

_JSON = {"Content-Type": "application/json"}
_SECRET_PARAMETERS = {"access_token", "appsecret_proof"}
_SHORTEST_WAIT = 0.05
# Empty pages in a row that all have a `next`: after so many the listing has ended.
_EMPTY_PAGES = 3
_SECONDS_BETWEEN_LOG_LINES = 60
_backoff = wait_random_exponential(multiplier=1, max=20)


class Graph:
    """One connection's way into the Graph API.

    Args:
        access_token: sent as `Authorization: Bearer`, never in a URL.
        app_secret: when given, every call carries `appsecret_proof`.
        api_version: such as `v26.0`; the SDK's own when absent.
        host: base URL, for a proxy or the sandbox; Meta's own when absent.
        who: how errors name these credentials, such as "connection meta_acme".
        timeout: seconds to connect and to wait for bytes.
        attempts: tries of a call that fails for a passing reason; two for an unknown one.
        sleep: how to wait between calls, in seconds.
        clock: seconds that pass, by which long work is logged once a minute.

    Raises:
        MetaTokenRefused: what was given cannot be a token at all.
    """

    def __init__(
        self,
        access_token: str,
        *,
        app_id: str | None = None,
        app_secret: str | None = None,
        api_version: str | None = None,
        host: str | None = None,
        who: str = "the connection",
        timeout: tuple[float, float] = (10, 120),
        attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        access_token = access_token.strip()  # a pasted line break is no part of it
        if not re.fullmatch(r"[!-~]+", access_token):
            raise MetaTokenRefused(
                f"The access token of {who} is empty or has characters that no token has: "
                "put a valid one into its password field."
            )
        self._session = FacebookSession(app_id, app_secret, access_token)
        self._http: requests.Session = self._session.requests
        self._http.params.pop("access_token")
        self._http.headers.update(FacebookAdsApi.HTTP_DEFAULT_HEADERS)
        self._http.auth = _Bearer(access_token)
        self._base = (host or FacebookSession.GRAPH).rstrip("/")
        self._version = api_version or FacebookAdsApi.API_VERSION
        self._who = who
        self._timeout = timeout
        self._attempts = attempts
        self._sleep = sleep
        self._clock = clock
        self._logged = clock()
        self.usage = usage.Usage()
        self.calls = 0

    @property
    def version(self) -> str:
        """The API version in use, such as `v26.0`."""
        return self._version

    def get(self, path: str, **params: Any) -> Row:
        """One GET below the version, such as `get("act_1", fields="name")`.

        Lists and dicts among the parameters are sent as JSON, as Graph wants them.

        Raises:
            MetaError: passing failures only after several tries.
        """
        return self._call("GET", f"{self._base}/{self._version}/{path}", _encoded(params))

    def post(self, path: str, **params: Any) -> Row:
        """One POST below the version, parameters as a form.

        Raises:
            MetaError: as `get`.
        """
        return self._call("POST", f"{self._base}/{self._version}/{path}", _encoded(params))

    def post_json(self, path: str, body: Row) -> Row:
        """One POST below the version with a JSON body.

        Raises:
            MetaError: as `get`.
        """
        return self._call("POST", f"{self._base}/{self._version}/{path}", orjson.dumps(body))

    def wait(self, seconds: float) -> None:
        """Wait before asking again (for a report, say), no longer than the cap on waits."""
        self._sleep(min(seconds, max(cap_on_waits(), _SHORTEST_WAIT)))

    def log_each_minute(self, text: str, *values: object) -> None:
        """Log a line of progress, unless one was logged within the last minute."""
        if self._clock() - self._logged >= _SECONDS_BETWEEN_LOG_LINES:
            self._logged = self._clock()
            log.info(text, *values)

    def listing(self, path: str, **params: Any) -> Listing:
        """An edge to be read page by page; nothing is asked for yet."""
        return Listing(self, path, f"{self._base}/{self._version}/{path}", _encoded(params))

    def pages(self, path: str, **params: Any) -> Iterator[list[Row]]:
        """The pages of an edge, to the last. A page may be empty and still not be the last.

        Raises:
            MetaError: as `get`.
        """
        listing = self.listing(path, **params)
        while not listing.ended:
            yield listing.read()

    def _call(self, method: str, url: str, params: dict[str, str] | bytes) -> Row:
        for attempt in Retrying(
            retry=retry_if_exception(_worth_another_try),
            stop=self._enough,
            wait=_capped_wait,
            sleep=self._sleep,
            before_sleep=_announce,
            reraise=True,
        ):
            with attempt:
                return self._call_once(method, url, params)
        raise AssertionError("unreachable: tenacity re-raises")

    def _enough(self, state: RetryCallState) -> bool:
        assert state.outcome is not None
        unknown = isinstance(state.outcome.exception(), MetaUnknown)
        return state.attempt_number >= (min(2, self._attempts) if unknown else self._attempts)

    def _call_once(self, method: str, url: str, params: dict[str, str] | bytes) -> Row:
        if self.usage.regain and self.usage.percent >= 100:
            wait, self.usage = self.usage.regain, usage.Usage()
            raise MetaThrottled(
                f"The limits of {self._who} are used up; access returns in {wait:.0f} s.", wait=wait
            )
        if self.usage.pause:
            self._sleep(min(self.usage.pause, cap_on_waits()))
        self.calls += 1
        try:
            response = self._http.request(
                method,
                url,
                params=params if method == "GET" else None,
                data=params if method == "POST" else None,
                headers=_JSON if isinstance(params, bytes) else None,
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            # Its text has the URL and may have headers: only the kind of failure is kept.
            never_left = isinstance(error, requests.ConnectTimeout) or isinstance(
                getattr(next(iter(error.args), None), "reason", None), NewConnectionError
            )
            kind: type[MetaError] = MetaUnreachable if never_left else MetaTransient
            raise kind(f"Meta could not be reached: {type(error).__name__}") from None
        self.usage = usage.read(response.headers)
        answer = _decoded(response.content)
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            wait, self.usage = self.usage.regain, usage.Usage(self.usage.percent)
            raise from_answer(
                answer["error"],
                http_status=response.status_code,
                who=self._who,
                wait=wait or _seconds(response.headers.get("Retry-After")),
                quote=not isinstance(params, bytes),
            )
        if response.status_code == 429:
            raise MetaThrottled(
                f"Meta throttles {self._who}",
                http_status=429,
                wait=_seconds(response.headers.get("Retry-After")),
            )
        if response.status_code != 200:
            kind = MetaTransient
            if response.status_code < 500 and response.status_code != 408:
                kind = MetaRefused
            raise kind(_instead_of_an_answer(response, answer), http_status=response.status_code)
        if not isinstance(answer, dict):
            raise MetaTransient("Meta's answer is not whole JSON", http_status=response.status_code)
        if isinstance(answer.get("error"), str):
            raise MetaTransient(
                _instead_of_an_answer(response, answer), http_status=response.status_code
            )
        return answer


class Listing:
    """The pages of an edge, one `read` at a time.

    `next` is followed with our own host and token: it carries the token in its query, and a token
    must not go to a host that an answer names. The listing ends where `next` is absent, where it
    leads to a page that was read before, and after three empty pages in a row: Meta has been seen
    to page in circles and for ever (what is missing then shows in the account's own totals).

    Attributes:
        after: the cursor of the next page; None for the first, and at the end.
        ended: whether the last page has been read.
    """

    def __init__(self, graph: Graph, path: str, url: str, query: dict[str, str]) -> None:
        self.after: str | None = query.get("after")
        self.ended = False
        self._graph, self._path, self._url, self._query = graph, path, url, query
        self._limit = query.get("limit", "25")  # Graph's own, where none is asked for
        self._seen: set[str] = set()
        self._pages = self._rows = self._empty = 0

    @property
    def limit(self) -> int:
        """Rows that a page may have."""
        return int(self._query.get("limit", self._limit))

    def change(self, **params: Any) -> None:
        """Ask for the next pages with other parameters, such as a smaller `limit`."""
        self._query = {**self._query, **_encoded(params)}

    def read(self) -> list[Row]:
        """The next page. A call that fails leaves the listing where it is.

        Raises:
            MetaError: as `Graph.get`.
        """
        answer = self._graph._call("GET", self._url, self._query)
        rows = answer.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise MetaTransient(
                f"Meta answered {self._path.split('/')[-1]} without a list of objects in `data`"
            )
        self._pages, self._rows = self._pages + 1, self._rows + len(rows)
        self._empty = 0 if rows else self._empty + 1
        self._seen.add(self._place())
        self._graph.log_each_minute(
            "%s: page %d, %d rows so far", self._path, self._pages, self._rows
        )
        self._follow(answer.get("paging"))
        return rows

    def _follow(self, paging: Any) -> None:
        following = paging.get("next") if isinstance(paging, dict) else None
        self.ended, self.after = not following, None
        if not following:
            return
        parts = urlsplit(following)
        self._url = self._graph._base + parts.path.removeprefix(urlsplit(self._graph._base).path)
        self._query = {k: v for k, v in parse_qsl(parts.query) if k not in _SECRET_PARAMETERS}
        self.after = self._query.get("after")
        if self._place() in self._seen:
            reason = "`next` leads to a page that was read before"
        elif self._empty == _EMPTY_PAGES:
            reason = f"{_EMPTY_PAGES} pages in a row were empty"
        else:
            return
        self.ended, self.after = True, None
        log.warning("%s ends after %d pages: %s", self._path, self._pages, reason)

    def _place(self) -> str:
        kept = sorted(item for item in self._query.items() if item[0] != "limit")
        return f"{self._url} {kept}"


def _instead_of_an_answer(response: requests.Response, answer: Any) -> str:
    """What came in place of Graph's JSON, and where to look; nothing of it that may be secret."""
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        return f"Meta answered with an error that has no code: {redacted(answer['error'])}"
    if response.is_redirect:
        host = urlsplit(response.headers["location"]).hostname or "another page of the same host"
        return (
            f"A redirect to {host} came in place of Graph's answer: a proxy or a login page is in "
            "the way. Check the connection's host and the network between"
        )
    kind = (response.headers.get("content-type") or "").split(";")[0]
    size = len(response.content)
    body = f"{size} bytes of {kind or 'undeclared content'}" if size else "an empty body"
    return (
        f"Meta answered without a word of why, with {body}: if it lasts, check the connection's "
        "host and the proxies between"
    )


def _decoded(content: bytes) -> Any:
    """The JSON of an answer; None when it is none.

    Half an emoji in a name (a lone surrogate) is no reason to refuse the whole page.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:
        return orjson.loads(
            json.dumps(json.loads(content), ensure_ascii=False).encode(errors="replace")
        )
    except ValueError:
        return None


class _Bearer(requests.auth.AuthBase):
    """Sets the header as the session's own auth: a bare header would give way to ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _encoded(params: dict[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for name, value in params.items()
        if value is not None
    }


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, MetaTransient | MetaUnknown) and not isinstance(
        error, MetaCursorExpired
    )


def _capped_wait(state: RetryCallState) -> float:
    return min(_backoff(state), cap_on_waits())


def _announce(state: RetryCallState) -> None:
    assert state.outcome is not None
    log.warning("try %d failed: %s", state.attempt_number, state.outcome.exception())
