"""When the Marketing API's versions end, as far as Meta has said.

Source, read 2026-11-21: https://developers.facebook.com/docs/marketing-api/marketing-api-changelog/versions
(later versions: no date yet). After its end a version fails or is answered by the next one.
"""

from __future__ import annotations

from datetime import date, timedelta

END_DATES = {
    "v19.0": date(2025, 2, 4),
    "v20.0": date(2025, 5, 6),
    "v21.0": date(2025, 9, 9),
    "v22.0": date(2026, 2, 19),
    "v23.0": date(2026, 6, 9),
    "v24.0": date(2026, 10, 6),
}
WARN_AHEAD = timedelta(days=60)


def warning(version: str, today: date) -> str | None:
    """A sentence for a version that has ended or will within 60 days; None for any other."""
    end = END_DATES.get(version)
    if end is None or today < end - WARN_AHEAD:
        return None
    when = "ended" if end <= today else "ends"
    return (
        f"Marketing API {version} {when} on {end}: set a later api_version in the connection's "
        "extra, or leave it out to use the SDK's own."
    )
