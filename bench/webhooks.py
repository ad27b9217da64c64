"""How many webhooks a second the public edge takes, and how long a provider waits for its 200.

Signed Stripe purchases, each a new one, so many in flight at once, against real uvicorn processes
and the embedded Postgres with synchronous commits. The client is a process on the same machine and
its CPU is shown, too, since it takes from the same cores.

    python -m bench.webhooks [--posts 10000] [--in-flight 50] [--workers 2]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import psutil
import psycopg
from rich.console import Console
from rich.table import Table
from stripe import WebhookSignature
from tributary import config, warehouse
from tributary.local import embedded
from tributary.settings.apply import apply
from tributary.settings.read import check

DATABASE = "bench_webhooks"
SECRET = "whsec_of-the-bench"


def _payload(number: int) -> bytes:
    address = {"city": "Austin", "state": "TX", "postal_code": "78701", "country": "US"}
    person = {
        "email": f"person.{number}@example.com", "name": "Emily Garcia", "phone": "+12125550123",
        "address": address,
    }  # fmt: skip
    thing = {
        "id": f"cs_{number}", "object": "checkout.session", "amount_total": 1990, "currency": "usd",
        "client_reference_id": f"contact-{number}", "customer_details": person,
        "metadata": {"fbclid": f"IwAR{number:08}"}, "mode": "payment",
        "payment_intent": f"pi_{number}", "payment_status": "paid",
        "line_items": {"padding": "x" * 1500},  # what a real session is long
    }  # fmt: skip
    event = {
        "id": f"evt_{number}", "object": "event", "created": int(time.time()), "livemode": True,
        "type": "checkout.session.completed", "data": {"object": thing},
    }  # fmt: skip
    return json.dumps(event).encode()


async def _client(port: int, numbers: list[int], seconds: list[float], said: Counter[int]) -> None:
    """One connection that posts one webhook after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while numbers:
        body = _payload(numbers.pop())
        signature = WebhookSignature.generate_signature_header(body.decode(), SECRET)
        head = (
            f"POST /webhooks/bench/stripe HTTP/1.1\r\nHost: edge\r\nStripe-Signature: {signature}"
            f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        began = time.perf_counter()
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            line for line in answer.lower().splitlines() if line.startswith("content-length")
        )
        await reader.readexactly(int(length.split(":")[1]))
        seconds.append(time.perf_counter() - began)
        said[int(answer.split()[1])] += 1
    writer.close()


async def _post(port: int, posts: int, in_flight: int) -> tuple[list[float], Counter[int]]:
    numbers, said = list(range(posts)), Counter[int]()
    seconds: list[float] = []
    await asyncio.gather(*(_client(port, numbers, seconds, said) for _ in range(in_flight)))
    return seconds, said


def _prepared() -> str:
    embedded.start()
    with psycopg.connect(embedded.uri("postgres"), autocommit=True) as connection:
        connection.execute(f"drop database if exists {DATABASE} with (force)")
        connection.execute(f"create database {DATABASE}")
    uri = embedded.uri(DATABASE)
    warehouse.migrate(uri)
    brand = {
        "slug": "bench", "name": "Bench", "reporting_currency": "USD", "time_zone": "UTC",
        "destinations": [{"name": "bench", "platform": "meta", "conn_id": "meta", "pixel_id": "1"}],
        "webhooks": [{"source": "stripe", "conn_id": "stripe_bench"}],
    }  # fmt: skip
    with warehouse.connect(uri, autocommit=True) as connection:
        apply(connection, check({"brands": [brand]}))
    return uri


def _edge(uri: str, port: int, workers: int) -> subprocess.Popen[bytes]:
    connection = {"conn_type": "tributary_webhook", "password": SECRET}
    running = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "tributary.api.edge:app", "--port", str(port),
         "--workers", str(workers), "--no-access-log", "--log-level", "warning"],
        env={**os.environ, "TRIBUTARY_WAREHOUSE": uri, "TRIBUTARY_SECRET_KEY": config.payload_key(),
             "AIRFLOW_CONN_STRIPE_BENCH": json.dumps(connection)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
            return running
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def main() -> None:
    """Print the report; an assertion fails when a post is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    uri = _prepared()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = _edge(uri, port, options.workers)
    try:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        spent = sum(sum(one.cpu_times()[:2]) for one in family)
        began = time.perf_counter()
        seconds, said = asyncio.run(_post(port, options.posts, options.in_flight))
        wall = time.perf_counter() - began
        spent = sum(sum(one.cpu_times()[:2]) for one in family) - spent
        memory = sum(one.memory_info().rss for one in family) / 2**20
    finally:
        server.terminate()
        server.wait()
    with warehouse.connect(uri) as connection:
        row = connection.execute(
            "select (select count(*) from ops.conversion_events) as events, "
            "(select count(*) from ops.conversion_deliveries) as deliveries, "
            "(select count(*) from ops.webhook_payloads where status = 'taken') as payloads"
        ).fetchone()
    assert said == {200: options.posts}, said
    assert row is not None
    assert set(row.values()) == {options.posts}, row
    seconds.sort()
    own = resource.getrusage(resource.RUSAGE_SELF)
    table = Table(
        "posts", "in flight", "workers", "posts/s", "p50 ms", "p95 ms", "p99 ms", "edge CPU s",
        "client CPU s", "edge memory MB", "lost", title="Webhooks",
    )  # fmt: skip
    table.add_row(
        f"{options.posts:,}", str(options.in_flight), str(options.workers),
        f"{options.posts / wall:.0f}",
        *(f"{seconds[int(len(seconds) * part)] * 1000:.0f}" for part in (0.5, 0.95, 0.99)),
        f"{spent:.1f}", f"{own.ru_utime + own.ru_stime:.1f}", f"{memory:.0f}", "0",
    )  # fmt: skip
    Console(width=max(120, Console().width)).print(table)


if __name__ == "__main__":
    main()
