"""Between HTTP and Graph: a request becomes a call, an answer a response."""

from __future__ import annotations

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from include.sandbox.graph import Answer, Call


async def read_call(request: Request) -> Call:
    """A request as a call."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    body = await _read_body(request)
    return Call(
        method=request.method,
        path=request.url.path,
        params={**request.query_params, **(body or {})},
        bearer=credentials.strip() or None if scheme.lower() in ("bearer", "oauth") else None,
        origin=f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}",
        readable=body is not None,
    )


async def _read_body(request: Request) -> dict[str, str] | None:
    """A form, or a JSON object whose values are put back into JSON; None when it is neither."""
    raw = await request.body()  # kept by the request, so that the form can be read from it
    if not raw:
        return {}
    if not request.headers.get("content-type", "").startswith("application/json"):
        try:
            form = await request.form()
        except HTTPException:
            return None
        return {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(values, dict):
        return None
    return {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in values.items()
    }


def as_response(answer: Answer) -> Response:
    """An answer over HTTP."""
    return Response(
        answer.body,
        status_code=answer.status,
        headers=answer.headers,
    )
