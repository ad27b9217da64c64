"""Invented customers, written down as carelessly as people write in forms.

Addresses and numbers are of the ranges reserved for examples and fiction, so none reaches anyone.
"""

from datetime import date, timedelta
from random import Random
from typing import NamedTuple


class Person(NamedTuple):
    """What a form says; None where it was left empty."""

    email: str | None
    phone: str | None
    first_name: str | None
    last_name: str | None
    city: str | None
    state: str | None
    zip: str | None
    country: str
    gender: str | None
    date_of_birth: str | None


class _Place(NamedTuple):
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    towns: tuple[tuple[str, str | None, str], ...]  # city, state, zip
    phones: tuple[str, ...]  # {} is filled with the last digits


_PLACES = {
    "US": _Place(
        ("Emily", "James", "Olivia", "Michael", "Sophia", "Daniel", "Ava", "Carlos"),
        ("Smith", "O'Connor", "Garcia", "Johnson", "Nguyen", "Lee-Jones", "Brown", "Miller"),
        (
            ("New York", "NY", "10001"),
            ("Los Angeles", "California", "90012-3308"),
            ("Austin", "TX", "78701"),
            ("St. Louis", "mo", "63101"),
        ),
        ("(212) 555-01{}", "+1 310 555 01{}", "512-555-01{}", "1.314.555.01{}"),
    ),
    "GB": _Place(
        ("Oliver", "Amelia", "Harry", "Isla", "Zoë", "Siân", "George", "Freya"),
        ("Jones", "Taylor", "Evans", "O\u2019Neill", "Walker", "St John", "Hughes", "Patel"),
        (
            ("London", None, "SW1A 1AA"),
            ("Manchester", "Greater Manchester", "m1 1ae"),
            ("Cardiff", "Wales", "CF10 1EP"),
        ),
        ("+44 (0)20 7946 00{}", "020 7946 00{}", "07700 9000{}", "+44 7700 9001{}"),
    ),
    "ID": _Place(
        ("Siti", "Budi", "Dewi", "Agus", "Putri", "Rizky", "Ayu", "Andi"),
        ("Wijaya", "Santoso", "Putra", "Lestari", "Hidayat", "Siregar", "Saputra", "Wulandari"),
        (
            ("Jakarta", "DKI Jakarta", "10110"),
            ("Surabaya", "Jawa Timur", "60111"),
            ("Bandung", "Jawa Barat", "40111"),
        ),
        # Indonesia reserves no range: the all-zero block of a Jakarta exchange takes their place.
        ("021 5000 00{}", "+62 21 500000{}", "62-21-5000-00{}"),
    ),
    "DE": _Place(
        ("Jürgen", "Anna", "Lukas", "Mia", "Sören", "Hannah", "Felix", "Käthe"),
        ("Müller", "Schmidt", "von der Heide", "Weiß", "Fischer", "Groß", "Becker", "Schäfer"),
        (
            ("Berlin", "Berlin", "10115"),
            ("München", "Bayern", "80331"),
            ("Köln", "NRW", "D-50667"),
        ),
        ("030 23125 0{}", "+49 (0)30 23125 1{}", "0049 30 23125 2{}"),
    ),
    "FR": _Place(
        ("Chloé", "Hugo", "Élodie", "Louis", "Anaïs", "Jean-Luc", "Inès", "François"),
        ("Martin", "Lefèvre", "Dubois", "d'Angelo", "Moreau", "Le Goff", "Petit", "Garnier"),
        (
            ("Paris", "Île-de-France", "75001"),
            ("Lyon", None, "69001"),
            ("Saint-Étienne", "Loire", "42000"),
        ),
        ("01 99 00 00 {}", "+33 1 99 00 01 {}", "0033 1 99 00 02 {}"),
    ),
}
_MARKETS = {"acme": {"US": 55, "ID": 30, "GB": 15}, "lumen": {"DE": 50, "FR": 30, "GB": 20}}
_DOMAINS = ("example.com", "example.org", "example.net", "mail.example.com")


def invent(brand: str, key: str, random: Random) -> Person:
    """A customer of a brand; `key` makes the e-mail address unique."""
    market = _MARKETS[brand]
    country = random.choices(tuple(market), tuple(market.values()))[0]
    place = _PLACES[country]
    first, last = random.choice(place.first_names), random.choice(place.last_names)
    city, state, postcode = random.choice(place.towns)
    local = "".join(filter(str.isascii, f"{first}.{last}")).lower()
    local = "".join(letter for letter in local if letter.isalnum() or letter == ".")
    email = f"{local}+{key}@{random.choice(_DOMAINS)}"
    phone = random.choice(place.phones).format(f"{random.randrange(100):02d}")
    born = date(1955, 1, 1) + timedelta(days=random.randrange(18_000))
    return Person(
        email=_maybe(_careless(email, random), 0.94, random),
        phone=_maybe(phone, 0.7, random),
        first_name=_maybe(_careless(first, random), 0.95, random),
        last_name=_maybe(_careless(last, random), 0.93, random),
        city=_maybe(city, 0.8, random),
        state=_maybe(state, 0.7, random),
        zip=_maybe(postcode, 0.8, random),
        country=random.choice((country, country, country.lower())),
        gender=_maybe(random.choice(("f", "m", "Female", "male")), 0.5, random),
        date_of_birth=_maybe(born.isoformat(), 0.4, random),
    )


def _careless(text: str, random: Random) -> str:
    shape = random.random()
    if shape < 0.12:
        return text.upper()
    if shape < 0.2:
        return f" {text} "
    return text.title() if shape < 0.25 else text


def _maybe(text: str | None, chance: float, random: Random) -> str | None:
    return text if random.random() < chance else None
