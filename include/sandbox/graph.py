"""Meta's Graph API over a world: who may ask, which object is meant, what it answers.

`Graph.answer` is the one way in, for HTTP and for whatever calls on its behalf (an inner call of a
batch), and `ROUTES` says which function serves which edge.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from include.sandbox import nodes, paging, params, reports
from include.sandbox.errors import GraphError, bad_parameter, no_such_field, no_such_object
from include.sandbox.filters import listing_test
from include.sandbox.objects import Account, Node
from include.sandbox.world import Clock, World, known_at

VERSIONS = ("v22.0", "v23.0", "v24.0", "v25.0", "v26.0")
MAX_IDS = 50

_QUOTA = 190_000  # calls an hour: what Meta calls full access

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Token:
    """What an access token may see. With an app secret, calls must carry its proof."""

    accounts: frozenset[str]
    app_secret: str | None = None
    expires: datetime | None = None


DEFAULT_TOKENS = {
    "sandbox-token-acme": Token(frozenset({"1000000001", "1000000002"})),
    "sandbox-token-lumen": Token(frozenset({"1000000003"}), "sandbox-app-secret"),
}


class Call(NamedTuple):
    """A request, freed of HTTP."""

    method: str
    path: str  # "/v26.0/act_1/ads"
    params: dict[str, str]  # query and form together
    bearer: str | None = None  # the token of the Authorization header
    origin: str = "https://graph.facebook.com"  # scheme and host the caller used
    readable: bool = True  # whether the body was what its content type says


class Answer(NamedTuple):
    """A response, before HTTP."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass
class Asked:
    """A call on its way: what has been found out about it."""

    call: Call
    now: datetime
    token: str = ""
    rights: Token = field(default_factory=lambda: Token(frozenset()))
    account: Account | None = None  # whose quota it counts against
    kind: str = "ads_management"  # or ads_insights: which quota


Route = Callable[["Graph", Asked, Node], Any]


