"""What an installation stores of itself, and which environment it runs in."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from tributary import cli, config, warehouse
from tributary.cli import main
from tributary.errors import SettingsError
from tributary.local import embedded, home, services
from tributary.orchestration import deployment


def test_a_port_that_another_program_took_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make up` reports another checkout's Airflow on the same port as its own."""
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path))
    before = {name: home.port(name) for name in ("ui", "worker_logs", "sandbox")}
    for name in before:
        home.leave_taken(name)
    assert {name: home.port(name) for name in before} == before
    with socket.create_server(("127.0.0.1", before["ui"])):
        for name in before:
            home.leave_taken(name)
        assert home.port("ui") != before["ui"]
    assert home.port("worker_logs") == before["worker_logs"]


def test_tls_of_the_warehouse_reaches_dbt() -> None:
    """dbt accepts any server that answers in the warehouse's place."""
    variables = config.dbt_environment("postgresql://me:p@db.example/warehouse?sslmode=verify-full")
    assert (variables["PGSSLMODE"], variables["TRIBUTARY_DBT_DATABASE"]) == (
        "verify-full", "warehouse",
    )  # fmt: skip


def test_what_a_person_has_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`make up` replaces the users of the local login, and every other variable that was set."""
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path))
    users = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"
    uri = "postgresql://u:p@127.0.0.1:9/w"
    monkeypatch.delenv(users, raising=False)
    monkeypatch.delenv("AIRFLOW__CORE__PARALLELISM", raising=False)
    before = home.environment(uri, uri)
    assert (users in before, before["AIRFLOW__CORE__PARALLELISM"]) == (False, "8")
    monkeypatch.setenv(users, "admin:admin,vera:viewer")
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "3")
    assert ({**os.environ, **home.environment(uri, uri)}[users]) == "admin:admin,vera:viewer"
    assert home.environment(uri, uri)["AIRFLOW__CORE__PARALLELISM"] == "3"


URI = "postgresql://u:p@127.0.0.1:9/w"
KEY = "AIRFLOW__CORE__FERNET_KEY"


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The environment of a team's deployment; gives its AIRFLOW_HOME."""
    for name in [n for n in os.environ if n.startswith(("AIRFLOW", "_TRIBUTARY"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg://a@db/airflow")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "theirs")
    monkeypatch.setenv("AIRFLOW__API__PORT", "8181")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("how", ["", "_CMD", "_SECRET", "airflow.cfg", "airflow.cfg _cmd"])
def test_a_deployments_airflow_stays_as_it_is(
    deployed: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A command in a deployment's container reads its connections with another Fernet key, or runs
    its tasks in another executor.
    """
    if how.startswith("airflow.cfg"):
        option = how.replace("airflow.cfg", "fernet_key").replace(" ", "")
        (deployed / "airflow.cfg").write_text(f"[core]\n{option} = a%key\nparallelism = 64\n")
    else:
        monkeypatch.setenv(KEY + how, "a-key")
    theirs = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW")}
    ours = home.environment(URI, URI)
    assert {name: {**os.environ, **ours}[name] for name in theirs} == theirs
    assert (ours.get(KEY), "TRIBUTARY_SECRET_KEY" in ours) == (theirs.get(KEY), False)
    assert ("AIRFLOW__CORE__PARALLELISM" in ours) == (not how.startswith("airflow.cfg"))
    assert ours["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:8181"
    assert "secret_payloads" not in (deployed / "state" / "local.json").read_text()


def test_a_shells_airflow_home_is_not_this_installations(
    deployed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make demo` migrates another Airflow because the shell names its home."""
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")
    cfg = "[database]\nsql_alchemy_conn = {}\n[core]\nexecutor = X\nfernet_key =\n"
    (deployed / "airflow.cfg").write_text(cfg.format("sqlite:////home/me/airflow.db"))
    ours = home.environment(URI, URI)
    assert ours["AIRFLOW_HOME"] == str(deployed / "state" / "airflow")
    assert (ours[KEY] != "", ours["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]) == (True, URI)
    # One with a database to speak of is a deployment, whose file holds.
    (deployed / "airflow.cfg").write_text(cfg.format("postgresql://db/airflow"))
    ours = home.environment(URI, URI)
    assert ours["AIRFLOW_HOME"] == str(deployed)
    assert not {KEY, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"} & ours.keys()


def test_production_refuses_the_embedded_postgres(
    deployed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`configure` in a deployment writes the settings into a Postgres that no DAG reads."""
    monkeypatch.setattr(embedded, "start", lambda: pytest.fail("a Postgres is started"))
    monkeypatch.delenv("TRIBUTARY_WAREHOUSE", raising=False)
    with pytest.raises(SettingsError, match=r"^TRIBUTARY_WAREHOUSE is not set: "):
        services.warehouse_uri()
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", "postgres://u@db/w")
    with pytest.raises(SettingsError, match=r"must be a URI such as postgresql://"):
        services.warehouse_uri()
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", URI)
    assert services.warehouse_uri() == URI


@pytest.mark.parametrize("command", [["prepare"], ["destinations", "test", "acme-meta"]])
def test_an_installed_package_makes_no_airflow(
    deployed: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """A command in a container without Airflow's settings sets up a second Airflow there."""
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")
    monkeypatch.setattr(cli, "HAS_LOCAL", False)
    monkeypatch.setattr(warehouse, "migrate", lambda uri: None)
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", URI)
    ended = CliRunner().invoke(main, command)
    assert (ended.exit_code, ended.output) == (
        1, "Error: No Airflow is configured in this environment: run this where Airflow runs, with "
        "its AIRFLOW_HOME or AIRFLOW__DATABASE__SQL_ALCHEMY_CONN.\n",
    )  # fmt: skip
    monkeypatch.delenv("TRIBUTARY_WAREHOUSE")
    ended = CliRunner().invoke(main, command)
    assert (ended.exit_code, "TRIBUTARY_WAREHOUSE is not set" in ended.output) == (1, True)
    assert list(deployed.iterdir()) == []


@pytest.mark.parametrize("file", ["airflow.db", "airflow.cfg"])
def test_an_installed_package_finds_the_airflow_of_its_machine(
    deployed: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """`status` and `destinations test` cannot be used where only AIRFLOW_HOME, or not even that, is
    set, as `airflow standalone` needs no more.
    """
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")
    monkeypatch.delenv("AIRFLOW_HOME")
    monkeypatch.setenv("HOME", str(deployed))
    monkeypatch.setattr(cli, "HAS_LOCAL", False)
    assert cli._airflow_to_ask(URI) is None
    home_of_airflow = deployed / "airflow"
    home_of_airflow.mkdir()
    (home_of_airflow / "airflow.cfg").write_text("[database]\nsql_alchemy_conn = sqlite:////a.db\n")
    assert cli._airflow_to_ask(URI) is None
    named = "[database]\nsql_alchemy_conn = postgresql://db/airflow\n"
    (home_of_airflow / file).write_text(named)
    assert cli._airflow_to_ask(URI) == {}


@pytest.mark.parametrize("name", ["AIRFLOW_HOME", "AIRFLOW_CONFIG"])
def test_our_services_start_in_no_other_airflow(
    deployed: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """`make up` and `make demo` migrate the database of another Airflow, and run in it."""
    from sandbox import demo

    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")
    monkeypatch.delenv("AIRFLOW_HOME")
    value = deployed if name == "AIRFLOW_HOME" else deployed / "airflow.cfg"
    monkeypatch.setenv(name, str(value))
    (deployed / "airflow.cfg").write_text("[database]\nsql_alchemy_conn = postgresql://db/airflow")
    monkeypatch.setattr(services, "ready", lambda: pytest.fail("another Airflow is touched"))
    words = f"an Airflow of its own ({name} {value})"
    up = CliRunner().invoke(main, ["up"])
    assert (up.exit_code, words in up.output, f"unset {name}" in up.output) == (1, True, True)
    with demo.console.capture() as said, pytest.raises(SystemExit):
        demo.main()
    assert words in said.get().replace("\n", "")
    # One that is Airflow's own default, with SQLite, is no reason to refuse.
    (deployed / "airflow.cfg").write_text("[database]\nsql_alchemy_conn = sqlite:////a.db")
    home.refuse_a_shells_airflow()


def test_what_make_env_printed_may_change_again(
    deployed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `eval "$(make -s env)"`, `make up` keeps a port that another program has taken."""
    for name in [n for n in os.environ if n.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    before = home.environment(URI, URI)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")  # a person's own, since
    assert not deployment.has_airflow()
    home.refuse_a_shells_airflow()  # since it is ours
    home.forget("port_ui")
    with socket.create_server(("127.0.0.1", int(before["AIRFLOW__API__PORT"]))):
        after = home.environment(URI, URI)
    assert after["AIRFLOW__API__PORT"] != before["AIRFLOW__API__PORT"]
    assert after["AIRFLOW__API__PORT"] in after["AIRFLOW__API__BASE_URL"]
    assert after["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert (after[KEY], after["TRIBUTARY_SECRET_KEY"]) == (
        before[KEY], before["TRIBUTARY_SECRET_KEY"],
    )  # fmt: skip
