"""Who bought: red means hashes that match nobody, or somebody else, or personal data in clear.

The platforms never say that a hash was wrong; matches are merely lost. So the documented vectors
stand here with their published hashes, and everything else is held to properties.
"""

import hashlib
import re
import sys
import unicodedata
from datetime import date, datetime, timedelta
from uuid import UUID

import pytest
from facebook_business.adobjects.serverside.normalize import Normalize
from hypothesis import given, settings
from hypothesis import strategies as st
from tributary import config
from tributary.deliver.identity import (
    PLACEHOLDERS,
    country_alpha2,
    google_identifiers,
    hashed,
    meta_hashes,
    normalise,
)

META = ("em", "ph", "fn", "ln", "ct", "st", "zp", "country", "ge", "db", "external_id")
GOOGLE = ("email", "phone", "given_name", "family_name")
CLEAR = ("region_code", "country_code", "postal_code")
HASHED = [*(("meta", f) for f in META), *(("google", f) for f in GOOGLE)]
FIELDS = [*HASHED, *(("google", f) for f in CLEAR)]
TODAY = date.today()
MD5_LIKE = "5d41402abc4b2a76b9719d911017c592"


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("field", "value", "country", "text", "prefix"),
    [
        ("em", " John_Smith@gmail.com ", None, "john_smith@gmail.com", "62a14e44f765"),
        ("ph", "(650)555-1212", "US", "16505551212", "e323ec626319"),
        ("fn", "Mary", None, "mary", "6915771be1c5"),
        ("fn", "정", None, "정", "8fa8cd9c440b"),
        ("fn", "Valéry", None, "valéry", "08e1996b5dd4"),
        ("ln", "Valéry", None, "valéry", "08e1996b5dd4"),
        ("db", "2/16/1997", None, "19970216", "01acdbf6ec7b"),
        ("country", "United States", None, "us", "79adb2a2fce5"),
        ("ge", "F", None, "f", ""),
        ("ge", "male", None, "m", ""),
        ("ct", "Paris", None, "paris", ""),
        ("ct", "New York", None, "newyork", ""),
        ("st", "AZ", "US", "az", ""),
        ("st", "CA", None, "ca", ""),
        ("zp", "94035", "US", "94035", ""),
        ("zp", 1987, "Australia", "1987", ""),
        ("zp", "75018", "FR", "75018", ""),
        ("zp", "M1 1AE", "GB", "m11ae", ""),
    ],
)
def test_meta_documents(field: str, value: object, country: str, text: str, prefix: str) -> None:
    """We hash something other than the examples of Meta's own documentation."""
    assert normalise("meta", field, value, country) == text
    assert hashed("meta", field, value, country) == _sha(text)
    assert _sha(text).startswith(prefix)


@pytest.mark.parametrize(
    ("field", "value", "country", "text"),
    [
        ("email", "cloudy.sanfrancisco+shopping@gmail.com", None, "cloudysanfrancisco@gmail.com"),
        ("email", "Jane.Doe+a+b@GoogleMail.com", None, "janedoe@googlemail.com"),
        ("email", "user.name+NYC@Example.com", None, "user.name+nyc@example.com"),
        ("email", " quinny @example.com ", None, "quinny@example.com"),
        ("email", "...@gmail.com", None, None),
        ("phone", "(800)555-0100", "US", "+18005550100"),
        ("phone", "+44-113-496-0987", None, "+441134960987"),
        ("given_name", " Mrs. Alex ", None, "alex"),
        ("given_name", "Alex Dr.", None, "alex"),
        ("given_name", "Mralex", None, "mralex"),
        ("given_name", "Mr.", None, None),
        ("family_name", " Quinn,Jr. ", None, "quinn"),
        ("family_name", "quinn, jr., dds", None, "quinn"),
        ("family_name", "Boardds", None, "boardds"),
        ("family_name", "Vi", None, "vi"),
        ("family_name", ", Jr. ", None, None),
        ("family_name", "O'Brien", None, "obrien"),
        ("region_code", " us ", None, "US"),
        ("country_code", "Germany", None, "DE"),
        ("region_code", "u2", None, None),
        ("postal_code", " 1229-076 ", None, "1229-076"),
        ("postal_code", "940351234", "US", "94035-1234"),
        ("postal_code", "94035", "US", "94035"),
        ("postal_code", "9403", "US", None),
        ("postal_code", "n/a", None, None),
    ],
)
def test_google_documents(field: str, value: object, country: str, text: str | None) -> None:
    """Google gets another form than it documents, or rubbish in an address in clear."""
    assert normalise("google", field, value, country) == text


