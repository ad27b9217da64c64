"""The Graph client on the wire: where the token goes, how pages end, what failures become."""

import hashlib
import hmac
import itertools
import json
import logging
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tributary.errors import TributaryError
from tributary.platforms.meta import errors, hierarchy
from tributary.platforms.meta.client import Graph
from tributary.platforms.meta.errors import (
    MetaBlocked,
    MetaCursorExpired,
    MetaError,
    MetaForbidden,
    MetaRefused,
    MetaReportFailed,
    MetaThrottled,
    MetaTokenRefused,
    MetaTooMuchData,
    MetaTooOld,
    MetaTransient,
    MetaUnknown,
    from_answer,
    redacted,
)
from tributary.platforms.meta.plan import Plan

from sandbox.server import Sandbox

TOKEN = "EAAGm0PX4ZCpsBAKZCZBsecretsecretsecretZD"  # of the shape of Meta's, and no one's
Answer = tuple[int, bytes | dict[str, Any], dict[str, str]]


class Server:
    """Gives the answers it was given, in order (the last one for ever), and keeps what it got."""

    def __init__(self, *answers: int | bytes | dict[str, Any] | Answer) -> None:
        self.answers = list(answers)
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.paths.append(self.path)
                outer.headers.append(dict(self.headers))
                status, body, headers = outer.next()
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def next(self) -> Answer:
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, tuple):
            return answer
        return (answer, b"", {}) if isinstance(answer, int) else (200, answer, {})

    def __enter__(self) -> "Server":
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers; ends them after the test."""
    running: list[Server] = []

    def start(*answers: Any) -> Server:
        running.append(Server(*answers).__enter__())
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def _graph(server: Server | Sandbox, **arguments: Any) -> Graph:
    return Graph(arguments.pop("token", TOKEN), host=server.url, **arguments)


# The token.


def test_the_token_travels_in_the_header_and_in_no_url(sandbox: Sandbox) -> None:
    """The token would stand in the logs of every proxy on the way."""
    sandbox.requests.clear()
    token, secret = "sandbox-token-lumen", "sandbox-app-secret"
    graph = _graph(sandbox, token=token, app_id="1", app_secret=secret)
    for edge in hierarchy.EDGES:
        pages = hierarchy.Reader(graph, "1000000003", Plan(edge_pages={edge: 5})).pages(edge)
        assert sum(len(rows) for rows, _ in pages) > 5
    proof = hmac.new(secret.encode(), token.encode(), hashlib.sha256).hexdigest()
    assert graph.calls == len(sandbox.requests) > 20
    for request in sandbox.requests:
        assert request.headers["authorization"] == f"Bearer {token}"
        assert "access_token" not in request.params
        assert request.params["appsecret_proof"] == proof
        assert token not in f"{request.path} {request.params} {request.body!r}"


def test_without_an_app_secret_there_is_no_proof(sandbox: Sandbox) -> None:
    """Graph would refuse a token whose app secret we were never given."""
    sandbox.requests.clear()
    hierarchy.account(_graph(sandbox, token="sandbox-token-acme"), "1000000001", Plan())
    (request,) = sandbox.requests
    assert "appsecret_proof" not in request.params
    assert request.path == "/v26.0/act_1000000001"


def test_a_netrc_file_does_not_replace_the_token(
    serve: Callable[..., Server], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's ~/.netrc would send its password to Meta in place of our token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password their-password\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve({"id": "1"})
    _graph(server).get("me")
    assert server.headers[0]["Authorization"] == f"Bearer {TOKEN}"


def test_a_pasted_line_break_is_no_part_of_the_token(serve: Callable[..., Server]) -> None:
    """The commonest slip of a paste would look like an outage of Meta."""
    server = serve({"id": "1"})
    _graph(server, token=f" {TOKEN}\n").get("me")
    assert server.headers[0]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("token", ["", "   ", "EAA…secret", "EAAsec ret", "EAA\nsecret"])
def test_a_token_that_cannot_be_one_is_refused_at_once(
    serve: Callable[..., Server], token: str
) -> None:
    """A token that no header can carry would be tried four times, as an outage."""
    server = serve({"id": "1"})
    with pytest.raises(MetaTokenRefused) as caught:
        _graph(server, token=token, who="connection 'm'").get("me")
    assert str(caught.value) == (
        "The access token of connection 'm' is empty or has characters that no token has: "
        "put a valid one into its password field."
    )
    assert server.paths == []


def test_next_on_another_host_does_not_get_our_token(serve: Callable[..., Server]) -> None:
    """An answer could send our token to a host of its choice."""
    thief = serve({"data": [{"id": "stolen"}]})
    query = f"after=2&access_token={TOKEN}&appsecret_proof=beef"
    server = serve(
        {"data": [{"id": "1"}], "paging": {"next": f"{thief.url}/v26.0/act_1/ads?{query}"}},
        {"data": [{"id": "2"}]},
    )
    pages = list(_graph(server).pages("act_1/ads", limit=1))
    assert pages == [[{"id": "1"}], [{"id": "2"}]]
    assert thief.paths == []
    assert server.paths == ["/v26.0/act_1/ads?limit=1", "/v26.0/act_1/ads?after=2"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(serve: Callable[..., Server], status: int) -> None:
    """A redirect would carry the query, and on the same host the token, elsewhere."""
    thief = serve({"id": "1"})
    server = serve((status, b"", {"Location": f"{thief.url}/v26.0/me"}))
    with pytest.raises(MetaRefused, match=r"^A redirect to 127\.0\.0\.1 came in place of Graph's "
                       "answer: a proxy or a login page is in the way") as caught:  # fmt: skip
        _graph(server).get("me")
    assert caught.value.http_status == status
    assert (thief.paths, len(server.paths)) == ([], 1)


# Pages.


@pytest.mark.parametrize("size", [1, 7, 500])
def test_pages_give_every_object_once(sandbox: Sandbox, size: int) -> None:
    """An empty page that says `next` would end the list, and its rest would be lost."""
    graph = _graph(sandbox, token="sandbox-token-acme")
    reader = hierarchy.Reader(graph, "1000000001", Plan(edge_pages={"campaigns": size}))
    pages = [rows for rows, _ in reader.pages("campaigns")]
    assert pages[0] == []  # the sandbox begins with what Meta's privacy filters leave behind
    found = [row["id"] for page in pages for row in page]
    account = sandbox.world.accounts["1000000001"]
    assert sorted(found) == sorted(campaign.id for campaign in account.campaigns)


@pytest.mark.parametrize(
    "paging", [{}, {"cursors": {"before": "a", "after": "b"}}, None, [], {"next": None}]
)
def test_a_page_without_next_is_the_last(serve: Callable[..., Server], paging: Any) -> None:
    """The last page's odd shape would be an error, or a page for ever."""
    server = serve({"data": [{"id": "1"}], "paging": paging})
    assert list(_graph(server).pages("act_1/ads")) == [[{"id": "1"}]]
    assert len(server.paths) == 1


