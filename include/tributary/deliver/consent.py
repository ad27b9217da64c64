"""Consent: what a person allows to be sent.

`ad_user_data` refused: nothing is sent. Never asked: the brand's `consent_when_unknown`, and always
no where `always_require_consent_in` names the person's country. `ad_personalization` is judged
alike and is sent with the event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tributary.settings.models import Brand

# https://eur-lex.europa.eu/eli/agree_internation/1994/1/oj: the EU's members and IS, LI, NO.
_EEA = {
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS",
    "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
}  # fmt: skip


class Consent(NamedTuple):
    """What a person allows, with the unknown decided."""

    user_data: bool
    personalization: bool


def consent_of(
    given: Mapping[str, Any], brand: Brand, now: Mapping[str, Any] | None = None
) -> Consent:
    """The consent that applies to an event.

    Args:
        given: the event's own `consent`: both answers (true, false, null) and `required`, whether
            the person is where an unknown consent means no.
        brand: the brand's settings.
        now: the answers of the person's profile today, which win where there are any.
    """
    unknown = not given.get("required") and brand.consent_when_unknown == "allow"

    def answer(key: str) -> bool:
        for source in (now or {}, given):
            if source.get(key) is not None:
                return bool(source[key])
        return unknown

    return Consent(answer("ad_user_data"), answer("ad_personalization"))


def consent_required(country: str | None, brand: Brand) -> bool:
    """Whether an unknown consent always means no for a person of that country (alpha-2)."""
    where = brand.always_require_consent_in
    return country is not None and (country in where or ("EEA" in where and country in _EEA))
