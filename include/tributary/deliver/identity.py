"""Who bought: personal data brought to each platform's form and hashed (pure functions, no state).

Meta and Google match hashes, so one different character is a lost match. Their documentation is the
rule; their own libraries (Meta: Python SDK, parameter builder; Google: Data Manager utilities)
contradict it, or each other, here:

field         the libraries                                      we
em            SDK takes foo@@bar.com                             exactly one address, else nothing
email         utilities refuse inner blanks; Java keeps +suffix  drop blanks; +suffix of Gmail only
ph, phone     all keep a trunk zero: +44 (0)20 … → 44020…        E.164 by libphonenumber
              utilities put + before any digits                  without country, + or 00 only a
                                                                 valid number of 11 digits or more
fn, ln        SDK keeps punctuation, builder drops blanks        no punctuation; both with blanks
                                                                 and without
given_name,   utilities keep punctuation; Python keeps           no punctuation, titles or suffixes
family_name   "Mrs." and "Jr."
ct            builder drops all but a-z, SDK drops digits        every script, and digits; both with
                                                                 Latin accents and without
st            SDK: california; builder: New South Wales → ne     US: its ANSI code; Canada: as
                                                                 written, and its code or name;
                                                                 others as written
zp            both cut at a dash: 1229-076 → 1229                drop dashes; US: the first five
country       builder guesses (Korea → ko); SDK wants codes      ISO 3166, a few aliases, or nothing
db            SDK hashes as is; builder takes 19970230, and      real dates; 2/3/1997 is M/D/Y as
              2/3/1997 always as M/D/Y                           documented; both, D/M/Y first, with
                                                                 a country other than the US
ge            builder reads mr, king, chick                      m, f, male, female, man, woman
external_id   builder drops inner blanks                         lower case; both with and without

Where we have two forms, `normalise` gives the first and both hashes are sent: these keys take
lists. ct, st and country are never guessed. Nothing here logs, caches or quotes a personal value.

A placeholder (`why_absent`) is no value: thousands of people would share its hash.

Meta: https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/customer-information-parameters
Google: https://developers.google.com/data-manager/api/devguides/concepts/formatting
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from itertools import chain, zip_longest
from typing import Literal
from uuid import UUID

import phonenumbers
import pycountry

MOST = 3  # hashes per key
# More is no person's: Unicode's normal forms and phone numbers would cost more than they are worth.
_MOST_VALUES, _MOST_CHARACTERS, _MOST_OF_PHONE = 10, 512, 64

_HEX = re.compile(r"[0-9A-Fa-f]+")
_SHA256 = 64
_DIGESTS = (32, 40, _SHA256, 128)  # characters of MD5, SHA-1, SHA-256, SHA-512

# What programs write where they have no value. dbt's `is_placeholder` has the same list.
PLACEHOLDERS = (
    "undefined", "null", "none", "nan", "n/a", "0", "-", "(none)", "(null)", "(not set)", '""',
)  # fmt: skip
_PLACEHOLDERS = frozenset(PLACEHOLDERS)
_LONGEST_PLACEHOLDER = max(map(len, PLACEHOLDERS))
# Variables that nothing has filled in: {{x}}, {x}, ${x}, [[x]], %%x%%, *|x|*, <%= x %>, __X__; and
# what JavaScript makes of an object. A GUID may be in braces.
_UNFILLED = re.compile(
    r"\{\{.*\}\}|\$?\{(?![0-9A-Fa-f-]{36}\}).*\}|\[\[.*\]\]|%%.+%%|\*\|.+\|\*|<%.*%>"
    r"|__[A-Z_]+__|\[object .*\]",
    re.DOTALL,
)
_FIRST_OF_UNFILLED = frozenset("{$[%*<_")
# 4.915112345678E+12: a spreadsheet has cut the number, and many become one.
_SCIENTIFIC = re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE]\+\d{1,3}", re.ASCII)


def why_absent(text: str) -> Literal["placeholder", "scientific"] | None:
    """Why a text, stripped of outer blanks, is no value; None when it may be one.

    A `placeholder` is one of `PLACEHOLDERS` in whatever case, or holds a variable that was never
    filled in, such as {{user_id}}; `scientific` is a number as spreadsheets shorten it.
    """
    if len(text) <= _LONGEST_PLACEHOLDER and text.lower() in _PLACEHOLDERS:
        return "placeholder"
    if "{{" in text and "}}" in text[text.index("{{") :]:
        return "placeholder"
    if text[:1] in _FIRST_OF_UNFILLED and _UNFILLED.fullmatch(text):
        return "placeholder"
    if ("E+" in text or "e+" in text) and _SCIENTIFIC.fullmatch(text):
        return "scientific"
    return None


def normalise(platform: str, field: str, value: object, country: str | None = None) -> str | None:
    """The text whose SHA-256 is sent, or that is sent in clear; None when nothing must be sent.

    A value that is a digest already (MD5, SHA-1, SHA-256, SHA-512 in hex) gives None, since its own
    hash would match no one; `hashed` passes a SHA-256 through. Only an external_id may look like a
    digest and be none: one of 64 characters is taken as hashed and returned, others are plain ids.

    Meta's phones have no "+", so that only with their country are they read again as the same.

    Args:
        platform: `meta` or `google`.
        field: Meta's `em ph fn ln ct st zp country ge db external_id`; Google's `email phone
            given_name family_name`, and in clear `region_code` (the address's country, also called
            `country_code`) and `postal_code`.
        value: text, a number or a date; anything else counts as absent.
        country: name, alpha-2 or alpha-3 code; for phones without prefix, st, zp, postal_code, db.

    Raises:
        ValueError: the platform or the field is unknown.
    """
    found = _forms(_rule(platform, field), _text(value), country_alpha2(country))
    return found[0] if found else None


def hashed(platform: str, field: str, value: object, country: str | None = None) -> str | None:
    """The SHA-256 to send, in lower-case hex; a value that is one already is never hashed again.

    Raises:
        ValueError: the platform or the field is unknown, or the field is sent in clear.
    """
    found = _hashes(platform, field, value, country_alpha2(country))
    return found[0] if found else None


def meta_hashes(
    person: Mapping[str, object], default_country: str | None = None
) -> dict[str, list[str]]:
    """Meta's user_data keys, each with up to three distinct hashes; absent where there is none.

    Args:
        person: each one value or a list: `email, phone, first_name, last_name, city, state, zip,
            country, gender, date_of_birth, external_id`.
        default_country: alpha-2; by it the phone, state, zip and birthday of a person without a
            country are read. It is never sent as the person's own.
    """
    has_country, country = _country_of(person)
    return _all_hashes("meta", person, country if has_country else default_country)


def google_identifiers(
    person: Mapping[str, object], default_country: str | None = None
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Google's hashes (email, phone, given_name, family_name), and region and postal code in clear.

    Takes what `meta_hashes` takes. An address is of use to Google with all of its four parts only.
    """
    has_country, country = _country_of(person)
    clear = {"region_code": country} if country else {}
    if not has_country:
        country = default_country
    codes = (_forms(_postal_code, _text(z), country) for z in _listed(person.get("zip")))
    if code := next(filter(None, codes), None):
        clear["postal_code"] = code[0]
    return _all_hashes("google", person, country), clear