def _next(server: Server, after: str) -> dict[str, Any]:
    return {"next": f"{server.url}/v26.0/act_1/ads?limit=5&after={after}"}


@pytest.mark.parametrize(
    ("followers", "calls", "reason"),
    [
        (["x"], 2, "leads to a page that was read before"),  # the page itself
        (["x", "y", "x"], 3, "leads to a page that was read before"),  # A → B → A
    ],
)
def test_pages_that_go_in_a_circle_are_read_once(
    serve: Callable[..., Server],
    caplog: pytest.LogCaptureFixture,
    followers: list[str],
    calls: int,
    reason: str,
) -> None:
    """The task would run until its timeout, staging the same rows again and again."""
    server = serve({"data": []})
    server.answers = [
        {"data": [{"id": str(n)}], "paging": _next(server, after)}
        for n, after in enumerate(followers)
    ]
    found = [row["id"] for page in _graph(server).pages("act_1/ads", limit=5) for row in page]
    assert len(server.paths) == calls
    assert found == ["0", "1", "2"][:calls] if len(followers) > 1 else ["0", "0"]
    assert f"act_1/ads ends after {calls} pages: `next` {reason}" in caplog.text


def test_three_empty_pages_in_a_row_are_the_end(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """Empty pages that go on for ever would hold the task; or two would end a list early."""
    server = serve({"data": []})
    rows = [["1"], [], [], ["2"], [], [], []]
    server.answers = [
        {"data": [{"id": one} for one in page], "paging": _next(server, f"c{n}")}
        for n, page in enumerate(rows)
    ]
    found = [row["id"] for page in _graph(server).pages("act_1/ads", limit=5) for row in page]
    assert (found, len(server.paths)) == (["1", "2"], 7)
    assert "act_1/ads ends after 7 pages: 3 pages in a row were empty" in caplog.text


def test_long_paging_says_once_a_minute_how_far_it_is(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """An hour of paging would look like a task that hangs."""
    caplog.set_level(logging.INFO)
    server = serve({"data": []})
    pages: list[Any] = [
        {"data": [{"id": "1"}, {"id": "2"}], "paging": _next(server, str(n))} for n in range(8)
    ]
    server.answers = [*pages, {"data": []}]
    seconds = itertools.count(0, 10)  # the clock is asked once or twice a page
    list(_graph(server, clock=lambda: float(next(seconds))).pages("act_1/ads", limit=5))
    lines = [r.getMessage() for r in caplog.records if "rows so far" in r.getMessage()]
    assert lines == ["act_1/ads: page 6, 12 rows so far"]


def test_a_host_with_a_path_is_kept_on_every_page(serve: Callable[..., Server]) -> None:
    """Behind a proxy with a path of its own only first pages would be found."""
    server = serve({"data": []})
    server.answers = [
        {"data": [], "paging": {"next": "https://graph.facebook.com/v26.0/act_1/ads?after=2"}},
        {"data": [], "paging": {"next": f"{server.url}/meta/v26.0/act_1/ads?after=3"}},
        {"data": []},
    ]
    list(Graph(TOKEN, host=f"{server.url}/meta/").pages("act_1/ads"))
    assert server.paths == [
        "/meta/v26.0/act_1/ads",
        "/meta/v26.0/act_1/ads?after=2",
        "/meta/v26.0/act_1/ads?after=3",
    ]


def test_parameters_are_sent_as_graph_wants_them(serve: Callable[..., Server]) -> None:
    """A filter in Python's notation would be refused, or worse, ignored."""
    server = serve({"data": []})
    list(
        _graph(server, api_version="v25.0").pages(
            "act_1/ads", fields="id,name", effective_status=["A", "B"], limit=3, after=None
        )
    )
    assert unquote(server.paths[0]) == (
        '/v25.0/act_1/ads?fields=id,name&effective_status=["A","B"]&limit=3'
    )


# Failures.


_CHECK = "if it lasts, check the connection's host and the proxies between"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            (502, {"message": "Bad Gateway"}, {}),
            "Meta answered without a word of why, with 26 bytes of undeclared content: "
            f"{_CHECK} (HTTP 502)",
        ),
        (
            (502, b"<html><h1>502 Bad Gateway</h1>", {"Content-Type": "text/html; charset=x"}),
            f"Meta answered without a word of why, with 30 bytes of text/html: {_CHECK} (HTTP 502)",
        ),
        (
            (503, b"", {}),
            f"Meta answered without a word of why, with an empty body: {_CHECK} (HTTP 503)",
        ),
        (
            (408, b"", {}),
            f"Meta answered without a word of why, with an empty body: {_CHECK} (HTTP 408)",
        ),
        (
            {"error": "not now"},
            "Meta answered with an error that has no code: not now (HTTP 200)",
        ),
        (b'{"data": [{"id": "1"}', "Meta's answer is not whole JSON (HTTP 200)"),
        (b"", "Meta's answer is not whole JSON (HTTP 200)"),
        (b"[]", "Meta's answer is not whole JSON (HTTP 200)"),
        (
            (200, b'{"id": "1"}', {"Content-Length": "400"}),
            "Meta could not be reached: ChunkedEncodingError",
        ),
        (
            (500, {"error": {"message": "An unknown error occurred", "code": 1}}, {}),
            "Meta had a temporary failure. Meta said: An unknown error occurred (code 1, HTTP 500)",
        ),
    ],
)
def test_a_passing_failure_is_tried_again_then_loud(
    serve: Callable[..., Server], answer: Any, sentence: str
) -> None:
    """Half an answer would be loaded as a whole one, or a hiccup would cost the run."""
    server = serve(answer)
    # The connection stays open while the rest of a short body is waited for.
    with pytest.raises(MetaTransient) as caught:
        _graph(server, attempts=3, timeout=(5, 0.3)).get("me")
    if "could not be reached" in sentence:
        assert str(caught.value).startswith("Meta could not be reached: ")
    else:
        assert str(caught.value) == sentence
    assert caught.value.retryable
    assert len(server.paths) == 3