def test_published_google_hashes() -> None:
    """Even with the right text, the hash is not the one Google computes."""
    email = hashed("google", "email", " ALEXZ@example.com")
    phone = hashed("google", "phone", "1 800 555 0100", "US")
    assert str(email).startswith("509e933019bb")
    assert str(phone).startswith("fb4f73a6ec5f")


@pytest.mark.parametrize(
    ("value", "country", "digits"),
    [
        ("+44 (0)20 7183 8750", None, "442071838750"),
        ("+49 (0)30 123456", None, "4930123456"),
        ("+39 06 698 12345", None, "390669812345"),  # Italy keeps its zero
        ("020 7183 8750", "UK", "442071838750"),
        ("0044 20 7183 8750", "US", "442071838750"),
        ("442071838750", "US", "442071838750"),  # cannot be American
        ("011 44 20 7183 8750", "USA", "442071838750"),
        ("+1 212 555 0123", None, "12125550123"),  # fictional
        ("+1 555 555 0123", None, "15555550123"),  # possible, though in no range of today
        ("1-650-555-1212", "United States", "16505551212"),
        ("tel. 650.555.1212 ext. 5", "US", "16505551212"),
        ("650-555-1212 x5", "US", "16505551212"),
        ("650-555-1212 home", "US", "16505551212"),
        ("+٤٤ ٢٠ ٧١٨٣ ٨٧٥٠", None, "442071838750"),
        ("＋４４ ２０ ７１８３ ８７５０", None, "442071838750"),  # noqa: RUF001
        (16505551212.0, "US", "16505551212"),
        ("6505551212", None, None),
        ("6505551212", "Atlantis", None),
        ("555-1212", "US", None),  # no area code: anyone's
        ("+1 650 555 121", None, None),
        ("441111111111", "US", None),  # with + before it in nobody's range: a guess
        ("+44 20 7183 8750 99999", None, None),
        ("6505551212 / 6505551213", "US", None),
        ("jo1985551212@example.com", "US", None),
        ("4.915112345678E+12", "DE", None),  # the spreadsheet has cut the number
        ("4,915112345678e+12", None, None),
        ("+0 650 555 1212", "US", None),
        ("+", "US", None),
    ],
)
def test_phones(value: object, country: str | None, digits: str | None) -> None:
    """A number loses its country, keeps a trunk zero, or becomes another person's."""
    assert normalise("meta", "ph", value, country) == digits
    assert normalise("google", "phone", value, country) == (digits and "+" + digits)


@pytest.mark.parametrize(
    ("value", "country", "day"),
    [
        ("1997-02-16", None, "19970216"),
        ("19970216", None, "19970216"),
        (19970216, None, "19970216"),
        ("1997/2/16", None, "19970216"),
        ("1997-02-16T00:00:00Z", None, "19970216"),
        (date(1997, 2, 16), None, "19970216"),
        (datetime(1997, 2, 16, 23, 59), None, "19970216"),
        ("16.02.1997", None, "19970216"),
        ("2/3/1997", None, "19970203"),
        ("2/3/1997", "US", "19970203"),
        ("2/3/1997", "DE", "19970302"),
        ("2/16/1997", "DE", "19970216"),
        ("12 31 1990", None, "19901231"),
        ("31 12 1990", None, "19901231"),
        ("31. 12. 1990", "DE", "19901231"),
        ("1990 12 31", None, "19901231"),
        ("2/16/97", None, None),
        ("19970230", None, None),
        ("1997-13-01", None, None),
        ("16/16/1997", None, None),
        ("1899-12-31", None, None),
        ("1900-01-01", None, "19000101"),
        (TODAY + timedelta(days=2), None, None),
        ("1997216", None, None),
        ("02161997", None, None),
        ("0000-00-00", None, None),
    ],
)
def test_birthdays(value: object, country: str | None, day: str | None) -> None:
    """A date is read as another one, or one is sent on which nobody was born."""
    assert normalise("meta", "db", value, country) == day