class Graph:
    """The API. `empty_pages`: campaigns begin with an empty page, insights have one after page one.

    Such pages, which still say `next`, are what Meta's privacy filters leave behind.
    """

    def __init__(
        self,
        world: World,
        clock: Clock,
        tokens: dict[str, Token],
        *,
        empty_pages: bool = True,
    ) -> None:
        self.world, self.clock, self.tokens, self.empty_pages = world, clock, tokens, empty_pages
        self._calls: Counter[str] = Counter()  # by account id, in this hour of the clock
        self._hour = 0
        self._answered = 0

    def answer(self, call: Call) -> Answer:
        """Answer a call; whatever goes wrong becomes a Graph error."""
        asked = Asked(call, self.clock.now())
        self._answered += 1
        trace_id = "A" + sha256(str(self._answered).encode()).hexdigest()[:22]
        status, body = 200, None
        try:
            body = self._body(asked)
        except GraphError as error:
            status, body = error.status, error.body(trace_id)
        except Exception:
            logger.exception("the sandbox failed on %s %s", call.method, call.path)
            status = 500
            body = GraphError("An unknown error occurred", code=1).body(trace_id)
        return Answer(status, orjson.dumps(body), self._headers(asked, trace_id))

    def _body(self, asked: Asked) -> Any:
        call = asked.call
        path = _without_version(call.path)
        if not call.readable:
            raise bad_parameter("The request body is malformed.")
        self._authenticate(asked, path)
        match path:
            case []:
                return self._several(asked)
            case ["me"] if call.method == "GET":
                return _system_user(call)
            case ["me", "adaccounts"] if call.method == "GET":
                return self._own_accounts(asked)
            case [object_id]:
                node = self._find(asked, object_id)
                return self._route(asked, node, "")
            case [object_id, edge]:
                node = self._find(asked, object_id)
                return self._route(asked, node, edge)
        raise GraphError(f"Unknown path components: /{'/'.join(path[1:])}", code=2500)

    def _authenticate(self, asked: Asked, path: list[str]) -> None:
        call = asked.call
        asked.token = call.bearer or call.params.get("access_token", "")
        if not asked.token:
            if path[:1] == ["me"]:
                raise GraphError(
                    "An active access token must be used to query information about the current "
                    "user.",
                    code=2500,
                )
            raise GraphError("An access token is required to request this resource.", code=104)
        rights = self.tokens.get(asked.token)
        if rights is None:
            raise GraphError("Invalid OAuth access token.", code=190, subcode=467, status=401)
        if rights.expires and rights.expires <= asked.now:
            raise GraphError(
                "Error validating access token: Session has expired.",
                code=190,
                subcode=463,
                status=401,
            )
        _check_proof(asked.token, rights.app_secret, call.params.get("appsecret_proof"))
        asked.rights = rights

    def _find(self, asked: Asked, object_id: str) -> Node:
        """The object, if the token may see it. `act_1` is an account, `1` alone is none."""
        number = object_id.removeprefix("act_")
        account = self.world.accounts.get(number)
        if account and object_id != number:
            asked.account = account
            if number not in asked.rights.accounts:
                raise GraphError(
                    "(#200) Ad account owner has NOT grant ads_management or ads_read permission",
                    code=200,
                    status=403,
                )
            return account
        node = self.world.objects.get(object_id)
        if (
            node is None
            or node.account.id not in asked.rights.accounts
            or node.life.created > asked.now
        ):
            raise no_such_object(object_id, asked.call.method.lower())
        asked.account = node.account
        return node

    def _route(self, asked: Asked, node: Node, edge: str) -> Any:
        route = ROUTES.get((asked.call.method, edge))
        if route is not None:
            return route(self, asked, node)
        if asked.call.method == "GET":
            raise no_such_field(edge, nodes.NODE_TYPES[node.kind])
        raise no_such_object(nodes.graph_id(node), asked.call.method.lower())

    def _several(self, asked: Asked) -> dict[str, Any]:
        call = asked.call
        if call.method != "GET" or "ids" not in call.params:
            raise GraphError(
                f"Unsupported {call.method.lower()} request.", kind="GraphMethodException"
            )
        params.only(call.params, "ids", "fields")
        ids = call.params["ids"].split(",")
        if len(ids) > MAX_IDS:
            raise bad_parameter(f"Too many IDs: {len(ids)}, at most {MAX_IDS} are allowed.")
        wanted = params.fields(call.params)
        return {
            object_id: nodes.show(self._find(asked, object_id), wanted, self.world, asked.now)
            for object_id in ids
        }

    def _own_accounts(self, asked: Asked) -> dict[str, Any]:
        params.only(asked.call.params, "fields", "limit", "after")
        wanted = params.fields(asked.call.params)
        seen = sorted(asked.rights.accounts & self.world.accounts.keys())
        accounts = [self.world.accounts[number] for number in seen]
        return paging.page(
            accounts,
            lambda account: account.id,
            self._listing(asked, gap_after=None),
            lambda account: nodes.show(account, wanted, self.world, asked.now),
        )

    def _listing(self, asked: Asked, *, gap_after: int | None) -> paging.Listing:
        return paging.Listing(
            url=asked.call.origin + asked.call.path,
            token=asked.token,
            params=asked.call.params,
            now=int(asked.now.timestamp()),
            gap_after=gap_after if self.empty_pages else None,
        )

    def _headers(self, asked: Asked, trace_id: str) -> dict[str, str]:
        """Usage as Meta reports it: percentages of the hourly quota; waits in minutes, seconds."""
        if (hour := int(asked.now.timestamp()) // 3600) != self._hour:
            self._hour = hour
            self._calls.clear()
        account_id = asked.account.id if asked.account else "0"
        self._calls[account_id] += 1
        used = min(100, self._calls[account_id] * 100 // _QUOTA)
        tier = {"ads_api_access_tier": "standard_access"}
        business = {
            "type": asked.kind,
            "call_count": used,
            "total_cputime": used,
            "total_time": used,
            "estimated_time_to_regain_access": 0,
            **tier,
        }
        app = min(100, self._calls.total() * 100 // _QUOTA)
        usage = {
            "x-business-use-case-usage": {account_id: [business]},
            "x-ad-account-usage": {"acc_id_util_pct": used, "reset_time_duration": 0, **tier},
            "x-fb-ads-insights-throttle": {"app_id_util_pct": app, "acc_id_util_pct": used, **tier},
            "x-app-usage": {"call_count": app, "total_time": app, "total_cputime": app},
        }
        version = asked.call.path.split("/")[1]
        return {
            **{name: orjson.dumps(value).decode() for name, value in usage.items()},
            "facebook-api-version": version if version in VERSIONS else VERSIONS[-1],
            "x-fb-trace-id": trace_id,
        }

    # Served by ROUTES.

    def single(self, asked: Asked, node: Node) -> dict[str, Any]:
        """`GET /<id>?fields=`"""
        params.only(asked.call.params, "fields")
        return nodes.show(node, params.fields(asked.call.params), self.world, asked.now)

    def listed(self, asked: Asked, node: Node, kind: str) -> dict[str, Any]:
        """`GET /<id>/campaigns|adsets|ads`"""
        call = asked.call
        known = ("fields", "limit", "after", "effective_status", "filtering", "summary")
        params.only(call.params, *known, *([] if kind == "campaign" else ["updated_since"]))
        members = nodes.children(node, kind)
        if members is None:
            raise no_such_field(f"{kind}s", nodes.NODE_TYPES[node.kind])
        shown = listing_test(call.params, kind, asked.now)
        found = sorted(filter(shown, members), key=lambda member: member.id)
        wanted = params.fields(call.params)
        page = paging.page(
            found,
            lambda member: member.id,
            self._listing(asked, gap_after=0 if kind == "campaign" else None),
            lambda member: nodes.show(member, wanted, self.world, asked.now),
        )
        if params.flag(call.params, "summary"):
            page["summary"] = {"total_count": len(found)}
        return page

    def insights(self, asked: Asked, node: Node) -> dict[str, Any]:
        """`GET /<id>/insights`"""
        asked.kind = "ads_insights"
        query = reports.parse(asked.call.params, node, asked.now)
        return paging.page(
            reports.pieces(self.world, query, known_at(asked.now)),
            reports.key,
            self._listing(asked, gap_after=1),
            query.show,
        )


# (method, edge) -> what serves it; "" is the object itself.
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", ""): Graph.single,
    ("GET", "campaigns"): lambda graph, asked, node: graph.listed(asked, node, "campaign"),
    ("GET", "adsets"): lambda graph, asked, node: graph.listed(asked, node, "adset"),
    ("GET", "ads"): lambda graph, asked, node: graph.listed(asked, node, "ad"),
    ("GET", "insights"): Graph.insights,
}


def _without_version(path: str) -> list[str]:
    version, *rest = path.strip("/").split("/")
    if version in VERSIONS:
        return rest
    number = re.fullmatch(r"v(\d{1,2})\.\d", version)
    if number and int(number[1]) < int(VERSIONS[0][1:3]):
        raise GraphError(
            "(#2635) You are calling a deprecated version of the Ads API. "
            f"Please update to the latest version: {VERSIONS[-1]}.",
            code=2635,
        )
    raise GraphError(f"Unknown path components: {path}", code=2500)


def _system_user(call: Call) -> dict[str, str]:
    """`GET /me`: whom a token stands for."""
    params.only(call.params, "fields")
    user = {"id": "100000000000001", "name": "Sandbox System User"}
    wanted = params.fields(call.params)
    for name in wanted:
        if name not in user:
            raise no_such_field(name, "User")
    return {name: user[name] for name in (*wanted, "id")}


def _check_proof(token: str, secret: str | None, proof: str | None) -> None:
    """A proof is checked whenever one is sent: without a secret here, none is the right one."""
    if proof is None and secret is None:
        return
    if proof is None:
        message = "API calls from the server require an appsecret_proof argument"
    else:
        right = hmac.new((secret or "").encode(), token.encode(), sha256).hexdigest()
        if secret is not None and hmac.compare_digest(right, proof):
            return
        message = "Invalid appsecret_proof provided in the API argument"
    raise GraphError(message, kind="GraphMethodException")


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
        headers={"content-type": "application/json; charset=UTF-8", **answer.headers},
    )