def test_what_comes_after_a_passing_failure_is_taken(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """Retries would not be retries, or nobody would see that there were any."""
    server = serve((502, {"rows": []}, {}), b'{"da', {"data": [{"id": "1"}]})
    graph = _graph(server)
    assert list(graph.pages("act_1/ads")) == [[{"id": "1"}]]
    assert graph.calls == 3
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "try 1 failed: Meta answered without a word of why, with 12 bytes of undeclared content: "
        f"{_CHECK} (HTTP 502)",
        "try 2 failed: Meta's answer is not whole JSON (HTTP 200)",
    ]


@pytest.mark.parametrize("status", [400, 403, 404, 204])
def test_a_refusal_without_words_is_not_tried_again(
    serve: Callable[..., Server], status: int
) -> None:
    """A proxy's refusal would be asked four times, or pass for an answer."""
    server = serve((status, b"" if status == 204 else b"{}", {}))
    with pytest.raises(MetaRefused):
        _graph(server).get("me")
    assert len(server.paths) == 1


def test_a_page_without_a_list_of_data_is_loud(serve: Callable[..., Server]) -> None:
    """An answer of another shape would count as an empty list."""
    with pytest.raises(
        MetaTransient, match=r"^Meta answered ads without a list of objects in `data`$"
    ):
        list(_graph(serve({"id": "1"})).pages("act_1/ads"))


