"""Find personal data in texts that are stored or sent in clear, and remove it from page URLs.

One detector for ids, page URLs, user agents, names and parameters of events.

* An e-mail address is found in any script, in full-width characters, and percent-encoded however
  often.
* A phone number is found where it is marked as one: after `tel:`; after a + where it is a valid
  number of a country; as (555) 123-4567; and in parameters under a name such as `phone` or
  `mobile_number`. Bare digits count as an order number, a time or a GTIN.

Every check takes time in proportion to the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any
from urllib.parse import unquote, unquote_plus, urlsplit, urlunsplit

from tributary.deliver import identity

EMAIL, PHONE = "an e-mail address", "a phone number"
OBSCURE = "text that is percent-encoded too many times"

# Advertising's own parameters: they name a campaign or a click, never a person.
# https://support.google.com/google-ads/answer/9744275
# https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/fbp-and-fbc
_URL_PARAMETERS = frozenset({
    "fbclid", "gclid", "gbraid", "wbraid", "dclid", "gclsrc", "gad_source", "gad_campaignid",
    "msclkid", "ttclid", "twclid", "li_fat_id", "sccid", "epik", "rdt_cid", "yclid",
})  # fmt: skip

_MOST_LAYERS = 6  # of percent-encoding; links that are passed on have two or three
_MOST_NUMBERS = 20  # with a + in one text
# One character before the @, and a bound after it: it only finds that there is an address, and
# must stay linear in a text of 200 kB.
_EMAIL = re.compile(
    r"[^\s@\"'<>=&?/:,;]@[^\s@\"'<>=&?/,;]{1,255}[.\u3002][^\W\d_](?:[^\W\d_]|[\u0300-\uffff])"
)
_GAP = r"[\s().\-/]{0,3}"
_TEL = re.compile(rf"(?<!\w)tel:\+?{_GAP}\d(?:{_GAP}\d){{5,14}}", re.IGNORECASE)
_PLUS = re.compile(rf"(?<![\d+])\+{_GAP}\d(?:{_GAP}\d){{6,14}}(?!\d)")
_IN_PARENTHESES = re.compile(r"\(\d{3}\)[ \-]?\d{3}[ .\-]\d{4}(?!\d)")  # (555) 123-4567
_BARE_PHONE = re.compile(rf"\+?{_GAP}\d(?:{_GAP}\d){{6,14}}\s*")
_PHONE_WORDS = frozenset({
    "phone", "phones", "telephone", "telefon", "tel", "mobile", "mobil", "cell", "cellphone",
    "handy", "msisdn", "whatsapp", "fax", "phonenumber", "mobilenumber", "telephonenumber",
    "mobilephone", "customerphone", "userphone",
})  # fmt: skip
_NUMBER_WORDS = frozenset({"number", "numbers", "no", "nr", "num"})


class _Folded(dict[int, str]):
    """For `str.translate`: each character as NFKC has it alone, invisible ones gone.

    NFKC of a long text takes quadratic time where many accents follow each other.
    """

    def __missing__(self, code: int) -> str:
        kept = chr(code)
        kept = "" if unicodedata.category(kept) == "Cf" else unicodedata.normalize("NFKC", kept)
        self[code] = kept
        return kept


_FOLDED = _Folded()


def personal_in(text: str) -> str | None:
    """What personal data a text holds: `EMAIL`, `PHONE`, `OBSCURE`, or None."""
    if _is_harmless(text):
        return None
    shown = _plain(text)
    if shown is None:
        return OBSCURE
    if _EMAIL.search(shown):
        return EMAIL
    return PHONE if _holds_phone(shown) else None


def personal_in_params(params: Mapping[str, Any]) -> str | None:
    """What `personal_in` finds in keys and values of JSON, and phone numbers under such keys."""
    left: list[tuple[str, Any]] = [("", params)]
    while left:
        key, value = left.pop()
        if isinstance(value, Mapping):
            if found := next(filter(None, map(personal_in, map(str, value))), None):
                return found
            # `{"phone": {"number": …}}`: the parts of a phone are a phone.
            left.extend(
                (key if _is_phone_key(key) else str(name), one) for name, one in value.items()
            )
        elif isinstance(value, list | tuple):
            left.extend((key, one) for one in value)
        elif isinstance(value, str):
            if found := personal_in(value):
                return found
            if _is_phone_key(key) and _BARE_PHONE.fullmatch(_plain(value) or ""):
                return PHONE
        elif isinstance(value, int | float):
            digits = str(value).removesuffix(".0")
            if _is_phone_key(key) and _BARE_PHONE.fullmatch(digits):
                return PHONE
    return None


def page(text: str, also: Container[str] = ()) -> str | None:
    """A page's URL without the parts that may name a person; None when its host does.

    Of the query, utm parameters, click ids and the names in `also` (lower case) stay, unless their
    value is an e-mail address or phone number. User, password, fragment and path parameters are
    removed; a path segment that names a person becomes `_`.

    Raises:
        ValueError: the text is not a URL.
    """
    if text.isascii() and not any(mark in text for mark in "?#@%+;") and _is_harmless(text):
        return text
    parts = urlsplit(text)
    host = parts.netloc.rpartition("@")[2]
    path = parts.path
    if not _is_harmless(text) or ";" in path:
        if personal_in(host):
            return None
        path = "/".join(map(_segment, path.split("/")))
    query = "&".join(one for one in re.split("[&;]", parts.query) if _may_stay(one, also))
    return urlunsplit((parts.scheme, host, path, query, ""))


def _segment(text: str) -> str:
    text = text.partition(";")[0]
    if "%" in text and any(mark in (_plain(text) or "?") for mark in "?&#"):
        return "_"  # a query in disguise
    return "_" if personal_in(text) else text


def _may_stay(pair: str, also: Container[str]) -> bool:
    name = unquote_plus(pair.partition("=")[0]).lower()
    if _is_phone_key(name):
        return False
    known = name.startswith("utm_") or name in _URL_PARAMETERS or name in also
    return known and personal_in(pair) is None


def _is_harmless(text: str) -> bool:
    """Whether the characters alone rule out personal data; true for nearly every text."""
    return (
        text.isascii()
        and "@" not in text
        and "%" not in text
        and "+" not in text
        and "(" not in text
        and "tel:" not in text.lower()
    )


def _plain(text: str) -> str | None:
    """The text in NFKC with its percent-encoding undone; None after more than six layers."""
    for _ in range(_MOST_LAYERS):
        if not text.isascii():
            text = text.translate(_FOLDED)
        if "%" not in text or (inner := unquote(text)) == text:
            return text
        text = inner
    return None


def _holds_phone(text: str) -> bool:
    if "tel:" in text.lower() and _TEL.search(text):
        return True
    if "(" in text and _IN_PARENTHESES.search(text):
        return True
    if "+" not in text:
        return False
    for number, found in enumerate(islice(_PLUS.finditer(text), _MOST_NUMBERS + 1)):
        # A number alone in its field may be any possible one; in a text it must be in use.
        is_all = found[0].strip() == text.strip()
        if number == _MOST_NUMBERS or identity.is_phone(found[0], sure=not is_all):
            return True
    return False


@lru_cache(maxsize=1024)
def _is_phone_key(key: str) -> bool:
    """Whether a parameter of that name holds a phone number: customerPhone, phone_number, tel2."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", key[:100])]
    while words and words[-1] in _NUMBER_WORDS:
        del words[-1]
    return bool(words) and words[-1] in _PHONE_WORDS