@pytest.mark.parametrize(
    ("field", "value", "country", "text"),
    [
        ("st", "California", None, "ca"),
        ("st", "california", "United States", "ca"),
        ("st", "US-CA", "US", "ca"),
        ("st", "West Virginia, USA", None, "wv"),
        ("st", "Texas, US", None, "tx"),
        ("st", "Washington, D.C.", "US", "dc"),
        ("st", "New South Wales", "AU", "newsouthwales"),
        ("st", "Ontario", "CA", "ontario"),
        ("st", "ON", "CA", "on"),
        ("st", "CA-ON", "CA", "on"),
        ("st", "Île-de-France", "FR", "îledefrance"),
        ("st", "Victoria, Australia", None, "victoria"),
        ("st", "Florida", "UY", "florida"),
        ("st", "Florida, Uruguay", None, None),
        ("st", "Bavaria, Germany", "US", None),
        ("st", "ZZ", "US", None),
        ("st", "Los Angeles, CA", None, "losangelesca"),  # not in Canada
        ("ct", "São Paulo", None, "sãopaulo"),
        ("ct", "東京", None, "東京"),
        ("ct", "Washington, D.C.", None, "washingtondc"),
        ("ct", "हिन्दी", None, "हिन्दी"),
        ("ct", "10115", None, None),
        ("ct", "㈠ １st", None, "一1st"),  # noqa: RUF001
        ("ct", str(UUID(int=10**38)), None, None),  # without its dashes it looks like an MD5
        ("zp", "94035-1234", "US", "94035"),
        ("zp", "940351234", "USA", "94035"),
        ("zp", "94035-1234", None, "94035"),
        ("zp", "1229-076", "PT", "1229076"),
        ("zp", "m1 1ae", "UK", "m11ae"),
        ("zp", 94035.0, "US", "94035"),
        ("zp", "2134", "US", None),
        ("zp", "٧٥٠١٨", "FR", "75018"),
        ("zp", "none", None, None),
        ("country", "USA", None, "us"),
        ("country", "United States of America", None, "us"),
        ("country", "UK", None, "gb"),
        ("country", "England", None, "gb"),
        ("country", "Côte d’Ivoire", None, "ci"),  # noqa: RUF001
        ("country", "The Netherlands", None, "nl"),
        ("country", "Russia", None, "ru"),
        ("country", "South Korea", None, "kr"),
        ("country", "Korea", None, None),
        ("country", "U", None, None),
        ("country", "XX", None, None),
        ("country", "NA", None, "na"),
        ("country", "N/A", None, None),
        ("fn", "Mary Ann", None, "mary ann"),
        ("fn", "Jean-Luc", None, "jeanluc"),
        ("ln", "O’Brien", None, "obrien"),  # noqa: RUF001
        ("ln", "D´Angelo", None, "dangelo"),  # noqa: RUF001
        ("fn", unicodedata.normalize("NFD", "정"), None, "정"),
        ("fn", "123", None, None),
        ("fn", "Mary ❤️", None, "mary"),
        ("ge", "Mr", None, None),
        ("ge", "other", None, None),
        ("ge", "Man", None, "m"),
        ("ge", " woman", None, "f"),
        ("em", "foo@@bar.com", None, None),
        ("em", "foo@bar", None, None),
        ("em", "a" * 250 + "@example.com", None, None),
        ("em", "a@example.com, b@example.com", None, None),
        ("em", "Jo <jo@example.com>", None, None),
        ("em", "foo(.bar)@baz.com/", None, None),
        ("em", "foo@bar..com", None, None),
        ("em", "jo.hn+x@gmail.com", None, "jo.hn+x@gmail.com"),  # Meta has no rule for Gmail
        ("em", "\ufeffjo@example.com\u200b", None, "jo@example.com"),
        ("em", "jo@bücher.example", None, "jo@bücher.example"),
        ("external_id", " User 1 ", None, "user 1"),
        ("external_id", 42, None, "42"),
        ("external_id", UUID(int=1), None, str(UUID(int=1))),
        ("external_id", MD5_LIKE.upper(), None, MD5_LIKE),
    ],
)
def test_where_the_libraries_err(field: str, value: object, country: str, text: str | None) -> None:
    """We copy a mistake of an SDK, or break the rules of the module's own table."""
    assert normalise("meta", field, value, country) == text