def test_what_meta_says_to_people_is_in_the_error_and_names_none(
    serve: Callable[..., Server],
) -> None:
    """A broken creative would be an "Invalid parameter", and a text with an e-mail or an id in
    it would be in logs for years.
    """
    error = {
        "message": "Invalid parameter", "code": 100, "error_subcode": 2446289,
        "error_user_title": "Ad Creative Is Incomplete",
        "error_user_msg": "The post 100000000000001 of jane.doe@example.com is gone.",
    }  # fmt: skip
    with pytest.raises(MetaRefused) as caught:
        _graph(serve((400, {"error": error}, {}))).get("me")
    assert str(caught.value) == (
        "Meta refuses the request. Meta said: Invalid parameter (Ad Creative Is Incomplete: The "
        "post … of … is gone.) (code 100/2446289, HTTP 400)"
    )


def test_a_status_that_meta_refuses_is_named(serve: Callable[..., Server]) -> None:
    """Nothing would say which of twelve statuses Meta has given up."""
    message = (
        '(#100) Param effective_status[9] must be one of {ACTIVE} - got "PENDING_BILLING_INFO".'
    )
    with pytest.raises(MetaRefused, match="refuses the value PENDING_BILLING_INFO") as caught:
        _graph(serve((400, {"error": {"message": message, "code": 100}}, {}))).get("me")
    assert caught.value.named == "PENDING_BILLING_INFO"


def test_nobody_answers() -> None:
    """A refused connection would be a raw exception with the URL in it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    graph = Graph(TOKEN, app_secret="s", host=f"http://127.0.0.1:{port}")
    with pytest.raises(MetaTransient) as caught:
        graph.get("act_1")
    assert str(caught.value) == "Meta could not be reached: ConnectionError"
    assert graph.calls == 4


def test_an_answer_that_never_comes_is_given_up() -> None:
    """A silent peer would hold the task, and its slot, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        graph = Graph(
            TOKEN,
            host=f"http://127.0.0.1:{silent.getsockname()[1]}",
            timeout=(1, 0.1),
            attempts=2,
        )
        with pytest.raises(MetaTransient) as caught:
            graph.get("act_1")
    assert str(caught.value) == "Meta could not be reached: ReadTimeout"
    assert graph.calls == 2


# What errors say.


