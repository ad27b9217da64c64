"""Who is in a file of refused lines, so that an erasure deletes the file.

Such a file has personal data in clear. Importing the original file again makes it anew, without
the lines of erased people.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from tributary.deliver import erasure
from tributary.deliver.brands import Brand
from tributary.deliver.event_names import ALIASES, aliases
from tributary.warehouse import Connection


def people_in(line: Mapping[str, Any], brand: Brand | None) -> set[str]:
    """Hashes of the people in a line, also where their data is in the wrong column."""
    default_country = brand.settings.default_country if brand else None
    names = aliases(brand) if brand else ALIASES
    texts = {
        names.get(key, key): str(
            int(value) if isinstance(value, float) and value.is_integer() else value
        ).strip()
        for key, value in line.items()
    }
    found = set[str]()
    for key, text in texts.items():
        if "@" in text:
            found.update(erasure.person_hashes({"email": text}))
        elif key == "phone" or text.startswith("+"):
            phone = {"phone": text, "country": texts.get("country")}
            found.update(erasure.person_hashes(phone, default_country))
    if contact_id := texts.get("contact_id"):
        found.add(erasure.contact_hash(contact_id))
    return found


def register(
    connection: Connection, path: Path, people: Mapping[UUID | None, Iterable[str]]
) -> None:
    """Store who is in a file that is about to be written, and may replace an older one.

    Args:
        people: hashes by brand; None for lines without a known brand.
    """
    place = [socket.gethostname(), str(path.resolve())]
    with connection.transaction():
        connection.execute("delete from ops.refused_files where host = %s and path = %s", place)
        for brand_id, hashes in people.items():
            connection.execute(
                "insert into ops.refused_files (host, path, brand_id, hashes) "
                "values (%s, %s, %s, %s)",
                [*place, brand_id, sorted(hashes)],
            )
