"""`POST /`: up to 50 calls in one, each answered, and counted, as if it had come alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from sandbox.call import Answer, Call
from sandbox.errors import GraphError, bad_parameter
from sandbox.params import flag, json_value, only
from sandbox.wire import Wire

MAX_CALLS = 50
_VERSION = re.compile(r"v\d+\.\d+(/|$)")
_PASSED_ON = ("access_token", "appsecret_proof")


def answer_batch(call: Call, answer: Callable[[Call], Answer]) -> tuple[list[Any], Wire]:
    """The list of answers, null for an inner call that did not get one, and the longest wait."""
    only(call.params, "batch", "include_headers")
    items = json_value(call.params, "batch")
    if not isinstance(items, list) or not items:
        raise bad_parameter("Param batch must be a non-empty array.")
    if len(items) > MAX_CALLS:
        raise GraphError(
            f"Too many requests in batch message. Maximum batch size is {MAX_CALLS}",
            code=-3,
            kind="GraphBatchException",
        )
    with_headers = "include_headers" not in call.params or flag(call.params, "include_headers")
    answers = [answer(_inner(call, item, index)) for index, item in enumerate(items)]
    wait = max(one.wire.hang for one in answers)
    return [_shown(one, with_headers) for one in answers], Wire(hang=wait)


def _inner(outer: Call, item: Any, index: int) -> Call:
    if not isinstance(item, dict) or set(item) != {"method", "relative_url"}:
        raise bad_parameter(f"batch[{index}] must have exactly method and relative_url.")
    if item["method"] != "GET" or not isinstance(item["relative_url"], str):
        raise bad_parameter(f"batch[{index}]: only GET is supported here.")
    path, _, query = item["relative_url"].lstrip("/").partition("?")
    version = outer.path.strip("/").split("/")[0]
    if not _VERSION.match(path):
        path = f"{version}/{path}"
    passed = {name: outer.params[name] for name in _PASSED_ON if name in outer.params}
    params = {**passed, **dict(parse_qsl(query, keep_blank_values=True))}
    return outer._replace(method="GET", path=f"/{path}", params=params, inner=True)


def _shown(answer: Answer, with_headers: bool) -> dict[str, Any] | None:
    if answer.wire.broken:
        return None
    shown: dict[str, Any] = {"code": answer.status, "body": answer.body.decode()}
    if with_headers:
        shown["headers"] = [{"name": k, "value": v} for k, v in answer.headers.items()]
    return shown
