"""The documents agree with the code: links, DAGs, tasks, commands, variables, outcomes, wording."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tributary.cli import main
from tributary.config import ROOT

from tests.support import outcomes

PAGES = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()
    if (ROOT / name).exists()
)  # fmt: skip
DOCS = [page for page in PAGES if page.parent in (ROOT, ROOT / "docs")]
GENERATED = {"settings.md", "events.md", "outcomes.md"}  # their text is the code's own
DAGS = sorted(path.stem for path in (ROOT / "dags").glob("*.py"))


def text(name: str) -> str:
    """A page, by its path in the repository."""
    return (ROOT / name).read_text()


def anchors(page: Path) -> set[str]:
    """What a link may name behind #: the headings, in the form that GitHub makes of them."""
    found = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """A reader who follows a link finds nothing."""
    links = re.findall(r"\]\((?!https?://|mailto:)([^)\s]+)\)", page.read_text())
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_has_a_merge_conflict(page: Path) -> None:
    """A page shows both sides of a merge and the markers between them."""
    assert not re.search(r"^(<{7}|>{7}) ", page.read_text(), re.MULTILINE)


def test_readme_is_short() -> None:
    """A newcomer no longer reads the README to its end."""
    assert len(text("README.md").splitlines()) <= 130


def test_readme_leads_to_every_page() -> None:
    """A page exists that no reader finds."""
    linked = text("README.md")
    for page in DOCS:
        if page.name != "README.md":
            assert f"({page.relative_to(ROOT)})" in linked, page.name


def test_every_dag_is_documented() -> None:
    """A DAG runs of which a reader learns neither when nor what it leaves."""
    assert DAGS
    table, readme = text("docs/architecture.md"), text("README.md")
    headings = " ".join(re.findall(r"^## (.+)$", text("docs/runbooks.md"), re.M))
    for dag in DAGS:
        assert f"| `{dag}` |" in table, dag
        assert dag in readme, dag
        assert dag in headings, dag


def tasks() -> Iterator[str]:
    """The ids of all tasks: functions below `@task`, in DAG files and what they share."""
    shared = (ROOT / "include/tributary/orchestration").glob("*.py")
    for path in [*(ROOT / "dags").glob("*.py"), *shared]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any(
                ast.unparse(one).split("(")[0] in ("task", "task.sensor")
                for one in node.decorator_list
            ):
                yield node.name


def test_every_task_has_a_runbook() -> None:
    """A task is red, and no page says what to do."""
    found = set(tasks())
    assert {"load_account", "upload", "dbt_build"} <= found
    runbooks = text("docs/runbooks.md")
    for name in found:
        assert f"`{name}`" in runbooks, name


def commands(group: click.Command, name: str = "tributary") -> Iterator[str]:
    """All commands of the command line, with those that they belong to."""
    if isinstance(group, click.Group):
        for part, inner in group.commands.items():
            yield from commands(inner, f"{name} {part}")
    else:
        yield name


def test_every_command_is_documented_and_exists() -> None:
    """A command that only the code knows, or one that the documents promise in vain."""
    known = set(commands(main))
    table = re.findall(r"`(tributary [a-z -]+)", text("docs/deployment.md"))
    for command in known:
        assert any(one.strip() == command for one in table), command
    for page in DOCS:
        for said in re.findall(r"(?:^|`|&& )(tributary [a-z][a-z-]*(?: [a-z][a-z-]*)?)",
                               page.read_text(), re.M):  # fmt: skip
            first_two = " ".join(said.split()[:2])
            assert said in known or first_two in known, (page.name, said)


def test_every_make_target_is_documented_and_exists() -> None:
    """A reader types `make …` and make does not know it, or never learns of a target."""
    known = set(re.findall(r"^([a-z]+):.*##", text("Makefile"), re.M))
    said = {one for page in DOCS for one in re.findall(r"\bmake (?:-s )?([a-z]+)\b(?=[^\w ]|  )",
                                                       page.read_text())}  # fmt: skip
    assert {"demo", "test", "up", "down", "env", "lint", "bench", "clean"} <= known
    assert known - said == set()
    assert said - known == set()


def test_every_environment_variable_is_documented() -> None:
    """A variable that only the code knows is a setting that no one can use."""
    sources = [
        path
        for folder in ("include", "dags", "plugins", "sandbox")
        for path in (ROOT / folder).rglob("*.py")
    ]
    used = {
        name
        for path in sources
        for name in re.findall(r"environ(?:\.get\(|\[)\"(TRIBUTARY_\w+)\"", path.read_text())
    }
    example, deployment = text(".env.example"), text("docs/deployment.md")
    assert {"TRIBUTARY_HOME", "TRIBUTARY_WAREHOUSE", "TRIBUTARY_MAX_WAIT"} <= used
    for name in used:
        assert f"{name}=" in example, name
        assert f"`{name}`" in deployment, name


# The words that CONTRIBUTING.md replaces, as far as a pattern can tell them from good ones.
PRIVATE_WORDS = re.compile(
    r"\b(tell|tells|told|untold|stands|mend|mends|mended|wish|wishes|hears|heard|nobody|gravest|"
    r"whole|doors?|fate|of its own|what became of|lets? pass|for ever)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize(
    "page", [one for one in DOCS if one.name not in GENERATED], ids=lambda page: page.name
)
def test_documents_use_plain_words(page: Path) -> None:
    """A stranger has to decode a private dialect."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)
    if page.name == "CONTRIBUTING.md":
        prose = prose[: prose.index("| say | do not say |")]
    found = [match[0] for match in PRIVATE_WORDS.finditer(prose)]
    assert not found, found


def test_outcomes_page_is_up_to_date() -> None:
    """An outcome has another meaning on the page than in the code, or none."""
    assert text("docs/outcomes.md") == outcomes.page()
