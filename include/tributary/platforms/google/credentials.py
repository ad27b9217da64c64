"""OAuth for Google: an access token that is fetched before it is needed, and kept in memory alone.

The clients never refresh by themselves: a gRPC client reports a revoked refresh token as 503
UNAVAILABLE, which looks like an outage. Here it is what it is, and costs one request.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import requests
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from google.auth.transport.requests import Request
from google.oauth2 import credentials as oauth2
from google.oauth2 import service_account

from tributary.errors import SettingsError
from tributary.platforms.google.errors import (
    GoogleAccessRefused,
    GoogleTokenRefused,
    GoogleUnreachable,
)

_Answer = TypeVar("_Answer")

DATA_MANAGER = "https://www.googleapis.com/auth/datamanager"
ADS = "https://www.googleapis.com/auth/adwords"

_OAUTH_SERVER = "https://oauth2.googleapis.com/token"
_INSTALLED = ("client_id", "client_secret", "refresh_token")

# One access token per credentials and process: (digest of what they are) → google-auth's object.
_known: dict[str, Any] = {}
_lock = threading.Lock()


class Access:
    """The credentials of one connection, in the form in which requests need them.

    Args:
        extra: of the connection: `client_id`, `client_secret` and `refresh_token`, or
            `service_account_json` (the key file's text); `token_uri` for another OAuth server.
        host: the connection's; with plain http it is the sandbox, which needs no login unless
            a `token_uri` is given.
        scope: `DATA_MANAGER` or `ADS`.
        who: how errors name these credentials, such as "connection 'google_acme'".

    Raises:
        SettingsError: what is there cannot be used.
    """

    def __init__(self, extra: Mapping[str, Any], *, host: str | None, scope: str, who: str) -> None:
        self.who = who
        self._scope = scope
        self._extra = {key: value for key, value in extra.items() if value}
        self.is_anonymous = bool(host and host.startswith("http://")) and not self._extra.get(
            "token_uri"
        )
        self._key_file = self._service_account()
        if not self.is_anonymous and self._key_file is None:
            missing = [name for name in _INSTALLED if not self._extra.get(name)]
            if missing:
                raise SettingsError(
                    f"{who} lacks {', '.join(missing)}: fill them in, or service_account_json."
                )

    @property
    def project(self) -> str:
        """The Google Cloud project whose quotas the requests use up.

        A client id begins with its project's number; a service account names its project.
        """
        if self._key_file is not None:
            return str(self._key_file.get("project_id") or self.who)
        client_id = str(self._extra.get("client_id") or "")
        return client_id.split("-", 1)[0] or self.who

    def token(self) -> str | None:
        """A valid access token; None where no login is needed.

        Raises:
            GoogleTokenRefused: the refresh token or the service account is refused.
            GoogleUnreachable: the OAuth server does not answer.
        """
        if self.is_anonymous:
            return None
        with _lock:
            found = _known.get(self._digest)
            if found is None:
                found = _known[self._digest] = self._made()
            if not found.valid:
                self._refresh(found)
            return str(found.token)

    def refused(self, token: str | None) -> None:
        """Google refuses this access token: the next one is fetched anew."""
        with _lock:
            found = _known.get(self._digest)
            if found is not None and found.token == token:
                del _known[self._digest]

    def with_token(self, ask: Callable[[str | None], _Answer]) -> _Answer:
        """Ask with a valid access token; once more with a new one where Google refuses that.

        Args:
            ask: makes the request with the token that it is given; None: without a login.

        Raises:
            GoogleAccessRefused: the new one is refused, too.
            GoogleError: as `token` and `ask`.
        """
        for attempt in (1, 2):
            token = self.token()
            try:
                return ask(token)
            except GoogleAccessRefused:
                self.refused(token)
                if token is None or attempt == 2:
                    raise
        raise AssertionError("unreachable: the second try returns or raises")

    @property
    def _digest(self) -> str:
        text = json.dumps([self._scope, self._extra], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _service_account(self) -> dict[str, Any] | None:
        given = self._extra.get("service_account_json")
        if given is None:
            return None
        try:
            found = json.loads(given) if isinstance(given, str) else dict(given)
        except (ValueError, TypeError):
            found = None
        if not isinstance(found, dict) or found.get("type") != "service_account":
            raise SettingsError(
                f"service_account_json of {self.who} is no service account's key: put the whole "
                "text of the JSON key file there, not its path."
            )
        return found

    def _made(self) -> Any:
        if self._key_file is not None:
            info = dict(self._key_file)
            if uri := self._extra.get("token_uri"):
                info["token_uri"] = uri
            try:
                return service_account.Credentials.from_service_account_info(
                    info, scopes=[self._scope]
                )
            except (ValueError, GoogleAuthError):
                raise SettingsError(
                    f"service_account_json of {self.who} has no usable private key."
                ) from None
        return oauth2.Credentials(
            None,
            refresh_token=self._extra["refresh_token"],
            client_id=self._extra["client_id"],
            client_secret=self._extra["client_secret"],
            token_uri=self._extra.get("token_uri") or _OAUTH_SERVER,
        )

    def _refresh(self, found: Any) -> None:
        try:
            found.refresh(Request(requests.Session()))
        except RefreshError as error:
            if error.retryable:
                raise GoogleUnreachable(f"Google's OAuth server fails for {self.who}") from None
            _known.pop(self._digest, None)
            raise GoogleTokenRefused(
                f"Google refuses the credentials of {self.who}: its refresh token (or service "
                "account) was revoked or has expired. Give consent anew and put the new refresh "
                "token into the connection.",
                code=_oauth_code(error),
            ) from None
        except TransportError:
            raise GoogleUnreachable(
                f"Google's OAuth server could not be reached for {self.who}"
            ) from None


def _oauth_code(error: RefreshError) -> str:
    """`invalid_grant` and the like; never the rest of the answer."""
    answer = error.args[1] if len(error.args) > 1 else None
    code = answer.get("error") if isinstance(answer, Mapping) else None
    return code if isinstance(code, str) and code.replace("_", "").isalpha() else "oauth"


def login_customer_id(extra: Mapping[str, Any]) -> str | None:
    """The manager account of a connection's extra, digits only."""
    digits = "".join(filter(str.isdecimal, str(extra.get("login_customer_id") or "")))
    return digits or None
