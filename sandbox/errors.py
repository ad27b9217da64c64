"""Graph's refusals. One exception; a function for each refusal that several places make."""

from typing import Any

THROTTLED = {
    4: "(#4) Application request limit reached",
    17: "(#17) User request limit reached",
    613: "(#613) Calls to this api have exceeded the rate limit.",
    80000: "(#80000) There have been too many calls from this ad-account. Wait a bit and try "
    "again. For more info, please refer to "
    "https://developers.facebook.com/docs/graph-api/overview/rate-limiting.",
    80004: "(#80004) There have been too many calls to this ad-account. Wait a bit and try again. "
    "For more info, please refer to "
    "https://developers.facebook.com/docs/graph-api/overview/rate-limiting.",
}


class GraphError(Exception):
    """What Graph answers instead of data."""

    def __init__(
        self,
        message: str,
        code: int = 100,
        subcode: int | None = None,
        *,
        status: int = 400,
        kind: str = "OAuthException",
        transient: bool = False,
        bare: bool = False,
        user_title: str | None = None,
        user_message: str | None = None,
    ) -> None:
        """`bare`: the answer holds code and message only, as it does for some of code 1."""
        super().__init__(message)
        self.message, self.code, self.subcode = message, code, subcode
        self.status, self.kind, self.transient, self.bare = status, kind, transient, bare
        self.user_title, self.user_message = user_title, user_message

    def body(self, trace_id: str) -> dict[str, Any]:
        """The JSON body."""
        if self.bare:
            return {"error": {"code": self.code, "message": self.message}}
        error: dict[str, Any] = {"message": self.message, "type": self.kind, "code": self.code}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        error["is_transient"] = self.transient
        if self.user_title is not None:
            error["error_user_title"] = self.user_title
        if self.user_message is not None:
            error["error_user_msg"] = self.user_message
        error["fbtrace_id"] = trace_id
        return {"error": error}


def bad_parameter(text: str) -> GraphError:
    """Code 100."""
    return GraphError(f"(#100) {text}")


def not_one_of(name: str, allowed: tuple[str, ...], got: object) -> GraphError:
    """A parameter outside its enumeration."""
    return bad_parameter(f'Param {name} must be one of {{{", ".join(allowed)}}} - got "{got}".')


def no_such_object(object_id: str, method: str = "get") -> GraphError:
    """Unknown, or not for this token, or not capable of this: Graph does not say which."""
    return GraphError(
        f"Unsupported {method} request. Object with ID '{object_id}' does not exist, cannot be "
        "loaded due to missing permissions, or does not support this operation. Please read the "
        "Graph API documentation at https://developers.facebook.com/docs/graph-api",
        subcode=33,
        kind="GraphMethodException",
    )


def no_such_aliases(ids: list[str]) -> GraphError:
    """Some of `ids=` are unknown: then none of them is answered."""
    return GraphError(
        f"(#803) Some of the aliases you requested do not exist: {','.join(ids)}",
        code=803,
        status=404,
    )


def no_such_field(name: str, node_type: str) -> GraphError:
    """A field, or an edge, that the object does not have."""
    return bad_parameter(f"Tried accessing nonexisting field ({name}) on node type ({node_type})")


def forbidden() -> GraphError:
    """The account's owner has not let this token in."""
    return GraphError(
        "(#200) Ad account owner has NOT grant ads_management or ads_read permission",
        code=200,
        status=403,
    )


def token_expired() -> GraphError:
    """The token was good once."""
    return GraphError(
        "Error validating access token: Session has expired.", code=190, subcode=463, status=401
    )


def token_revoked() -> GraphError:
    """The token was good until its owner changed the password."""
    return GraphError(
        "Error validating access token: The session has been invalidated because the user changed "
        "their password or Facebook has changed the session for security reasons.",
        code=190,
        subcode=460,
        status=401,
    )


def blocked() -> GraphError:
    """Temporarily, for what Meta's policies forbid."""
    return GraphError(
        "(#368) The action attempted has been deemed abusive or is otherwise disallowed",
        code=368,
        subcode=1390008,
        user_title="Anda Diblokir Sementara",
        user_message="Sepertinya Anda menyalahgunakan fitur ini dengan terlalu sering.",
    )


def invalid_cursor() -> GraphError:
    """The place in a listing is not, or no longer, known."""
    return GraphError("(#2642) Invalid cursors values", code=2642)


def throttled(code: int, subcode: int | None = None) -> GraphError:
    """A rate limit was reached: HTTP 400, never 429."""
    return GraphError(THROTTLED[code], code, subcode)


def page_too_big() -> GraphError:
    """One page would hold too much."""
    return GraphError(
        "Please reduce the amount of data you're asking for, then retry your request",
        code=1,
        status=500,
        bare=True,
    )


def too_much_data() -> GraphError:
    """The call as a whole asks for too much."""
    return GraphError(
        "(#100) Please reduce the amount of data you're asking for, then retry your request",
        subcode=1487534,
        user_title="Too much data",
        user_message="Please reduce the amount of data you're asking for, then retry your request",
    )


def sync_timeout(code: int) -> GraphError:
    """An insights query that would take too long without a report: code 100 or code 2."""
    if code == 2:
        return GraphError("Service temporarily unavailable", 2, 1504038, status=500, transient=True)
    return GraphError(
        "(#100) The request timed out.",
        subcode=1504018,
        user_title="Your request timed out",
        user_message="Please try a smaller date range, fetch less data, or use async jobs.",
    )


def cursor_too_far() -> GraphError:
    """Paging goes on for longer than Graph lets it."""
    return GraphError(
        "(#100) The After Cursor specified exceeds the max limit supported by this endpoint",
        subcode=1487833,
    )


def broken_creative() -> GraphError:
    """One creative of a page is incomplete: then none of the page is answered."""
    return GraphError(
        "Invalid parameter",
        subcode=2446289,
        user_title="Ad Creative Is Incomplete",
        user_message="The post or reel of this ad is no longer available.",
    )
