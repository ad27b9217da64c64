"""The OpenAPI document: complete, and nothing that can be made from it breaks the server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tributary.api.bounds import Bounds

from tests.support.edge import Client, connections, edge, key, two_brands


@pytest.fixture(scope="module")
def http(module_warehouse: str) -> Iterator[Client]:
    two_brands(module_warehouse)
    with pytest.MonkeyPatch.context() as patch:
        connections(patch)
        patch.setenv("TRIBUTARY_RATE_LIMIT", "1000000/minute")
        # The edge's time limits are for the Internet; here a busy machine is the slow client.
        patient = Bounds(head_seconds=600, body_seconds=600, answer_seconds=600)
        with edge(module_warehouse, bounds=patient) as url:
            found = Client(url, key(module_warehouse, "lumen"))
            found("POST", "/conversions", json={"event_name": "Lead", "email": "a@example.com"})
            yield found


def test_every_answer_is_described(http: Client) -> None:
    """A client made from the document would meet answers that it does not know."""
    document = http("GET", "/openapi.json").json()
    assert len(document["paths"]) >= 9
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            for status, response in operation["responses"].items():
                if status >= "400":
                    problem = response["content"]["application/problem+json"]["schema"]
                    assert problem == {"$ref": "#/components/schemas/Problem"}
                elif status != "204":
                    schema = response["content"]["application/json"]["schema"]
                    assert schema not in ({}, None), (method, path, status)
    schemas = document["components"]["schemas"]
    assert not [name for name in schemas if "ValidationError" in name]
    shown = str(schemas["Conversion"]["properties"])
    assert "hash" not in shown


@pytest.mark.slow
def test_no_request_that_can_be_made_from_it_breaks_the_server(
    http: Client, tmp_path: Path
) -> None:
    """Some odd but possible request would be answered with a 5xx."""
    # One worker: in several threads Python 3.11's `ast` fails now and then ("AST constructor
    # recursion depth mismatch").
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", f"{http.url}/openapi.json",
        "-H", f"Authorization: {http.bearer}", "--max-examples", "4", "--seed", "4711",
        "--checks", "not_a_server_error,response_schema_conformance,content_type_conformance,"
        "status_code_conformance", "--phases", "examples,coverage,fuzzing", "--workers", "1",
        # There is no Airflow here: 503 is its right answer.
        "--exclude-name", "POST /conversions/sync", "--generation-database", "none", "--no-color",
        # A run fails when Hypothesis takes 30 s to make the cases of a route, though all of them
        # pass: that says how busy the machine is.
        "--suppress-health-check", "too_slow",
    ]  # fmt: skip
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    done = re.search(r"(\d+) generated, (\d+) passed", ended.stdout)
    assert done, ended.stdout[-2000:]
    assert done[1] == done[2]
    assert int(done[1]) > 300
