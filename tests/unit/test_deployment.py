"""The deployment's files, checked without a Docker engine, and the documents that describe them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tributary.config import ROOT

COMPOSE = ROOT / "docker-compose.yaml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file with its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_compose_follows_the_specification() -> None:
    """A key that compose does not know would stop a team's first start."""
    checked = subprocess.run(
        [
            str(Path(sys.executable).parent / "check-jsonschema"),
            "--builtin-schema", "vendor.compose-spec", str(COMPOSE),
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


def test_compose_refers_only_to_what_it_defines(compose: dict[str, Any]) -> None:
    """The schema does not see a dependency on, or a volume of, a name that is not there."""
    services, volumes = compose["services"], compose["volumes"]
    assert set(services) == {
        "postgres", "redis", "init", "api-server", "scheduler", "dag-processor", "triggerer",
        "worker", "edge",
    }  # fmt: skip
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], f"{name} waits for {needed}'s health"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in volumes or source.startswith((".", "/")), name
        assert name == "init" or "healthcheck" in service, f"{name} has no health check"


def test_compose_holds_no_secret(compose: dict[str, Any]) -> None:
    """A password with a default is a password that everybody knows."""
    variables = re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", COMPOSE.read_text())
    assert variables
    for name, rest in variables:
        assert rest.startswith(":?"), f"{name} must have no default"
    example = (ROOT / ".env.example").read_text()
    for name, _ in variables:
        assert re.search(rf"^{name}=$", example, re.MULTILINE), f"{name} is not in .env.example"


def test_every_environment_variable_is_documented() -> None:
    """A variable that only the code knows is a setting that nobody can use."""
    sources = [
        p
        for folder in ("include", "dags", "plugins", "sandbox")
        for p in (ROOT / folder).rglob("*.py")
    ]
    used = {
        name
        for path in sources
        for name in re.findall(r"environ(?:\.get\(|\[)\"(TRIBUTARY_\w+)\"", path.read_text())
    }
    example, readme = (ROOT / ".env.example").read_text(), (ROOT / "README.md").read_text()
    assert {"TRIBUTARY_HOME", "TRIBUTARY_WAREHOUSE", "TRIBUTARY_MAX_WAIT"} <= used
    for name in used:
        assert f"{name}=" in example, name
        assert name in readme, name


def test_readme_names_every_dag_and_command() -> None:
    """The README is where a stranger begins."""
    readme = (ROOT / "README.md").read_text()
    for path in (ROOT / "dags").glob("*.py"):
        assert f"`{path.stem}`" in readme
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):.*##", makefile, re.MULTILINE)
    assert {"demo", "test", "up", "down", "env", "lint", "bench", "clean"} <= set(targets)


def test_the_lock_is_complete_and_names_no_registry() -> None:
    """A requirement that is not pinned installs something else tomorrow."""
    wanted = {
        re.split(r"[\[=<>~ #]", line, maxsplit=1)[0].lower()
        for line in (ROOT / "requirements.in").read_text().splitlines()
        if line and not line.startswith("#")
    }
    lock = (ROOT / "requirements.txt").read_text()
    pinned = set(re.findall(r"^([a-z0-9_.-]+)==", lock, re.MULTILINE))
    assert wanted <= pinned
    assert "://" not in lock
    assert "celery==5.6" in lock, "celery 5.7 does not start with Airflow's provider"


def test_celery_executor_imports() -> None:
    """The team deployment's executor must load with the locked celery."""
    code = "import airflow.providers.celery.executors.celery_executor"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-800:]