@pytest.mark.parametrize(
    "value", [None, "", "   ", "\u200b", True, float("nan"), b"x", [], {}, ...]
)
@pytest.mark.parametrize(("platform", "field"), FIELDS)
def test_nothing_in_nothing_out(platform: str, field: str, value: object) -> None:
    """The hash of an empty text is sent, which everyone without the value shares."""
    assert normalise(platform, field, value, "US") is None


@pytest.mark.parametrize(("platform", "field"), HASHED)
def test_a_hash_is_never_hashed_again(platform: str, field: str) -> None:
    """A hash is hashed again and matches no one, or an MD5 is sent as a SHA-256."""
    digest = _sha("x")
    assert hashed(platform, field, f" {digest.upper()} ") == digest
    if field == "external_id":
        assert normalise(platform, field, digest) == digest
    else:
        assert normalise(platform, field, digest) is None
        for other in (hashlib.md5(b"x"), hashlib.sha1(b"x"), hashlib.sha512(b"x")):
            assert hashed(platform, field, other.hexdigest().upper(), "US") is None
        assert hashed(platform, field, "6505551212".ljust(32, "a"), "US") is None


def test_wrong_names_are_refused_without_the_value() -> None:
    """A misspelt field is dropped silently, or a person's data appears in a log."""
    wrong = [
        ("tiktok", "em", "unknown field em of platform tiktok"),
        ("meta", "email", "unknown field email of platform meta"),
        ("google", "em", "unknown field em of platform google"),
    ]
    for platform, field, sentence in wrong:
        for call in (normalise, hashed):
            with pytest.raises(ValueError, match=f"^{sentence}$"):
                call(platform, field, _sha("jo@example.com"))
    with pytest.raises(ValueError, match=r"^postal_code is sent in clear$"):
        hashed("google", "postal_code", "94035")


PERSON = {
    "email": ["Jo.Hn@gmail.com", "jo.hn@gmail.com ", "b@example.com", "nobody"],
    "phone": "(650)555-1212",
    "first_name": "Mary Ann",
    "last_name": "O'Brien, Jr.",
    "city": "San Francisco",
    "state": "California",
    "zip": "94035-1234",
    "country": "United States",
    "gender": None,
    "date_of_birth": date(1997, 2, 16),
    "external_id": "user 1",
    "unknown": "x",
}


def test_a_person_for_meta() -> None:
    """An event is sent without identifiers that we have, or with a wrong guess."""
    assert meta_hashes(PERSON) == {
        "em": [_sha("jo.hn@gmail.com"), _sha("b@example.com")],
        "ph": [_sha("16505551212")],
        "fn": [_sha("mary ann"), _sha("maryann")],
        "ln": [_sha("obrien jr"), _sha("obrienjr")],
        "ct": [_sha("sanfrancisco")],
        "st": [_sha("ca")],
        "zp": [_sha("94035")],
        "country": [_sha("us")],
        "db": [_sha("19970216")],
        "external_id": [_sha("user 1"), _sha("user1")],
    }
    assert meta_hashes({}) == {}


def test_a_person_for_google() -> None:
    """Google gets Meta's forms, or an address in clear that is not one."""
    assert google_identifiers(PERSON) == (
        {
            "email": [_sha("john@gmail.com"), _sha("b@example.com")],
            "phone": [_sha("+16505551212")],
            "given_name": [_sha("mary ann")],
            "family_name": [_sha("obrien")],
        },
        {"region_code": "US", "postal_code": "94035-1234"},
    )
    assert google_identifiers({"zip": "n/a", "country": "Atlantis"}) == ({}, {})


