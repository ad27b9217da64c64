"""What the sandbox knows of money: Meta's minor units, and rough exchange rates."""

# Meta's own table, which is not ISO 4217: HUF, TWD, COP, CRC and IDR have no minor unit here.
_WITHOUT_MINOR_UNIT = frozenset(
    {"CLP", "COP", "CRC", "HUF", "ISK", "IDR", "JPY", "KRW", "PYG", "TWD", "VND"}
)

# Rounded for plausible budgets; a currency that is not listed is priced like the dollar.
_PER_USD_PERCENT = {"USD": 100, "EUR": 92, "GBP": 79, "IDR": 1_560_000, "JPY": 15_000}


def offset(currency: str) -> int:
    """How many of Meta's minor units make one major unit: 1 or 100."""
    return 1 if currency in _WITHOUT_MINOR_UNIT else 100


def from_usd_cents(cents: int, currency: str) -> int:
    """The same value in the minor units of a currency, rounded down."""
    return cents * _PER_USD_PERCENT.get(currency, 100) * offset(currency) // 10_000


def major(minor: int, currency: str) -> str:
    """Minor units as a decimal string of major units: "123.45", or "152300" without cents."""
    if offset(currency) == 1:
        return str(minor)
    return f"{minor // 100}.{minor % 100:02d}"
