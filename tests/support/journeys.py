"""1,500 invented journeys, their weights by five models computed here, and a package's totals.

Another brand has an order, a person and a visit of each of their ids, and an ad of its own.

The totals by campaign in `journeys_mam.json` are those of the PyPI package
marketing-attribution-models 2.1.1 (`mam`), which brings polars, pyarrow, scipy and plotly along,
and so is not installed with the tests. To compute them anew, in an environment that has it:

    python tests/support/journeys.py
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import NamedTuple

FIGURES = Path(__file__).with_name("journeys_mam.json")
CAMPAIGNS = [f"c{number}" for number in range(1, 9)]
OTHER_CAMPAIGN = "c9"  # the other brand's
HALF_LIFE = timedelta(days=7)


class Journey(NamedTuple):
    """A purchase and the touches before it, the oldest first: (moment, campaign)."""

    transaction_id: str
    amount: Decimal
    transacted_at: datetime
    touches: list[tuple[datetime, str]]


def journeys() -> list[Journey]:
    """The same ones every time; all touches within 30 days, at whole seconds, none at once."""
    random = Random(1500)
    made = []
    for number in range(1500):
        at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=random.randrange(20 * 86_400))
        back = sorted(random.sample(range(1, 30 * 86_400), random.randint(1, 7)), reverse=True)
        touches = [(at - timedelta(seconds=s), random.choice(CAMPAIGNS)) for s in back]
        made.append(
            Journey(f"J{number:04}", Decimal(random.randint(100, 99_999)) / 100, at, touches)
        )
    return made


def weights(journey: Journey) -> dict[str, list[Fraction | float]]:
    """What each touch has by each model, by their definitions alone."""
    count = len(journey.touches)
    first, last = [Fraction(0)] * count, [Fraction(0)] * count
    first[0] = last[-1] = Fraction(1)
    if count == 1:
        position = [Fraction(1)]
    elif count == 2:
        position = [Fraction(1, 2)] * 2
    else:
        middle = Fraction(1, 5) / (count - 2)
        position = [Fraction(2, 5), *[middle] * (count - 2), Fraction(2, 5)]
    decay = [0.5 ** ((journey.transacted_at - at) / HALF_LIFE) for at, _ in journey.touches]
    return {
        "first_touch": list(first),
        "last_touch": list(last),
        "linear": [Fraction(1, count)] * count,
        "position_based": list(position),
        "time_decay": [one / sum(decay) for one in decay],
    }


def _figures_of_mam() -> dict[str, dict[str, float]]:
    import pandas
    from mam import MAM  # type: ignore[import-not-found]

    sessions = pandas.DataFrame(
        [
            {
                "user": journey.transaction_id,
                "at": at.replace(tzinfo=None),
                "campaign": campaign,
                "converted": number == len(journey.touches),
                "value": float(journey.amount) if number == len(journey.touches) else None,
            }
            for journey in journeys()
            for number, (at, campaign) in enumerate(journey.touches, start=1)
        ]
    )
    mam = MAM(
        sessions,
        format_type="session",
        channels_colname="campaign",
        journey_with_conv_colname="converted",
        datetime_colname="at",
        user_id_colname="user",
        conversion_value_colname="value",
    )
    results = {
        "first_touch": mam.run_first_click(),
        "last_touch": mam.run_last_click(),
        "linear": mam.run_linear(),
        "position_based": mam.run_position_based(),
        "time_decay": mam.run_time_decay(half_life_hours=168),
    }
    totals = {}
    for model, result in results.items():
        found = result.to_pandas()
        channel, value = found.columns
        totals[model] = {str(row[channel]): float(row[value]) for _, row in found.iterrows()}
    return totals


if __name__ == "__main__":
    FIGURES.write_text(json.dumps(_figures_of_mam(), indent=1, sort_keys=True) + "\n")