def user_hashes(
    person: Mapping[str, object], default_country: str | None = None
) -> tuple[dict[str, dict[str, list[str]]], dict[str, str]]:
    """The hashes of `meta_hashes` and `google_identifiers` by platform, and Google's clear text."""
    google, address = google_identifiers(person, default_country)
    both = {"meta": meta_hashes(person, default_country), "google": google}
    return {platform: found for platform, found in both.items() if found}, address


def country_alpha2(value: object) -> str | None:
    """The ISO 3166-1 alpha-2 code, in upper case, of a country's name or code."""
    text = _text(value)
    if code := _countries().get(text):
        return code
    if "/" in text or text.lower() in ("n.a.", "n.a"):  # not applicable, rather than Namibia
        return None
    return _countries().get(_key(text))


def _country_of(person: Mapping[str, object]) -> tuple[bool, str | None]:
    """Whether the person has a country, and which, if it is exactly one that we know."""
    texts = [text for value in _listed(person.get("country")) if (text := _text(value))]
    found = {code for text in texts if (code := country_alpha2(text))}
    return bool(texts), found.pop() if len(found) == 1 else None


def _all_hashes(
    platform: str, person: Mapping[str, object], country: str | None
) -> dict[str, list[str]]:
    found = {
        field: _hashes(platform, field, person[key], country)
        for field, (key, _) in _FIELDS[platform].items()
        if field not in _IN_CLEAR and person.get(key) is not None
    }
    return {field: hashes for field, hashes in found.items() if hashes}