def test_several_values_and_forms() -> None:
    """A second form replaces the first one, or a phone gets the code of a wrong country."""
    names = ["Mary Ann", "Anna Lee", _sha("x").upper()]
    assert meta_hashes({"first_name": names})["fn"] == [
        _sha("mary ann"),
        _sha("anna lee"),
        _sha("x"),
    ]
    both = {"date_of_birth": "2/3/1997", "country": "DE"}
    assert meta_hashes(both)["db"] == [_sha("19970302"), _sha("19970203")]
    assert meta_hashes({"date_of_birth": "2/3/1997"})["db"] == [_sha("19970203")]
    assert set(meta_hashes({"phone": "6505551212", "country": ["US", "DE"]})) == {"country"}
    assert "ph" in meta_hashes({"phone": "6505551212", "country": ["US", "usa"]})


@pytest.mark.parametrize(
    ("person", "field", "forms"),
    [
        ({"state": "Ontario", "country": "CA"}, "st", ["ontario", "on"]),
        ({"state": "ON", "country": "Canada"}, "st", ["on", "ontario"]),
        ({"state": "Québec, Canada"}, "st", ["québec", "qc", "quebec"]),
        ({"state": "Ontario"}, "st", ["ontario"]),  # of an unknown country
        ({"city": "Zürich"}, "ct", ["zürich", "zurich"]),
        ({"city": "São Paulo"}, "ct", ["sãopaulo", "saopaulo"]),
        ({"city": "Łódź"}, "ct", ["łódź", "lodz"]),
        ({"city": "Sjøgata ß"}, "ct", ["sjøgataß", "sjogatass"]),
        ({"city": "がŷ東京"}, "ct", ["がŷ東京", "がy東京"]),  # that mark makes another letter
        ({"city": "Москва"}, "ct", ["москва"]),
        ({"city": "Paris"}, "ct", ["paris"]),
    ],
)
def test_both_forms_are_sent(person: dict[str, object], field: str, forms: list[str]) -> None:
    """A person who writes ON or Zurich in the browser does not match Ontario or Zürich here."""
    assert meta_hashes(person)[field] == [_sha(form) for form in forms]


@pytest.mark.parametrize(
    "text",
    [
        *("undefined", "NULL", " None ", "nan", "N/A", "0", "-", "(not set)", '""', "{{user_id}}"),
        *("user-{{ user.id }}", "${userId}", "{gclid}", "[[EMAIL]]", "%%email%%", "*|EMAIL|*"),
        *("<%= id %>", "__CID__", "[object Object]", "1.23457E+11"),
    ],
)
@pytest.mark.parametrize(("platform", "field"), FIELDS)
def test_placeholders_are_nobody(platform: str, field: str, text: str) -> None:
    """All people of a shop that writes `undefined` are one person to the platform."""
    assert normalise(platform, field, text, "US") is None
    assert normalise("meta", "external_id", 0) is None


def test_the_marts_know_the_same_placeholders() -> None:
    """The marts count a purchase that is never sent, or the other way round."""
    macro = (config.ROOT / "dbt/macros/app_rows.sql").read_text()
    listed = macro.split("is_placeholder(column)")[1].split("in (")[1].split(")\n")[0]
    assert re.findall(r"'([^']*)'", listed) == list(PLACEHOLDERS)


@pytest.mark.parametrize(
    "text", ["00", "1001", "nullius", "Nona", "a-b", "E+1", "7e5", "nobody", "user_1", "__x"]
)
def test_what_only_looks_like_a_placeholder(text: str) -> None:
    """People whose id only begins like a placeholder are lost."""
    assert normalise("meta", "external_id", text) == text.lower()


