"""The edge under those who take more than their share: of memory, time, connections, answers."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import requests
from tributary import warehouse as wh
from tributary.api import access, bounds, database
from tributary.api.app import edge as make
from tributary.api.bounds import Bounds
from tributary.api.problems import ApiError
from tributary.api.shares import FAILED, UNKNOWN, Shares
from tributary.deliver import intake

from tests.support.edge import SECRET, Client, connections, edge, key, post, serving, two_brands
from tests.support.outgoing import execute

PATIENCE = 20.0  # real seconds after which a socket that says nothing fails a test


@pytest.fixture(scope="module")
def uri(module_warehouse: str) -> str:
    two_brands(module_warehouse)
    make()  # Airflow's logging, which comes with it, takes away what a test watches logs with
    return module_warehouse


@pytest.fixture(autouse=True)
def _empty(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connections(monkeypatch)
    execute(
        uri,
        "truncate ops.conversion_events, ops.conversion_deliveries, ops.contacts, "
        "ops.webhook_payloads",
    )


def opened(url: str, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    place = urlsplit(url)
    one = socket.create_connection(
        (str(place.hostname), place.port or 0), PATIENCE, source_address=(source, 0)
    )
    one.sendall(sent)
    return one


def said(one: socket.socket) -> bytes:
    """All that comes until the server closes; what is reset says nothing more."""
    answer = b""
    with one:
        try:
            while piece := one.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    return answer


def trickled(one: socket.socket, piece: bytes) -> None:
    """Send a piece again and again, until the server has closed."""
    with one:
        one.settimeout(0.02)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                one.sendall(piece)
                if one.recv(65536) == b"":
                    return
            except TimeoutError:
                continue
            except OSError:
                return
    raise AssertionError("the connection is still open")


def test_headers_without_end_are_refused_and_take_no_memory(uri: str) -> None:
    """A connection without a key makes the server keep what it sends, 300 MB or
    more.
    """
    with edge(uri) as url:
        assert requests.get(f"{url}/health", timeout=PATIENCE).json() == {"status": "ok"}
        before = psutil.Process().memory_info().rss
        for head in (b"GET /health HTTP/1.1\r\nX: ", b"GET /", b"GET /health HTTP/1.1\r\n"):
            filler = b"a: b\r\n" if head.endswith(b"\r\n") else b"x" * 6
            sent = head + filler * (2**20 // 6)
            held = []
            for _ in range(20):
                one = opened(url)
                try:
                    one.sendall(sent)
                    one.sendall(sent)
                except OSError:  # it has closed, as it should
                    pass
                held.append(one)
            for one in held:
                assert said(one)[:12] in (b"HTTP/1.1 431", b"")
        # A client that reads meanwhile sees why.
        one = opened(url, b"GET /health HTTP/1.1\r\nX: " + b"x" * 70_000)
        assert said(one).startswith(b"HTTP/1.1 431 ")
        trailers = b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
        assert b" 431 " in said(opened(url, trailers + b"x" * 70_000))
        grown = psutil.Process().memory_info().rss - before
        assert grown < 30 * 2**20, grown
        pad = {"X-Pad": "x" * 30_000}
        assert requests.get(f"{url}/health", headers=pad, timeout=PATIENCE).status_code == 200


def test_a_request_has_its_time_to_come_in(uri: str) -> None:
    """A few hundred half-open requests, or ones that trickle, stay for ever."""
    quick = Bounds(head_seconds=0.2, body_seconds=0.2, answer_seconds=0.2)
    head = b"POST /webhooks/acme/stripe HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"
    with edge(uri, bounds=quick) as url:
        for sent in (
            b"",
            b"GET /health HT",
            b"GET /health HTTP/1.1\r\nX: y\r\n",
            head,
            head + b"{",
        ):
            assert said(opened(url, sent)).startswith(b"HTTP/1.1 408 "), sent
        trickled(opened(url, b"GET /health HTTP/1.1\r\nX: "), b"x")
        trickled(opened(url, head), b" ")
        one = opened(url, b"GET /health HTTP/1.1\r\n\r\n")
        assert one.recv(12) == b"HTTP/1.1 200"
        trickled(one, b"\r\n")
        body = b'{"event_name": "Lead"}'
        slow = opened(url, b"POST /conversions HTTP/1.1\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        assert said(slow).startswith(b"HTTP/1.1 401 ")


def test_an_answer_has_its_time_to_be_read(uri: str) -> None:
    """A client that reads nothing keeps its answers in memory for ever."""
    with edge(uri, bounds=Bounds(answer_seconds=0.2)) as url:
        bearer = key(uri)
        leads = [{"event_name": "Lead", "event_id": f"l{n}", "email": "a@example.com"}
                 for n in range(1000)]  # fmt: skip
        done = Client(url, bearer)("POST", "/conversions/batch", json={"events": leads}).json()
        assert done["accepted"] == 1000
        head = f"GET /conversions?limit=1000 HTTP/1.1\r\nAuthorization: Bearer {bearer}\r\n\r\n"
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", urlsplit(url).port))
            one.sendall(head.encode() * 8)  # 8 MB, which the kernel does not keep for us
            reset = select.poll()
            reset.register(one, select.POLLHUP | select.POLLERR)
            assert reset.poll(PATIENCE * 1000)


def test_many_connections_push_out_only_those_that_wait(uri: str) -> None:
    """Who opens many connections and asks for nothing keeps all others out."""
    few = Bounds(connections=12, connections_of_address=4)
    with edge(uri, bounds=few) as url:
        half = b"GET /health HTTP/1.1\r\nX: "
        with ExitStack() as all_of_them:
            first = [all_of_them.enter_context(opened(url, half, "127.0.0.2")) for _ in range(4)]
            for _ in range(20):
                all_of_them.enter_context(opened(url, half, "127.0.0.2"))
            for one in first:  # the address has pushed out its own
                assert said(one) == b""
            for number in range(3, 8):
                for _ in range(4):
                    all_of_them.enter_context(opened(url, half, f"127.0.0.{number}"))
            assert requests.get(f"{url}/health", timeout=PATIENCE).status_code == 200


def test_bodies_that_do_not_end_push_out_the_largest(uri: str) -> None:
    """A hundred clients without a key fill the memory with halves of bodies."""
    with edge(uri, bounds=Bounds(bodies=2**20)) as url:
        head = b"POST /webhooks/acme/stripe HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n"
        largest = opened(url, head + b"x" * 500_000)
        smaller = opened(url, head + b"x" * 400_000, "127.0.0.2")
        last = opened(url, head + b"x" * 300_000, "127.0.0.3")
        assert said(largest).startswith(b"HTTP/1.1 503 ")
        with smaller, last:
            answer = Client(url)("POST", "/webhooks/acme/stripe", data=b"x" * 1000)
            assert answer.status_code == 401


def test_bodies_of_one_address_leave_room_for_others(uri: str) -> None:
    """One brand's batches take all room for bodies, and another brand's are
    refused.
    """
    with edge(uri, bounds=Bounds(bodies=2**20)) as url:
        head = b"POST /webhooks/acme/stripe HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n"
        larger = opened(url, head + b"x" * 300_000, "127.0.0.2")
        with opened(url, head + b"x" * 250_000, "127.0.0.2") as smaller:
            assert said(larger).startswith(b"HTTP/1.1 503 ")  # though half of the room is free
            lead = {"event_name": "Lead", "event_id": "n", "email": "a@example.com"}
            batch = {"events": [{**lead, "junk": "x" * 400_000}]}
            lumen = Client(url, key(uri, "lumen"))
            assert lumen("POST", "/conversions/batch", json=batch).status_code == 200
            assert not select.select([smaller], [], [], 0)[0]  # nor was this one refused


def test_a_body_that_goes_on_has_more_time(uri: str) -> None:
    """A slow line never brings a batch of some megabytes in."""
    with edge(uri, bounds=Bounds(body_seconds=0.3, pace=50_000)) as url:
        head = b"POST /webhooks/acme/stripe HTTP/1.1\r\nConnection: close\r\n"
        slow = opened(url, head + b"Content-Length: 100000\r\n\r\n")
        for _ in range(10):  # 0.6 s
            time.sleep(0.06)
            slow.sendall(b"x" * 10_000)
        assert said(slow).startswith(b"HTTP/1.1 401 ")


def test_pipelined_requests_have_an_end(uri: str) -> None:
    """One packet holds thousands of requests, each of which is kept."""
    with edge(uri) as url:
        answers = said(opened(url, b"GET /health HTTP/1.1\r\n\r\n" * 5000))
        assert answers.count(b"HTTP/1.1 200") <= 10
        assert b"HTTP/1.1 400 " in answers


def test_an_edge_without_bounds_does_not_start() -> None:
    """Under another server the bounds are silently gone."""
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(make()({"type": "lifespan"}, receive, send))
    assert [one["type"] for one in sent] == ["lifespan.startup.failed"]
    assert "uvicorn tributary.api.edge:app" in sent[0]["message"]
    # Nor does it answer where nothing has started it, as under `uvicorn --lifespan off`.
    with pytest.raises(RuntimeError, match="uvicorn tributary"):
        asyncio.run(make()({"type": "http"}, receive, send))
    assert [one.get("status") for one in sent[1:]] == [500, None]


def test_ipv6_hosts_of_one_network_are_one_client() -> None:
    """One host counts as 2^64, and no limit of an address holds."""
    assert bounds.address("2001:db8:1:2:3:4:5:6") == bounds.address("2001:db8:1:2::1")
    assert bounds.address("2001:db8:1:3::1") != bounds.address("2001:db8:1:2::1")
    assert bounds.address("::ffff:192.0.2.7") == bounds.address("192.0.2.7") == "192.0.2.7"


@contextmanager
def locked(uri: str, brand: str) -> Iterator[Callable[[], None]]:
    """The brand's row, as an erasure or `configure` holds it; gives what lets it go."""
    with wh.connect(uri) as connection:
        connection.execute("select 1 from ops.brands where slug = %s for update", [brand])
        yield connection.rollback