def _hashes(platform: str, field: str, values: object, country: str | None) -> list[str]:
    rule = _rule(platform, field)
    if field in _IN_CLEAR:
        raise ValueError(f"{field} is sent in clear")
    rows: list[list[str]] = []
    for text in map(_text, _listed(values)):
        if len(text) == _SHA256 and _HEX.fullmatch(text):
            rows.append([text.lower()])
        else:
            forms = _forms(rule, text, country)
            rows.append([hashlib.sha256(form.encode()).hexdigest() for form in forms])
    # Column by column: the first form of every value comes before the second form of any.
    ordered = rows[0] if len(rows) == 1 else chain.from_iterable(zip_longest(*rows))
    return list(dict.fromkeys(filter(None, ordered)))[:MOST]


def _rule(platform: str, field: str) -> _Rule:
    if field not in _FIELDS.get(platform, {}):
        raise ValueError(f"unknown field {field} of platform {platform}")
    return _FIELDS[platform][field][1]


def _forms(rule: _Rule, text: str, country: str | None) -> tuple[str, ...]:
    """The forms in which the value is sent, the documented one first."""
    if rule is _external_id:
        return tuple(form for form in rule(text, country) if form not in _PLACEHOLDERS)
    if not text or _is_digest(text):
        return ()
    forms = rule(text, country)
    return tuple(form for form in forms if not _is_digest(form) and form not in _PLACEHOLDERS)


def _is_digest(text: str) -> bool:
    return len(text) in _DIGESTS and _HEX.fullmatch(text) is not None


def _listed(values: object) -> list[object] | tuple[object, ...]:
    return values[:_MOST_VALUES] if isinstance(values, list | tuple) else (values,)


def _text(value: object) -> str:
    if isinstance(value, str):
        text = value.strip()
        return text if len(text) <= _MOST_CHARACTERS and why_absent(text) is None else ""
    if isinstance(value, float) and value.is_integer():  # a column of integers with gaps
        value = int(value)
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value) if value != 0 else ""
    return value.isoformat() if isinstance(value, date) else ""


class _Keep(dict[int, str]):
    """For `str.translate`: keeps some Unicode categories; learns one character at a time.

    Blanks become spaces, decimal digits of any script 0-9; all else goes. (The regex class of word
    characters will not do: the vowel signs of Hindi, Thai and others are not in it.)
    """

    def __init__(self, categories: str) -> None:
        super().__init__()
        self.categories = categories

    def __missing__(self, code: int) -> str:
        kept, category = chr(code), unicodedata.category(chr(code))
        if kept.isspace():
            kept = " "
        elif category == "Nd":
            kept = str(unicodedata.decimal(kept))
        elif category[0] not in self.categories or 0xFE00 <= code <= 0xFE0F:  # emoji's selectors
            kept = ""
        self[code] = kept
        return kept


_VISIBLE, _LETTERS = _Keep("LMNPS"), _Keep("LMN")


def _clean(text: str, keep: _Keep = _VISIBLE) -> str:
    """The text as `keep` has it, each character in one encoding, with single inner blanks."""
    text = text.translate(keep)
    if text.isascii():
        return " ".join(text.split())
    # Only now, since NFKC puts a lone accent, which many take for an apostrophe, on a letter.
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _words(text: str) -> str:
    """Lower case, without punctuation."""
    if text.isascii():
        return _clean(text.lower(), _LETTERS)
    return _clean(_clean(text, _LETTERS).lower(), _LETTERS)  # NFKC brings capitals, parentheses