def test_the_default_country_reads_and_is_not_sent() -> None:
    """A shop of one country loses the phones of all who did not write their country, or sends
    a country that was not said.
    """
    person = {"phone": "(555) 123-4567", "state": "California", "zip": "94035-1234"}
    assert meta_hashes(person) == {"st": [_sha("ca")], "zp": [_sha("94035")]}  # never guessed
    assert meta_hashes(person, "US") == {
        "ph": [_sha("15551234567")], "st": [_sha("ca")], "zp": [_sha("94035")],
    }  # fmt: skip
    assert meta_hashes({"phone": "0812 3456 7890"}, "ID") == {"ph": [_sha("6281234567890")]}
    assert google_identifiers({"phone": "0812 3456 7890", "zip": "940351234"}, "ID") == (
        {"phone": [_sha("+6281234567890")]}, {"postal_code": "940351234"},
    )  # fmt: skip
    assert meta_hashes({"date_of_birth": "2/3/1997"}, "DE")["db"] == [
        _sha("19970302"), _sha("19970203"),
    ]  # fmt: skip
    # Who says a country, though an unknown one, has not the default one.
    for own in ("GB", "Atlantis", ["US", "DE"]):
        found = meta_hashes({"phone": "(555) 123-4567", "country": own}, "US")
        assert _sha("15551234567") not in found.get("ph", [])
    assert "ph" in meta_hashes({"phone": "(555) 123-4567", "country": "null"}, "US")
    assert google_identifiers({"country": ["null"], "zip": "94035"}, "US")[1] == {
        "postal_code": "94035"
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("em", v) for v in ("John_Smith@gmail.com ", " a+b@x.co.uk", "Ü@example.com")),
        *(("ph", v) for v in ("+1 (650) 555-1212", "0044 20 7183 8750", "16505551212")),
        *(("fn", v) for v in ("Mary", "정", "Valéry", "Mary Ann")),
        *(("ct", v) for v in ("New York", "San José", "St. Louis", "Winston-Salem")),
        *(("zp", v) for v in ("94035", "94035-1234", "M1 1AE", "75018")),
        *(("st", v) for v in ("CA", "az", "New South Wales")),
        *(("country", v) for v in ("us", " DE ")),
        *(("ge", v) for v in ("f", "M ")),
        ("db", "19970216"),
        *(("external_id", v) for v in ("User-1 ", " AbC")),
    ],
)
def test_agrees_with_metas_sdk(field: str, value: str) -> None:
    """The hashes of a shop that uses Meta's library in the browser differ from ours."""
    country = "US" if field == "ph" else None
    assert hashed("meta", field, value, country) == Normalize.normalize_field(field, value)


# What the normalised text of a field looks like, whatever went in.
SHAPES = {
    "em": r"[^\s@A-Z]+@[^\s@A-Z]+\.[^\s@A-Z]{2,}",
    "email": r"[^\s@A-Z]+@[^\s@A-Z]+\.[^\s@A-Z]{2,}",
    "ph": r"[1-9][0-9]{5,14}",
    "phone": r"\+[1-9][0-9]{5,14}",
    "ct": r"[^\sA-Z!-/]+",
    "st": r"[^\sA-Z!-/]+",
    "zp": r"[0-9a-z]{2,11}",
    "country": r"[a-z]{2}",
    "ge": r"[mf]",
    "db": r"(19|20)[0-9]{2}[01][0-9][0-3][0-9]",
    "external_id": r"\S(.*\S)?",
    "region_code": r"[A-Z]{2}",
    "country_code": r"[A-Z]{2}",
    "postal_code": r"[0-9A-Za-z][0-9A-Za-z -]*",
}
NAME = r"[^\sA-Z!-/]+( [^\sA-Z!-/]+)*"