@pytest.mark.parametrize(
    ("status", "code", "subcode", "kind"),
    [
        (401, 190, 467, MetaTokenRefused),
        (400, 190, 463, MetaTokenRefused),
        (400, 102, None, MetaTokenRefused),
        (400, 104, None, MetaTokenRefused),
        (400, 2500, None, MetaTokenRefused),
        (403, 200, None, MetaForbidden),
        (403, 299, None, MetaForbidden),
        (403, 294, None, MetaForbidden),
        (403, 10, None, MetaForbidden),
        (400, 100, 33, MetaForbidden),
        (400, 100, None, MetaRefused),
        (400, 300, None, MetaUnknown),
        (400, 2642, None, MetaCursorExpired),
        (400, -2, 2490547, MetaReportFailed),
        (400, 803, None, MetaForbidden),
        (400, 2635, None, MetaRefused),
        (400, 3018, None, MetaTooOld),
        (400, 100, 1487534, MetaTooMuchData),
        (400, 100, 1504018, MetaTooMuchData),
        (500, 2, 1504038, MetaTooMuchData),
        (400, 4, 1504022, MetaThrottled),
        (400, 17, 2446079, MetaThrottled),
        (400, 32, None, MetaThrottled),
        (400, 341, None, MetaThrottled),
        (400, 368, None, MetaBlocked),
        (400, 613, 1487742, MetaThrottled),
        (400, 80000, None, MetaThrottled),
        (400, 80004, 2446079, MetaThrottled),
        (400, 80014, None, MetaThrottled),
        (400, 80015, None, MetaUnknown),
        (500, 1, None, MetaTransient),
        (500, 1, 99, MetaTooMuchData),
        (400, 2, None, MetaTransient),
        (503, 2, 1504044, MetaTransient),
        (400, 2, 1504041, MetaRefused),
        (500, 2, 1504042, MetaRefused),
        (500, 12345, None, MetaTransient),
        (400, None, None, MetaUnknown),
        (400, "190", "463", MetaTokenRefused),
    ],
)
def test_what_a_code_means(status: int, code: Any, subcode: Any, kind: type[MetaError]) -> None:
    """A dead token would be retried for an hour, or an outage would fail the day at once."""
    error = {"message": "m", "code": code, "error_subcode": subcode, "fbtrace_id": "AbC"}
    found = from_answer(error, http_status=status, who="connection 'm'")
    assert type(found) is kind
    assert isinstance(found, TributaryError)
    assert found.retryable is (
        issubclass(kind, MetaTransient | MetaThrottled | MetaTooMuchData | MetaReportFailed)
        and kind is not MetaBlocked  # until a person has settled it
    )
    number = None if code is None else int(code)
    assert (found.code, found.http_status, found.trace_id) == (number, status, "AbC")
    assert found.subcode == (None if subcode is None else int(subcode))


def test_reduce_the_amount_of_data_is_no_outage() -> None:
    """The same call would be repeated, and fail, for ever."""
    message = "Please reduce the amount of data you're asking for, then retry your request"
    found = from_answer({"code": 1, "message": message}, http_status=500, who="m")
    assert type(found) is MetaTooMuchData


def test_graphs_own_word_that_it_will_pass_is_heeded() -> None:
    """An unknown code that Graph calls transient would fail the day."""
    error = {"code": 77777, "message": "m", "is_transient": True}
    assert type(from_answer(error, http_status=400, who="m")) is MetaTransient
    error["is_transient"] = False
    assert type(from_answer(error, http_status=400, who="m")) is MetaUnknown


def test_an_error_says_what_to_mend_and_nothing_secret(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """A token, an id or an e-mail that Graph quotes would stand in logs for years."""
    message = (
        f'Malformed access token "{TOKEN}" of jane.doe+x@example.com for act_1234567890 '
        f"and user 100000000000001, o'neil@example.org"
    )
    error = {"message": message, "code": 190, "error_subcode": 467, "fbtrace_id": "AbCdEf"}
    server = serve((400, {"error": error}, {}))
    with pytest.raises(MetaTokenRefused) as caught:
        _graph(server, who="connection 'meta_acme'", app_secret="app-secret").get("me")
    text = str(caught.value)
    assert text == (
        "Meta refuses the access token of connection 'meta_acme': put a valid one into its "
        'password field. Meta said: Malformed access token "…" of … for act_… and user …, … '
        "(code 190/467, HTTP 400, trace AbCdEf)"
    )
    assert caught.value.__cause__ is None
    assert len(server.paths) == 1
    assert TOKEN not in caplog.text


_PART = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789._%+-", min_size=1, max_size=30)


@given(
    before=st.text(max_size=20),
    secret=st.one_of(
        st.builds("{}@{}.com".format, _PART, _PART),
        st.text("abcdefghijkLMNOPQ0123456789_-|", min_size=20, max_size=200),
        st.integers(10**5, 10**18).map(str),
        st.integers(10**9, 10**18).map("act_{}".format),
    ),
    after=st.text(max_size=400),
)
def test_redacted_leaves_no_secret(before: str, secret: str, after: str) -> None:
    """What Graph quotes of a person or a credential would pass through."""
    found = redacted(f"{before} {secret} {after}")
    assert secret.removeprefix("act_") not in found
    assert len(found) <= 300


@given(st.text())
def test_redacted_takes_any_text(text: str) -> None:
    """An odd message would hide the error behind another one."""
    assert len(redacted(text)) <= 300


@pytest.mark.parametrize("kind", sorted(errors.MetaError.__subclasses__(), key=str))
def test_errors_survive_a_process_boundary(kind: type[MetaError]) -> None:
    """A worker that hands its error on would die of the handing on."""
    error = kind("text", code=1, subcode=2, http_status=500, trace_id="t", wait=7.5)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), vars(copy)) == (str(error), vars(error))
    assert str(copy) == "text (code 1/2, HTTP 500, trace t)"