def _joined(text: str) -> str:
    """Lower case, without punctuation and blanks."""
    return unicodedata.normalize("NFC", _words(text).replace(" ", ""))


def _key(text: str) -> str:
    """What names of countries and states are compared by: their letters, without accents."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    return "".join(c for c in text.lower() if c.isalpha()).removeprefix("the")


def _named(name: str) -> tuple[str, ...]:
    """The name, if it has at least one letter."""
    return (name,) if any(c.isalpha() for c in name) else ()


_EMAIL = re.compile(
    r"[^\s@\"(),:;<>\[\\\]]+@(?:[^\W_](?:[\w-]*[^\W_])?\.)+[^\W\d_](?:[\w-]*[^\W_])"
)


def _meta_email(text: str, country: str | None) -> tuple[str, ...]:
    text = _clean(_clean(text).lower())
    return (text,) if len(text) <= 254 and _EMAIL.fullmatch(text) else ()


def _google_email(text: str, country: str | None) -> tuple[str, ...]:
    found = _meta_email("".join(_clean(text).split()), country)
    local, _, domain = found[0].rpartition("@") if found else ("", "", "")
    if domain in ("gmail.com", "googlemail.com"):
        local = local.split("+")[0].replace(".", "")
    return (f"{local}@{domain}",) if local else ()


_EXTENSION = re.compile(r"(?:;?ext(?:ension|n)?|x|#|доб)[\s.:=#]*\d{1,7}$")


def _google_phone(text: str, country: str | None) -> tuple[str, ...]:
    text = _clean(text).lower()
    if len(text) > _MOST_OF_PHONE:
        return ()
    text = _EXTENSION.sub("", text)
    digits = "".join(filter(str.isdecimal, text))
    if not digits or "@" in text:
        return ()
    if "+" in text[: text.index(digits[0])] or digits.startswith("00"):
        number = _e164("+" + digits.removeprefix("00"), None)
    elif country is None:
        # Many store the whole number without its "+". Eleven digits that are in use as such are
        # no national number; of ten, 4155551212 is Californian and Swiss.
        number = _e164("+" + digits, None, sure=True) if len(digits) >= 11 else None
    else:
        # Where it does not fit the country, it may have been stored with its prefix but no "+".
        number = _e164(digits, country) or _e164("+" + digits, None, sure=True)
    return (number,) if number else ()


def _meta_phone(text: str, country: str | None) -> tuple[str, ...]:
    return tuple(number[1:] for number in _google_phone(text, country))


def is_phone(text: str, *, sure: bool) -> bool:
    """Whether a text with a + is a phone number of some country; `sure`: of a range in use."""
    return _e164("+" + "".join(filter(str.isdecimal, text)), None, sure=sure) is not None


def _e164(digits: str, country: str | None, *, sure: bool = False) -> str | None:
    """The number, if its length is possible, area code included.

    Its range is looked at only to be `sure`: ranges are as old as the library, which therefore
    refuses new numbers (and the fictional ones of tests); a wrong number merely matches no one.
    """
    try:
        number = phonenumbers.parse(digits, country)
    except phonenumbers.NumberParseException:
        return None
    # is_possible_number would accept a number without its area code as well.
    length = phonenumbers.is_possible_number_with_reason(number)
    if length != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    if sure and not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _meta_name(text: str, country: str | None) -> tuple[str, ...]:
    return _named(_words(text)) + _named(_joined(text))


_TITLES = {"mr", "mrs", "ms", "miss", "dr"}
_SUFFIXES = {"2nd", "3rd", "ii", "iii", "iv", "v", "vi"}
_SUFFIXES |= {"jr", "sr", "cpa", "dc", "dds", "vm", "jd", "md", "phd"}


def _given_name(text: str, country: str | None) -> tuple[str, ...]:
    words = _words(text.replace(",", " ")).split()
    while words and words[0] in _TITLES:
        del words[0]
    while words and words[-1] in _TITLES:
        del words[-1]
    return _named(" ".join(words))


def _family_name(text: str, country: str | None) -> tuple[str, ...]:
    words = _words(text.replace(",", " ")).split()
    while len(words) > 1 and words[-1] in _SUFFIXES:  # alone, Vi and Md are family names
        del words[-1]
    return _named(" ".join(words)) if words not in (["jr"], ["sr"]) else ()


def _city(text: str, country: str | None) -> tuple[str, ...]:
    city = _joined(text)
    plain = _without_accents(city)
    return _named(city) if plain == city else _named(city) + _named(plain)


_ACCENTED = re.compile("([a-z])[\u0300-\u036f]+")
_OTHER_LATIN = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th"}
    | {"\u0131": "i"}  # the Turkish one without a dot
)


def _without_accents(text: str) -> str:
    """Latin letters without their accents; elsewhere these marks make another letter."""
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFD", text.translate(_OTHER_LATIN))
    return unicodedata.normalize("NFC", _ACCENTED.sub(r"\1", apart))


def _state(text: str, country: str | None) -> tuple[str, ...]:
    head, _, tail = text.rpartition(",")
    # What may be a state is none of our countries: "Los Angeles, CA" is not in Canada.
    stated = country_alpha2(tail) if head and _key(tail) not in _american_states() else None
    state = _joined(head if stated else text)
    american = _american_states().get(_key(state))
    if stated and country not in (None, stated):
        return ()
    if (stated or country) == "US":
        return (american,) if american else ()
    if country is None and american and american != state:
        # Without a country Florida is the American one; "Florida, Uruguay" can be read either way.
        return () if stated else (american,)
    if (stated or country) == "CA" and (both := _canadian_provinces().get(_key(state))):
        code, name = both
        is_name = len(state) > len("caon")
        forms = (state, code, _without_accents(state)) if is_name else (code, name)
        return tuple(dict.fromkeys(forms))
    return (state,) if state else ()


_ZIP = re.compile(r"(\d{5})(?:[ -]?(\d{4}))?")
_ZIP_AND_4 = re.compile(r"\d{5}-\d{4}")
_POSTAL = re.compile(r"(?=.*\d)[0-9A-Za-z][0-9A-Za-z -]{1,10}")


def _meta_zip(text: str, country: str | None) -> tuple[str, ...]:
    code = _joined(text)
    if country == "US" or (country is None and _ZIP_AND_4.fullmatch(_clean(text))):
        return (code[:5],) if _ZIP.fullmatch(code) else ()
    return (code,) if _POSTAL.fullmatch(code) else ()


def _postal_code(text: str, country: str | None) -> tuple[str, ...]:
    code = _clean(text)
    if country == "US":
        found = _ZIP.fullmatch(code)
        return ("-".join(part for part in found.groups() if part),) if found else ()
    return (code,) if _POSTAL.fullmatch(code) else ()


def _meta_country(text: str, country: str | None) -> tuple[str, ...]:
    return tuple(code.lower() for code in _region(text, country))


def _region(text: str, country: str | None) -> tuple[str, ...]:
    code = country_alpha2(text)
    return (code,) if code else ()


_GENDERS = {
    **dict.fromkeys(("m", "male", "man"), "m"),
    **dict.fromkeys(("f", "female", "woman"), "f"),
}


def _gender(text: str, country: str | None) -> tuple[str, ...]:
    gender = _GENDERS.get(_words(text))
    return (gender,) if gender else ()


_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)")
_YEAR_FIRST = re.compile(r"(\d{4})[-/. ](\d\d?)[-/. ](\d\d?)(?:[Tt ]\d\d?:.*)?")
_YEAR_LAST = re.compile(r"(\d\d?)(?:[-/.] ?| )(\d\d?)(?:[-/.] ?| )(\d{4})")
_MONTH_FIRST = {None, "US", "AS", "GU", "MP", "PR", "UM", "VI"}  # the US and its territories


def _birth(text: str, country: str | None) -> tuple[str, ...]:
    text = _clean(text)
    if found := _COMPACT.fullmatch(text) or _YEAR_FIRST.fullmatch(text):
        return _dates(found.groups())
    if not (found := _YEAR_LAST.fullmatch(text)):
        return ()
    first, second, year = found.groups()
    if country in _MONTH_FIRST:
        return _dates((year, first, second), (year, second, first))[:1]
    return _dates((year, second, first), (year, first, second))


def _dates(*readings: tuple[str | None, ...]) -> tuple[str, ...]:
    """Those readings (year, month, day) that are a possible birthday of a living person."""
    found = []
    for year, month, day in readings:
        try:
            read = date(int(year or 0), int(month or 0), int(day or 0))
        except ValueError:
            continue
        if date(1900, 1, 1) <= read <= date.today():
            found.append(f"{read:%Y%m%d}")
    return tuple(found)


def _external_id(text: str, country: str | None) -> tuple[str, ...]:
    text = text.translate(_VISIBLE).strip().lower()
    return (text, text.replace(" ", "")) if text else ()


_Rule = Callable[[str, str | None], tuple[str, ...]]

# Platform → its field → the person's key and the rule.
_FIELDS: dict[str, dict[str, tuple[str, _Rule]]] = {
    "meta": {
        "em": ("email", _meta_email),
        "ph": ("phone", _meta_phone),
        "fn": ("first_name", _meta_name),
        "ln": ("last_name", _meta_name),
        "ct": ("city", _city),
        "st": ("state", _state),
        "zp": ("zip", _meta_zip),
        "country": ("country", _meta_country),
        "ge": ("gender", _gender),
        "db": ("date_of_birth", _birth),
        "external_id": ("external_id", _external_id),
    },
    "google": {
        "email": ("email", _google_email),
        "phone": ("phone", _google_phone),
        "given_name": ("first_name", _given_name),
        "family_name": ("last_name", _family_name),
        "region_code": ("country", _region),
        "country_code": ("country", _region),
        "postal_code": ("zip", _postal_code),
    },
}
_IN_CLEAR = {"region_code", "country_code", "postal_code"}

# What people write and ISO 3166 does not.
_ALIASES = {
    **dict.fromkeys(("UK", "Great Britain", "England", "Scotland", "Wales"), "GB"),
    **{"Northern Ireland": "GB", "America": "US", "Russia": "RU", "Turkey": "TR", "UAE": "AE"},
    **{"Ivory Coast": "CI", "Cape Verde": "CV", "Macau": "MO", "Brunei": "BN", "Holland": "NL"},
    **{"Vatican": "VA", "Swaziland": "SZ", "Macedonia": "MK", "Burma": "MM", "East Timor": "TL"},
}


@cache
def _countries() -> dict[str, str]:
    """Codes and names, as written and as `_key` has them, to alpha-2."""
    found = {_key(name): code for name, code in _ALIASES.items()}
    short: dict[str, set[str]] = {}
    for country in pycountry.countries:
        names = [getattr(country, kind, "") for kind in ("name", "common_name", "official_name")]
        # "Palestine, State of" is State of Palestine, and Palestine; but Korea might be two.
        start, _, rest = country.name.partition(", ")
        short.setdefault(_key(start.partition(" (")[0]), set()).add(country.alpha_2)
        for name in (country.alpha_2, country.alpha_3, rest + start, *filter(None, names)):
            found[name] = found[_key(name)] = country.alpha_2
    return {**{name: codes.pop() for name, codes in short.items() if len(codes) == 1}, **found}


@cache
def _american_states() -> dict[str, str]:
    """Names and codes (CA, US-CA) of the states and territories, as `_key` has them, to ANSI's."""
    found = {"washingtondc": "dc"}
    for state in pycountry.subdivisions:
        if state.country_code == "US":
            code = state.code.removeprefix("US-").lower()
            found[code] = found[_key(state.code)] = found[_key(state.name)] = code
    return found


@cache
def _canadian_provinces() -> dict[str, tuple[str, str]]:
    """Names and codes (ON, CA-ON) of the provinces, as `_key` has them, to code and name."""
    found = {}
    for province in pycountry.subdivisions:
        if province.country_code == "CA":
            code = province.code.removeprefix("CA-").lower()
            both = code, _joined(province.name)
            found[code] = found[_key(province.code)] = found[_key(province.name)] = both
    return found