ANYTHING = st.text(st.characters(), max_size=40) | st.text(
    st.sampled_from("aAzZéÉßİ정ｱ´'’.,-+/@#x0123456789٣ \u0301\u200d\u00a0\ud800"),  # noqa: RUF001
    max_size=30,
)
PLAUSIBLE = st.sampled_from(
    [
        *(v for v in PERSON.values() if isinstance(v, str)),
        *("Jo.Hn+x@Gmail.com", "+44 (0)20 7183 8750", "16.2.1997", "1997-02-16", "Victoria, AUS"),
        *(
            "Florida, Uruguay",
            "Florida",
            "f",
            "DE",
            "m1 1ae",
            _sha("x"),
            "Mrs. Dr. Quinn",
            "i jr v",
        ),
    ]
)
COUNTRIES = st.sampled_from([None, "US", "United States", "gb", "DEU", "UY", "Atlantis", ""])


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(FIELDS), ANYTHING | PLAUSIBLE, COUNTRIES)
def test_any_text(where: tuple[str, str], value: str, country: str | None) -> None:
    """An odd name stops a batch, changes when it is read again, or is sent in clear."""
    platform, field = where
    text = normalise(platform, field, value, country)
    if field not in CLEAR:
        digest = hashed(platform, field, value, country)
        assert digest is None or re.fullmatch("[0-9a-f]{64}", digest)
        assert hashed(platform, field, digest, country) == digest
    if text is None:
        return
    assert re.fullmatch(SHAPES.get(field, NAME), text, re.DOTALL)
    # Meta's phones alone cannot be read again as they are: they have no "+".
    again = "+" + text if field == "ph" else text
    assert normalise(platform, field, again, country) == text


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(list(PERSON)), ANYTHING | PLAUSIBLE | st.lists(ANYTHING)))
def test_any_person(person: dict[str, object]) -> None:
    """A list that Meta refuses, an empty key, or something unhashed beside the hashes."""
    google, clear = google_identifiers(person)
    for hashes in [*meta_hashes(person).values(), *google.values()]:
        assert 1 <= len(set(hashes)) == len(hashes) <= 3
        assert all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes)
    assert set(clear) <= {"region_code", "postal_code"}


def test_every_character_in_a_name_is_stable() -> None:
    """One letter of some script hashes differently the second time, or cannot be encoded."""
    for code in (*range(0x3000), *range(0x3000, sys.maxunicode + 1, 37)):
        for text in (f"a{chr(code)}b", f"a {chr(code)}\u0301"):
            name = normalise("meta", "fn", text)
            city = normalise("meta", "ct", text)
            assert name is not None
            assert city is not None
            assert normalise("meta", "fn", name) == name
            assert normalise("meta", "ct", city) == city
            city.encode()


def test_what_is_too_long_is_nobodys() -> None:
    """A phone of 20 kB is searched for its extension for seconds."""
    phone = "+44 20 7183 8750"
    assert normalise("google", "phone", f"{phone} ext. 12") == "+442071838750"
    assert normalise("google", "phone", phone + "#" * 60 + "1") is None
    assert normalise("meta", "fn", "a" * 513) is None
    assert meta_hashes({"phone": ["1"] * 10 + [phone]}) == {}


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text(" -.()/\u00a0\u2011", max_size=2), min_size=12, max_size=12))
def test_phone_punctuation_does_not_matter(gaps: list[str]) -> None:
    """The same number typed with other dashes is another person."""
    written = "".join(gap + digit for gap, digit in zip(gaps, "442071838750", strict=True))
    assert normalise("google", "phone", f"+{written}") == "+442071838750"
    assert normalise("google", "phone", f"0 0{written}", "US") == "+442071838750"


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from([f for f in FIELDS if f[1] != "postal_code"]),
    st.text("abcxyzäéñøжд정東.-'@ 0123456789", max_size=20) | PLAUSIBLE,
    st.text(" \t\n\u3000", max_size=3),
)
def test_case_and_outer_blanks_do_not_matter(
    where: tuple[str, str], value: str, blank: str
) -> None:
    """JO@EXAMPLE.COM and jo@example.com are two people."""
    text = normalise(*where, value, "US")
    assert normalise(*where, blank + value.upper() + blank, "US") == text
    assert normalise(*where, value.lower(), "US") == text


def test_country_codes_for_consent() -> None:
    """Consent is not asked where it must be, since the country is not recognised."""
    for written in ("DE", "de", " deu ", "Germany", "GERMANY", "Federal Republic of Germany"):
        assert country_alpha2(written) == "DE"
    for nobody in (None, "", "n/a", "n.a.", "Europe", "jo@example.com", 49):
        assert country_alpha2(nobody) is None
