"""Writes docs/outcomes.md: `python -m tests.support.outcomes > docs/outcomes.md`."""

from __future__ import annotations

from collections.abc import Iterator

from tributary.platforms import meanings, registry
from tributary.platforms.base import Meaning

HEAD = """# Outcomes

What the outcome of a delivery means, and what to do. `tributary status` and the page show the same
texts. Generated: `python -m tests.support.outcomes > docs/outcomes.md`.

"""


def _table(rows: dict[str, Meaning]) -> Iterator[str]:
    yield "| outcome | means | what to do |\n|---|---|---|\n"
    for outcome, (means, to_do) in rows.items():
        yield f"| `{outcome}` | {means} | {to_do} |\n"


def page() -> str:
    """The page as it must be: the outcomes of all platforms, then the codes of each."""
    parts = [HEAD, "## On every platform\n\n", *_table(meanings.SHARED)]
    for name in registry.names():
        platform = registry.platform(name)
        codes = {code: meanings.meaning(name, code) for code in sorted(platform.codes())}
        if codes:
            parts += [f"\n## {platform.title} (`{name}`)\n\n", *_table(codes)]
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
