"""Meta's Graph API over a world: who may ask, which object is meant, what it answers.

`Graph.answer` is the one way in, for HTTP and for whatever calls on its behalf (an inner call of a
batch), and `ROUTES` says which function serves which edge.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson

from sandbox import conversions, nodes, paging, params, quality, reports
from sandbox.batch import answer_batch
from sandbox.call import Answer, Call
from sandbox.errors import (
    GraphError,
    bad_parameter,
    broken_creative,
    forbidden,
    no_such_aliases,
    no_such_field,
    no_such_object,
    token_expired,
)
from sandbox.events import Event, Events
from sandbox.faults import Fault, Faults, Struck, Target
from sandbox.filters import listing_test
from sandbox.limits import Limits
from sandbox.objects import Account, Node, Pixel
from sandbox.restate import Restatement, restatement
from sandbox.rows import Piece
from sandbox.runs import Run, Runs
from sandbox.usage import Usage
from sandbox.wire import Wire
from sandbox.world import Clock, World, known_at

VERSIONS = ("v22.0", "v23.0", "v24.0", "v25.0", "v26.0")
MAX_IDS = 50

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Token:
    """What an access token may see, and the pixels it may write to.

    With an app secret, calls must carry its proof.
    """

    accounts: frozenset[str]
    app_secret: str | None = None
    expires: datetime | None = None
    pixels: frozenset[str] = frozenset()


DEFAULT_TOKENS = {
    "sandbox-token-acme": Token(
        frozenset({"1000000001", "1000000002"}), pixels=frozenset({"2000000001"})
    ),
    "sandbox-token-lumen": Token(
        frozenset({"1000000003"}), "sandbox-app-secret", pixels=frozenset({"2000000003"})
    ),
}
# To which account pixels belong; others belong to the first account of the token that asks.
DEFAULT_PIXELS = {"2000000001": "1000000001", "2000000003": "1000000003"}


@dataclass
class Asked:
    """A call on its way: what has been found out about it."""

    call: Call
    now: datetime
    trace_id: str
    token: str = ""
    rights: Token = field(default_factory=lambda: Token(frozenset()))
    account: Account | None = None  # whose quota it counts against
    kind: str = "ads_management"  # or ads_insights: which quota
    edge: str = ""  # what for, once that is known: one of presets.EDGES
    faults: list[Fault] = field(default_factory=list)  # that have yet to do their work
    wire: Wire = field(default_factory=Wire)
    before_taking: bool = False  # whether the wire fails before events are taken
    leaving: Callable[[], None] | None = None
    truncated: bool = False

    @property
    def version(self) -> str:
        """Of the API."""
        return self.call.path.split("/")[1]


Route = Callable[["Graph", Asked, Node], Any]


class Graph:
    """The API. `empty_pages`: campaigns begin with an empty page, insights have one after page one.

    Such pages, which still say `next`, are what Meta's privacy filters leave behind.
    `strict_website`: events of websites need what Meta documents; else what it was seen to need.
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
        self.pixels = dict(DEFAULT_PIXELS)
        self.events = Events()
        self._answered = 0
        self.reset()

    def reset(self) -> None:
        """Forget limits, faults, calls, reports and events."""
        self.strict_website = True
        self.events.clear()
        self.limits, self.faults = Limits(), Faults()
        self.usage = Usage(self.limits, self.world.accounts.keys())
        self.tally: Counter[tuple[str, str, str | None]] = Counter()  # method, edge, account id
        self._runs = Runs(self.world.seed)

    def answer(self, call: Call) -> Answer:
        """Answer a call; whatever goes wrong becomes a Graph error."""
        self._answered += 1
        trace_id = "A" + sha256(str(self._answered).encode()).hexdigest()[:22]
        asked = Asked(call, self.clock.now(), trace_id)
        changed: dict[str, str | None] = {}
        status, content_type = 200, "application/json; charset=UTF-8"
        try:
            body = orjson.dumps(self._body(asked))
        except GraphError as error:
            status, body = error.status, orjson.dumps(error.body(trace_id))
        except Struck as struck:
            account_id = asked.account.id if asked.account else None
            status, body, content_type = struck.fault.answer(trace_id)
            changed = struck.fault.headers(account_id, asked.kind, asked.now)
        except Exception:
            logger.exception("the sandbox failed on %s %s", call.method, call.path)
            status = 500
            body = orjson.dumps(GraphError("An unknown error occurred", code=1).body(trace_id))
        self.tally[call.method, asked.edge, asked.account.id if asked.account else None] += 1
        headers = {"content-type": content_type, **self._headers(asked), **changed}
        if asked.truncated:
            body = body[: len(body) * 2 // 3]
        shown = {name: value for name, value in headers.items() if value is not None}
        return Answer(status, body, shown, asked.wire, asked.leaving)

    def _body(self, asked: Asked) -> Any:
        call = asked.call
        path = _without_version(call.path)
        if not call.readable:
            raise bad_parameter("The request body is malformed.")
        self._authenticate(asked, path)
        match path:
            case []:
                return self._at_the_root(asked)
            case ["me"] if call.method == "GET":
                self._meet(asked, "me")
                return _system_user(call)
            case ["me", "adaccounts"] if call.method == "GET":
                self._meet(asked, "adaccounts")
                return self._own_accounts(asked)
            case ["dataset_quality"] if call.method == "GET":
                return self._quality(asked)
            case [object_id] | [object_id, _]:
                edge = "".join(path[1:])
                pixel = self._find_pixel(asked, object_id)
                if pixel is not None:
                    return self._route_pixel(asked, pixel, edge)
                run = self._find_run(asked, object_id)
                if run is not None:
                    return self._route_run(asked, run, edge)
                return self._route(asked, self._find(asked, object_id), edge)
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
            raise token_expired()
        _check_proof(asked.token, rights.app_secret, call.params.get("appsecret_proof"))
        asked.rights = rights

    def _find(self, asked: Asked, object_id: str) -> Node:
        """The object, if the token may see it. `act_1` is an account, `1` alone is none."""
        number = object_id.removeprefix("act_")
        account = self.world.accounts.get(number)
        if account and object_id != number:
            asked.account = account
            if number not in asked.rights.accounts:
                raise forbidden()
            self.usage.admit(number, asked.now)
            return account
        node = self.world.objects.get(object_id)
        if (
            node is None
            or node.account.id not in asked.rights.accounts
            or node.life.created > asked.now
        ):
            raise no_such_object(object_id, asked.call.method.lower())
        asked.account = node.account
        self.usage.admit(node.account.id, asked.now)
        return node

    def _find_run(self, asked: Asked, run_id: str) -> Run | None:
        """The report of that id, if there is one that the token may see."""
        run = self._runs.get(run_id, asked.now)
        if run is None or run.account.id not in asked.rights.accounts:
            return None
        asked.account, asked.kind = run.account, "ads_insights"
        self.usage.admit(run.account.id, asked.now)
        return run

    def _find_pixel(self, asked: Asked, pixel_id: str) -> Pixel | None:
        """The pixel of that id, if there is one that the token may write to."""
        if pixel_id not in asked.rights.pixels:
            return None
        possible = [self.pixels.get(pixel_id, ""), *sorted(asked.rights.accounts)]
        found = [self.world.accounts[key] for key in possible if key in self.world.accounts]
        if found:
            asked.account = found[0]
            self.usage.admit(found[0].id, asked.now)
        return Pixel(pixel_id, f"Pixel {pixel_id}", asked.account)

    def _route(self, asked: Asked, node: Node, edge: str) -> Any:
        route = ROUTES.get((asked.call.method, edge))
        if route is not None:
            level = {"level": node.kind} if edge == "insights" else {}
            if edge == "insights":
                asked.kind = "ads_insights"
            self._meet(asked, edge or "object", level)
            return route(self, asked, node)
        if asked.call.method == "GET":
            raise no_such_field(edge, nodes.NODE_TYPES[node.kind])
        raise no_such_object(nodes.graph_id(node), asked.call.method.lower())

    def _route_pixel(self, asked: Asked, pixel: Pixel, edge: str) -> Any:
        meant = {"pixel": pixel.id}
        match asked.call.method, edge:
            case "GET", "":
                self._meet(asked, "object", meant)
                return self.single(asked, pixel)
            case "POST", "events":
                self._meet(asked, "events", meant)
                return self._take_events(asked, pixel)
            case "GET", _:
                raise no_such_field(edge, nodes.NODE_TYPES[pixel.kind])
        raise no_such_object(pixel.id, asked.call.method.lower())

    def _route_run(self, asked: Asked, run: Run, edge: str) -> Any:
        if asked.call.method != "GET":
            raise no_such_object(run.id, asked.call.method.lower())
        level = {"level": run.query.level, **run.params}
        if edge == "":
            self._meet(asked, "report", level)
            return run.show(asked.call.params, asked.version, asked.now)
        if edge == "insights":
            self._meet(asked, "results", level)
            return self._results(asked, run)
        raise no_such_field(edge, "AdReportRun")

    def _meet(self, asked: Asked, edge: str, meant: Mapping[str, str] | None = None) -> None:
        """Say what the call is for, and let the faults that wait for it strike."""
        asked.edge, call = edge, asked.call
        target = Target(
            call.method,
            edge,
            asked.account.id if asked.account else None,
            {**(meant or {}), **call.params},
            paging.number_of(call.params),
            call.inner,
        )
        for fault in self.faults.meeting(target, asked.now):
            if (
                fault.effect in ("page", "report", "object")
                or fault.kind == "moving"
                or fault.waits_for_events
            ):
                asked.faults.append(fault)  # counts its hit when it does something
                continue
            fault.hits += 1
            match fault.effect:
                case "wire":
                    asked.wire, asked.before_taking = fault.wire(), fault.before_taking
                case "null":
                    asked.wire = Wire(end="dropped")
                case "truncated":
                    asked.truncated = True
                case "world":
                    assert fault.account_id is not None
                    self.world.restate(fault.account_id, restatement(**fault.details))
                case _:
                    raise Struck(fault)

    def _at_the_root(self, asked: Asked) -> Any:
        call = asked.call
        if call.method == "POST" and "batch" in call.params and not call.inner:
            self._meet(asked, "batch")
            answers, wire = answer_batch(call, self.answer)
            asked.wire = asked.wire if asked.wire != Wire() else wire
            return answers
        if call.method == "GET" and "ids" in call.params:
            return self._several(asked)
        raise GraphError(f"Unsupported {call.method.lower()} request.", kind="GraphMethodException")

    def _several(self, asked: Asked) -> dict[str, Any]:
        call = asked.call
        params.only(call.params, "ids", "fields")
        ids = call.params["ids"].split(",")
        if len(ids) > MAX_IDS:
            raise bad_parameter(f"Too many IDs: {len(ids)}, at most {MAX_IDS} are allowed.")
        wanted = params.fields(call.params)
        found: dict[str, Node] = {}
        missing = []
        for object_id in ids:
            try:
                found[object_id] = self._find(asked, object_id)
            except GraphError as error:
                if error.subcode != 33:
                    raise
                missing.append(object_id)
        self._meet(asked, "ids")
        if missing:
            raise no_such_aliases(missing)
        _refuse_broken(asked, found.keys())
        return {
            object_id: nodes.show(node, wanted, self.world, asked.now)
            for object_id, node in found.items()
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
            faults=asked.faults,
        )

    def _headers(self, asked: Asked) -> dict[str, str]:
        account_id = asked.account.id if asked.account else None
        version = asked.version
        return {
            **self.usage.headers(account_id, asked.kind, asked.now),
            "facebook-api-version": version if version in VERSIONS else VERSIONS[-1],
            "x-fb-trace-id": asked.trace_id,
        }

    # Served by ROUTES.

    def single(self, asked: Asked, node: Node | Pixel) -> dict[str, Any]:
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
        self.limits.check_page(params.limit(call.params), self.limits.edge_page_limit)
        shown = listing_test(call.params, kind, asked.now)
        hidden = self.world.hidden_from_edges
        found = sorted(
            (member for member in members if member.id not in hidden and shown(member)),
            key=lambda member: member.id,
        )
        wanted = params.fields(call.params)
        page = paging.page(
            found,
            lambda member: member.id,
            self._listing(asked, gap_after=0 if kind == "campaign" else None),
            lambda member: nodes.show(member, wanted, self.world, asked.now),
        )
        _refuse_broken(asked, [row["id"] for row in page["data"]])
        if params.flag(call.params, "summary"):
            page["summary"] = {"total_count": len(found)}
        return page

    def insights(self, asked: Asked, node: Node) -> dict[str, Any]:
        """`GET /<id>/insights`"""
        query = reports.parse(asked.call.params, node, asked.now, self.limits.retention_days_less)
        pieces = self._pieces(asked, query)
        self.limits.check_sync(len(pieces), len(query.fields))
        page = self._insights_page(asked, pieces, query)
        self._move(asked, query)
        return page

    def start_report(self, asked: Asked, node: Node) -> dict[str, Any]:
        """`POST /<id>/insights`"""
        query = reports.parse(asked.call.params, node, asked.now, self.limits.retention_days_less)
        pieces = self._pieces(asked, query)
        possible = self.limits.check_report(len(pieces), len(query.fields))
        takes = self.limits.report_takes(len(pieces))
        run = self._runs.add(query, asked.call.params, pieces, asked.now, takes)
        if not possible:
            run.end = "Job Failed"
        for fault in asked.faults:
            if fault.effect != "report":
                continue
            fault.hits += 1
            if fault.kind == "report_stuck":
                run.stuck_at = fault.details["percent"]
            else:
                run.end = "Job Failed" if fault.kind == "report_failed" else "Job Skipped"
        self._move(asked, query)
        return {"report_run_id": run.id}

    def _take_events(self, asked: Asked, pixel: Pixel) -> dict[str, Any]:
        """`POST /<pixel>/events`"""
        call = asked.call
        upload = conversions.read(
            call.params, call.data, asked.now.timestamp(), strict_website=self.strict_website
        )
        events = self._left_by_faults(asked, upload.events)

        def take() -> None:
            self.events.take(pixel.id, events, self.clock.now(), upload.test_event_code)

        if asked.before_taking:
            asked.leaving = take
        else:
            take()
        for fault in asked.faults:
            if fault.effect != "events":
                fault.hits += 1
                raise Struck(fault)
        return {"events_received": len(events), "messages": [], "fbtrace_id": asked.trace_id}

    def _quality(self, asked: Asked) -> dict[str, Any]:
        """`GET /dataset_quality?dataset_id=`"""
        given = asked.call.params
        params.only(given, "dataset_id", "fields", "agent_name")
        if "dataset_id" not in given:
            raise bad_parameter("The parameter dataset_id is required.")
        pixel = self._find_pixel(asked, given["dataset_id"])
        if pixel is None:
            raise no_such_object(given["dataset_id"])
        self._meet(asked, "quality", {"pixel": pixel.id})
        received = self.events.latest(quality.MOST_EVENTS, pixel.id)
        return quality.show(received, params.fields(given), asked.now)

    def _left_by_faults(self, asked: Asked, events: list[Event]) -> list[Event]:
        """The events that are taken, unless a fault refuses them all."""
        for fault in asked.faults:
            if fault.kind == "refuse_event":
                named = fault.details["event_id"]
                ids = {named} if isinstance(named, str) else set(named)
                for event in events:
                    if event.get("event_id") in ids:
                        fault.hits += 1
                        said = event["user_data"]
                        raise conversions.refusal("Invalid event", said, fault.details["subcode"])
            elif fault.kind == "events_received_short":
                fault.hits += 1
                events = events[: max(0, len(events) - fault.details["missing"])]
        return events

    def _results(self, asked: Asked, run: Run) -> dict[str, Any]:
        query = run.results(asked.call.params, asked.now)
        return self._insights_page(asked, run.pieces, query)

    def _pieces(self, asked: Asked, query: reports.Query) -> list[Piece]:
        return reports.pieces(self.world, query, known_at(asked.now), self.world.revision)

    def _insights_page(
        self, asked: Asked, pieces: list[Piece], query: reports.Query
    ) -> dict[str, Any]:
        self.limits.check_page(params.limit(asked.call.params), self.limits.page_row_limit)
        for fault in asked.faults:
            if fault.kind == "drop_ads":
                left = [piece for piece in pieces if piece.node.id not in fault.details["ads"]]
            elif fault.kind == "no_data":
                days = fault.details["days"]
                left = [piece for piece in pieces if days and str(piece.since) not in days]
            else:
                continue
            fault.hits += len(left) < len(pieces)
            pieces = left
        return paging.page(pieces, reports.key, self._listing(asked, gap_after=1), query.show)

    def _move(self, asked: Asked, query: reports.Query) -> None:
        """Late data: the days that were just read grow, if a fault says so."""
        assert asked.account is not None
        for fault in asked.faults:
            if fault.kind == "moving" and "after" not in asked.call.params:
                fault.hits += 1
                today = asked.account.local(asked.now).date()
                days = frozenset(day for day in query.days() if day < today)
                self.world.restate(asked.account.id, Restatement(days=days, **fault.details))


# (method, edge) -> what serves it; "" is the object itself.
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", ""): Graph.single,
    ("GET", "campaigns"): lambda graph, asked, node: graph.listed(asked, node, "campaign"),
    ("GET", "adsets"): lambda graph, asked, node: graph.listed(asked, node, "adset"),
    ("GET", "ads"): lambda graph, asked, node: graph.listed(asked, node, "ad"),
    ("GET", "insights"): Graph.insights,
    ("POST", "insights"): Graph.start_report,
}


def _refuse_broken(asked: Asked, ids: Collection[str]) -> None:
    """Graph answers nothing of a page that has an object with a broken creative."""
    for fault in asked.faults:
        if fault.kind == "broken_object" and fault.details["id"] in ids:
            fault.hits += 1
            raise broken_creative()


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
    """`GET /me`: the user of a token."""
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