def test_a_brand_that_waits_slows_no_other(uri: str) -> None:
    """An erasure of one brand holds every connection, and /health says that all is
    down.
    """
    with edge(uri) as url, ThreadPoolExecutor(60) as pool:
        acme, lumen = key(uri), Client(url, key(uri, "lumen"))
        with locked(uri, "acme") as release:
            stuck = [
                pool.submit(
                    Client(url, acme), "POST", "/conversions",
                    json={"event_name": "Lead", "event_id": f"l{number}", "email": "a@example.com"},
                )
                for number in range(40)
            ]  # fmt: skip
            hooked = [
                pool.submit(post, Client(url), "chatbot", {"contact_id": f"c{number}"})
                for number in range(20)
            ]
            waiting = "select count(*) as n from pg_stat_activity where wait_event_type = 'Lock'"
            end = time.monotonic() + PATIENCE
            while _number(uri, waiting) < 8:
                assert time.monotonic() < end
            for number in range(5):
                sale = {"event_name": "Lead", "event_id": f"l{number}", "email": "b@example.com"}
                assert lumen("POST", "/conversions", json=sale).status_code == 201
                assert lumen("GET", "/conversions").json()["count"] == number + 1
                assert requests.get(f"{url}/health", timeout=PATIENCE).json() == {"status": "ok"}
            assert not [one for one in stuck + hooked if one.done()]
            assert _number(uri, waiting) == 8  # half of the connections, and no thread more
            release()
        codes = [one.result().status_code for one in stuck]
    assert codes == [201] * 40
    assert {one.result().status_code for one in hooked} == {200}


