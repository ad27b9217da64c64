"""Meta's currencies. Budgets come in minor units by Meta's own table, not by ISO 4217.

Source: https://developers.facebook.com/docs/marketing-api/currencies (BHD and JOD have an offset
of 100 there, and HUF, TWD, COP, CRC and IDR one of 1, against ISO).
"""

from __future__ import annotations

from decimal import Decimal

OFFSET_ONE = frozenset(
    {"CLP", "COP", "CRC", "HUF", "ISK", "IDR", "JPY", "KRW", "PYG", "TWD", "VND"}
)


def minor_unit(currency: str) -> Decimal:
    """The smallest amount of a currency in major units: 0.01 for USD, 1 for IDR."""
    return Decimal(1) if currency in OFFSET_ONE else Decimal("0.01")
