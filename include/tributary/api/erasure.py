"""A person's request to be forgotten."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request

from tributary.api.access import Writer
from tributary.api.database import database
from tributary.api.models import Erasure, ErasureRequest, Erasures
from tributary.deliver import brands, erasure, outbox
from tributary.event import EventRefused

router = APIRouter(tags=["erasure"])


@router.post("/erasure", response_model_exclude_defaults=True)
def erase(body: ErasureRequest, caller: Writer, request: Request) -> Erasures:
    """Erase a person by e-mail, phone or both, and take nothing of them any more."""
    person = body.model_dump(include={"email", "phone", "country"}, exclude_none=True)
    with database(request).connection() as connection:
        known = brands.load(connection)
        wanted = caller.brand or body.brand
        if body.brand not in (None, wanted) or (wanted is not None and wanted not in known):
            raise EventRefused("brand", "is no brand that you may write to")
        asked = [brand for slug, brand in known.items() if wanted in (None, slug)]
        for brand in asked:
            _check(person, brand.settings.default_country)
        now = outbox.now_of(connection)
        # No index helps the search: on a large outbox it takes longer than a request may as a rule.
        connection.execute("set statement_timeout = '10min'")
        try:
            return Erasures(
                erased=[Erasure(brand=brand.slug, **asdict(erasure.erase_person(
                    connection, brand.id, person, now, brand.settings.default_country
                ))) for brand in asked]
            )  # fmt: skip
        finally:
            connection.execute("reset statement_timeout")


def _check(person: dict[str, str], default_country: str | None) -> None:
    for field in ("email", "phone"):
        one = {key: value for key, value in person.items() if key in (field, "country")}
        if field in person and not erasure.person_hashes(one, default_country):
            raise EventRefused(field, "cannot be read; a phone number wants + or a country")
    if not erasure.person_hashes(person, default_country):
        raise EventRefused("email", "is missing, and so is phone; give one of them")