def _number(uri: str, statement: Any) -> int:
    with wh.connect(uri, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row["n"])


def test_what_waits_too_long_is_to_come_again(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock of another process looks like an outage, or like a fault of ours."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", uri)
    app = make()
    app.state.database.shares.patience = 0.1
    with serving(app) as url, ThreadPoolExecutor(20) as pool:
        http = Client(url, key(uri))
        with locked(uri, "acme") as release:
            lead = {"event_name": "Lead", "event_id": "x", "email": "a@example.com"}
            held = [pool.submit(http, "POST", "/conversions", json=lead) for _ in range(12)]
            done, _ = wait(held, PATIENCE, FIRST_COMPLETED)
            assert {one.result().status_code for one in done} == {503}
            while sum(one.done() for one in held) < 4:
                wait([one for one in held if not one.done()], PATIENCE, FIRST_COMPLETED)
            release()
            answers = [one.result() for one in held]
    late = [one for one in answers if one.status_code == 503]
    assert len(late) == 4  # eight had their place
    assert all(one.headers["retry-after"] == "5" for one in late)
    assert all("erasure" in one.json()["detail"] for one in late)


def test_a_brand_that_is_busy_is_no_outage(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One brand's erasure, a timeout or a deadlock is reported as a warehouse that
    is down.
    """
    quick = database._OPTIONS.replace("lock_timeout=5s", "lock_timeout=50ms")
    monkeypatch.setattr(database, "_OPTIONS", quick)
    lead = {"event_name": "Lead", "event_id": "busy", "email": "jane@example.com"}
    with edge(uri) as url:
        acme, lumen = Client(url, key(uri)), Client(url, key(uri, "lumen"))
        with locked(uri, "acme"):
            answers = [
                acme("POST", "/conversions", json=lead),
                acme("POST", "/conversions/batch", json={"events": [lead]}),
                post(Client(url), "chatbot", {"contact_id": "B1", "qualified": True, **lead}),
            ]
            assert lumen("POST", "/conversions", json=lead).status_code == 201
        for one in answers:
            assert (one.status_code, one.headers["retry-after"]) == (503, "5")
            assert "Other work, such as an erasure" in one.json()["detail"]
        assert acme("POST", "/conversions", json=lead).status_code == 201


@pytest.mark.parametrize(
    ("what", "words"),
    [(psycopg.errors.DeadlockDetected, "Other work"), (psycopg.errors.QueryCanceled, "Other work"),
     (psycopg.errors.AdminShutdown, "does not answer")],
)  # fmt: skip
def test_a_deadlock_is_busy_and_a_stop_is_not(
    uri: str, monkeypatch: pytest.MonkeyPatch, what: type[psycopg.Error], words: str
) -> None:
    """Who reads the log looks for an outage where two requests crossed, or the
    reverse.
    """

    def broken(*_: Any, **__: Any) -> None:
        raise what("Key (email)=(jane@example.com)")

    monkeypatch.setattr(intake, "_store", broken)
    with edge(uri) as url:
        lead = {"event_name": "Lead", "event_id": "d", "email": "jane@example.com"}
        answer = Client(url, key(uri))("POST", "/conversions", json=lead)
    assert answer.status_code == 503
    assert words in answer.json()["detail"]
    assert "jane" not in answer.text


def test_shares_leave_one_for_who_has_none() -> None:
    """Two or three slow brands together take what one alone may not."""

    async def run() -> list[int]:
        shares, taken = Shares(12), []
        shares.patience = 0.01
        async with asyncio.TaskGroup() as group:
            done = asyncio.Event()
            counts = dict.fromkeys("abc", 0)

            async def hold(brand: str) -> None:
                try:
                    async with shares.of(brand):
                        counts[brand] += 1
                        await done.wait()
                except ApiError:
                    pass

            for brand in "abc":
                for _ in range(20):
                    group.create_task(hold(brand))
                await asyncio.sleep(0.05)
            async with shares.of("d"):
                taken = list(counts.values())
            done.set()
        async with shares.of("a"):  # and all came back
            assert shares._free == 11
        return taken

    assert asyncio.run(run()) == [6, 3, 2]


def test_slow_brands_leave_places_for_look_ups() -> None:
    """Five slow brands hold every place, and no key of a sixth is even looked up."""

    async def run() -> list[int]:
        shares, counts = Shares(16, 2), dict.fromkeys("abcdef", 0)
        shares.patience = 0.01
        async with asyncio.TaskGroup() as group:
            done = asyncio.Event()

            async def hold(brand: str) -> None:
                try:
                    async with shares.of(brand):
                        counts[brand] += 1
                        await done.wait()
                except ApiError:
                    pass

            for brand in counts:
                for _ in range(20):
                    group.create_task(hold(brand))
                await asyncio.sleep(0.03)
            async with shares.of(UNKNOWN), shares.of(FAILED, most=1):
                with pytest.raises(ApiError):
                    async with shares.of(UNKNOWN):
                        pass
            done.set()
        assert shares._free == 18
        return list(counts.values())

    assert asyncio.run(run()) == [8, 4, 2, 1, 1, 0]


def test_pages_follow_one_another_while_rows_come_in(uri: str) -> None:
    """A client that walks through its conversions skips some, or sees some twice."""
    with edge(uri) as url:
        acme, lumen = Client(url, key(uri)), Client(url, key(uri, "lumen"))
        leads = [{"event_name": "Lead", "event_id": f"l{n}", "email": "a@example.com"}
                 for n in range(9)]  # fmt: skip
        acme("POST", "/conversions/batch", json={"events": leads[:4]})  # all at one moment
        for lead in leads[4:7]:
            acme("POST", "/conversions", json=lead)
        theirs = lumen("POST", "/conversions", json=leads[0]).json()["id"]
        page = acme("GET", "/conversions", params={"limit": 2}).json()
        seen = [row["event_id"] for row in page["data"]]
        assert page["count"] == 7
        for lead in leads[7:]:
            acme("POST", "/conversions", json=lead)
        while page["next"]:
            wanted = {"limit": 2, "after": page["next"]}
            page = acme("GET", "/conversions", params=wanted).json()
            seen += [row["event_id"] for row in page["data"]]
        assert seen[:3] == ["l6", "l5", "l4"]
        assert sorted(seen) == [f"l{n}" for n in range(7)]
        assert acme.faults("GET", "/conversions", params={"after": theirs}) == ["after"]
        assert acme.faults("GET", "/conversions", params={"offset": 10_001}) == ["offset"]


class Silent:
    """A server that takes connections and says nothing."""

    def __init__(self) -> None:
        self.taken: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        try:
            while True:
                self.taken.append(self._listener.accept()[0])
        except OSError:
            return

    def close(self) -> None:
        self._listener.close()
        for one in self.taken:
            one.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def test_a_warehouse_that_is_silent_is_asked_by_one_at_a_time(
    uri: str, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 posts wait 10 to 40 s for their 503, each with a thread."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", f"postgresql://a:b@127.0.0.1:{silent.port}/c")
    app = make()
    app.state.database.patience = 2.0
    bearer = "tk_" + "0" * 12 + "_" + "A" * 43
    with serving(app) as url, ThreadPoolExecutor(50) as pool:
        assert Client(url, bearer)("GET", "/conversions").status_code == 503  # finds it out
        asked = len(silent.taken)
        jobs = [pool.submit(Client(url, bearer), "GET", "/conversions") for _ in range(40)]
        hooks = [pool.submit(post, Client(url), "stripe", {"id": "1"}) for _ in range(40)]
        healthy = pool.submit(requests.get, f"{url}/health", timeout=PATIENCE)
        answers = [job.result() for job in jobs + hooks]
        assert {one.status_code for one in answers} == {503}
        assert all(one.headers["retry-after"] for one in answers)
        assert sorted(one.elapsed.total_seconds() for one in answers)[len(answers) // 2] < 1
        assert len(silent.taken) - asked <= 2  # at once for all, but for one who asks again
        assert healthy.result().status_code == 503


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_without_redis_each_process_counts_by_itself(
    uri: str, how: str, silent: Silent, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Redis is down, and everybody gets a 500, or nobody is limited any more."""
    port = silent.port if how == "silent" else _closed_port()
    monkeypatch.setenv("TRIBUTARY_RATE_LIMIT_STORAGE", f"redis://127.0.0.1:{port}/1")
    monkeypatch.setenv("TRIBUTARY_RATE_LIMIT", "3/minute")
    with edge(uri) as url:
        busy, calm = Client(url, key(uri)), Client(url, key(uri, "lumen"))
        assert requests.get(f"{url}/health", timeout=PATIENCE).json() == {"status": "ok"}
        codes = [busy("GET", "/destinations").status_code for _ in range(5)]
        assert codes == [200, 200, 200, 429, 429]
        assert calm("GET", "/destinations").status_code == 200
        health = requests.get(f"{url}/health", timeout=PATIENCE)
        assert health.status_code == 200
        assert "each process counts its own requests" in health.json()["degraded"][0]
    words = [one.getMessage() for one in caplog.records if one.name == access.__name__]
    assert len(words) == 1
    assert "TRIBUTARY_RATE_LIMIT_STORAGE" in words[0]
    assert len(silent.taken) <= 2


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_failed_keys_are_limited_and_valid_ones_are_not(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who tries keys has them looked up for ever; or locks out who shares its
    address.
    """
    monkeypatch.setenv("TRIBUTARY_FAILURE_LIMIT", "5/minute")
    with edge(uri) as url:
        unknown = Client(url, "tk_" + "0" * 12 + "_" + "A" * 43)
        answers = [unknown("GET", "/conversions") for _ in range(8)]
        assert [one.status_code for one in answers] == [401] * 5 + [429] * 3
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        assert Client(url)("GET", "/conversions").status_code == 429
        assert Client(url, key(uri))("GET", "/conversions").status_code == 200
        assert said_by(url, "127.0.0.2") == 401  # another address has its own count


def said_by(url: str, source: str) -> int:
    sent = b"GET /conversions HTTP/1.1\r\nConnection: close\r\n\r\n"
    return int(said(opened(url, sent, source)).split()[1])


def test_failed_signatures_are_limited_and_valid_ones_are_not(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may try secrets without end; or keeps the provider's own posts out."""
    monkeypatch.setenv("TRIBUTARY_FAILURE_LIMIT", "5/minute")
    lead = {"contact_id": "B1", "qualified": True, "email": "jane@example.com"}
    with edge(uri) as url:
        http = Client(url)
        codes = [post(http, "chatbot", lead, header="t=1,v1=00").status_code for _ in range(7)]
        assert codes == [401] * 5 + [429] * 2
        assert post(http, "paypal", lead).status_code == 429  # nor are names tried out
        assert post(http, "chatbot", lead).json()["status"] == "accepted"
        assert post(http, "ghl", {"id": "1"}).status_code != 429  # looked up, and proven
        # All addresses together have tried this one too often, too.
        body = json.dumps(lead).encode()
        head = f"POST /webhooks/acme/chatbot HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
        sent = f"{head}Connection: close\r\n\r\n".encode() + body
        assert said(opened(url, sent, "127.0.0.3")).startswith(b"HTTP/1.1 429 ")


def test_plain_secrets_are_not_tried_without_end(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is over the limit goes on guessing a short secret, and sees which one is
    right.
    """
    monkeypatch.setenv("TRIBUTARY_FAILURE_LIMIT", "5/minute")
    call = {"id": "p1", "email": "jane@example.com"}
    with edge(uri) as url:
        right = [post(Client(url), "perspective", call, headers={"X-Webhook-Secret": SECRET})]
        guessed = [
            post(Client(url), "perspective", call, headers={"X-Webhook-Secret": f"g{n}"})
            for n in range(8)
        ]
        right.append(post(Client(url), "perspective", call, headers={"X-Webhook-Secret": SECRET}))
        assert [one.status_code for one in guessed] == [401] * 5 + [429] * 3
        assert [one.status_code == 429 for one in right] == [False, True]
        assert 1 <= int(right[1].headers["retry-after"]) <= 60
        # A signature cannot be guessed.
        lead = {"contact_id": "B1", "qualified": True, "email": "jane@example.com"}
        assert post(Client(url), "chatbot", lead).json()["status"] == "accepted"


def test_what_cannot_be_a_key_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage costs a connection to the warehouse each time."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", f"postgresql://a:b@127.0.0.1:{_closed_port()}/c")
    with serving(make()) as url:
        for bad in (None, "tk_", "x" * 60, "tk_" + "0" * 12 + "_" + "ä" * 43):
            header = {"Authorization": f"Bearer {bad}".encode()} if bad else {}
            answer = requests.get(f"{url}/conversions", headers=header, timeout=PATIENCE)
            assert answer.status_code == 401


def test_the_log_says_what_was_asked_and_by_which_key(
    uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log keeps addresses, e-mails or secrets; or says nothing at all."""
    caplog.set_level(logging.INFO)
    with edge(uri) as url:
        bearer = key(uri)
        http = Client(url, bearer)
        http("GET", "/conversions", params={"brand": "jane@example.com", "token": "s3cret"})
        http("GET", "/conversions/0197c1f2-0000-7000-8000-000000000000?email=jane@example.com")
        http("GET", "/jane@example.com?phone=2125550123")
        said(opened(url, b"PURGE /destinations HTTP/1.1\r\nConnection: close\r\n\r\n"))
        http("PATCH", "/destinations/jane@example.com", json={"paused": True})
        post(http, "chatbot", {"email": "jane@example.com", "qualified": True, "contact_id": "c"})
        post(http, "jane@example.com", {})
        said(opened(url, b"GET /jane@example.com\x00 HTTP/1.1\r\n\r\n"))
    lines = [one.getMessage() for one in caplog.records if one.name == "tributary.access"]
    who = bearer.split("_")[1]
    parts = [re.fullmatch(r"(\S+ \S+ \d+) \d+ ms key (\S+)", line) for line in lines]
    assert [one.groups() for one in parts if one] == [
        ("GET /conversions 200", who),
        ("GET /conversions/{id} 404", who),
        ("GET - 404", "-"),
        ("- /destinations 405", "-"),
        ("PATCH /destinations/{name} 404", who),
        ("POST /webhooks/acme/chatbot 200", "-"),
        ("POST /webhooks/{brand}/{source} 404", "-"),
    ], lines
    assert all(parts)
    everything = caplog.text
    for secret in ("jane", "2125550123", "s3cret", bearer.split("_", 2)[2], "127.0.0.1:"):
        assert secret not in everything, everything
