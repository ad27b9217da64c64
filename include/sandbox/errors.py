"""Graph's refusals. One exception; a function for each refusal that several places make."""

from typing import Any


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
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.subcode = message, code, subcode
        self.status, self.kind, self.transient = status, kind, transient

    def body(self, trace_id: str) -> dict[str, Any]:
        """The JSON body."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind, "code": self.code}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        error["is_transient"] = self.transient
        error["fbtrace_id"] = trace_id
        return {"error": error}


def bad_parameter(text: str) -> GraphError:
    """Code 100."""
    return GraphError(f"(#100) {text}")


def not_one_of(name: str, allowed: tuple[str, ...], got: object) -> GraphError:
    """A parameter outside its enumeration."""
    return bad_parameter(f'Param {name} must be one of {{{", ".join(allowed)}}} - got "{got}".')


def no_such_object(object_id: str, method: str = "get") -> GraphError:
    """Unknown, or not for this token, or not capable of this: Graph does not tell which."""
    return GraphError(
        f"Unsupported {method} request. Object with ID '{object_id}' does not exist, cannot be "
        "loaded due to missing permissions, or does not support this operation. Please read the "
        "Graph API documentation at https://developers.facebook.com/docs/graph-api",
        subcode=33,
        kind="GraphMethodException",
    )


def no_such_field(name: str, node_type: str) -> GraphError:
    """A field, or an edge, that the object does not have."""
    return bad_parameter(f"Tried accessing nonexisting field ({name}) on node type ({node_type})")
