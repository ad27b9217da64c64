"""`python -m tributary.settings`: write the JSON schema and docs/settings.md anew."""

from __future__ import annotations

from tributary.settings import describe

for path, text in describe.generated().items():
    path.write_text(text, encoding="utf-8")
    print(path)
