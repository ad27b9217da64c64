"""What the outcome of a delivery means, and what a person does about it, in two short sentences.

The outcomes of every platform are explained here; each platform explains its own codes.
"""

from __future__ import annotations

import re

from tributary.platforms import registry
from tributary.platforms.base import Meaning

NEXT_UPLOADS_GO_ON = "Nothing: the next uploads go on."
READ_ERROR_THEN_RETRY = "Read the delivery's error; fix the cause, then retry."

SHARED = {
    # Dead or to be tried again.
    "outcome_unknown": Meaning(
        "A request went out and no answer came while the platform still dropped duplicates.",
        "Look whether the platform has the event. Retry only if not: it could count twice.",
    ),
    "attempts": Meaning(
        "The platform refused the event five times.",
        "The delivery's error begins with the platform's code: fix the cause, then retry.",
    ),
    "expired": Meaning(
        "It waited until the platform takes it no longer.",
        "Nothing can be sent any more; see why the destination was paused.",
    ),
    "website_fields": Meaning(
        "A website event has no page URL or no browser (event_source_url, user_agent).",
        "Import it again with both, under a new transaction_id and event_id; or with another "
        "action_source.",
    ),
    "unreachable": Meaning(
        "No connection was made; nothing was sent.",
        "Nothing, if it ends by itself; else check the connection's host, proxy and firewall.",
    ),
    "no_answer": Meaning(
        "A request went out and its answer did not come or could not be read.",
        "Nothing: it is sent again while the platform drops duplicates.",
    ),
    "not_received": Meaning(
        "The platform says that it received fewer events than were sent.",
        "Nothing: they are sent again, in halves, until the missing ones are found.",
    ),
    "currency_missing": Meaning(
        "The event has a value and no currency.", "Send the currency with the event; then retry."
    ),
    "same_id_in_request": Meaning(
        "Another event of the same order was in the same request.",
        "Nothing: it is sent with the next request.",
    ),
    "status_gone": Meaning(
        "The platform does not know the request whose status was asked for.",
        "Look in the platform whether its events have arrived.",
    ),
    "quota": Meaning(
        "A quota is used up: the platform takes no more for now.",
        "See the destination's pause; raise the quota, or wait until it is renewed.",
    ),
    # Rightly not sent.
    "no_consent": Meaning(
        "The person does not allow it, or was never asked.",
        "Nothing. What an unknown consent means is the brand's consent_when_unknown.",
    ),
    "unaddressable": Meaning(
        "Nothing in the event identifies a person to this platform.",
        "Send e-mail, phone, click id or contact id with the event.",
    ),
    "not_mapped": Meaning(
        "The destination does not take events of this name.",
        "Add the name to the destination's `events`, if it should.",
    ),
    "not_adjustable": Meaning(
        "A sale that this platform has already has changed, and it takes no changes.",
        "Nothing can be sent: its reports keep what was sent before.",
    ),
    "cancelled": Meaning(
        "The order was cancelled, wholly refunded or unpaid again before it was sent.",
        "Nothing: when the order is completed again, it is sent.",
    ),
    "test": Meaning(
        "A test event whose destination takes none, or one that was only checked (validate_only).",
        "Nothing, or give the destination a test_event_code.",
    ),
    "inactive": Meaning(
        "The destination was switched off while the event waited.",
        "Nothing, or set is_active and retry those that were skipped.",
    ),
    "before_send_from": Meaning(
        "It happened before the destination's send_from.",
        "Nothing, or `deliveries backfill` if the platform does not have it otherwise.",
    ),
    "original_not_sent": Meaning(
        "It adjusts an event that this platform never received.",
        "Nothing: there is nothing to adjust.",
    ),
    "renewal": Meaning(
        "A subscription's renewal, and the webhook's setting `renewals` is skip.",
        "Nothing, or set `renewals` to purchase or Subscribe for future renewals.",
    ),
    "superseded": Meaning("A newer adjustment of the same order takes its place.", "Nothing."),
    "erased": Meaning("The person's data were erased.", "Nothing."),
    "by_hand": Meaning(
        "A person excluded it.", "Nothing, or set the delivery to pending again over the API."
    ),
    # Sent.
    "accepted": Meaning(
        "The platform took it.", "Nothing: some platforms report later how they processed it."
    ),
    "confirmed": Meaning("The platform took it and has processed it.", "Nothing."),
    "duplicate": Meaning("The platform had it already: it counts once.", "Nothing."),
    "unmatched": Meaning("The platform took it and knows no click that led to it.", "Nothing."),
}
# Outcomes that mean something else when they are found at intake.
SKIPPED = {
    "expired": Meaning(
        "It was too old for the platform when it was received.",
        "Nothing can be sent any more; send events sooner.",
    ),
}
UNKNOWN = Meaning(
    "A code of the platform's own that has no text here.",
    "Look it up in the platform's documentation; the delivery's error may say more.",
)


def meaning(platform: str, outcome: str | None, status: str = "dead") -> Meaning:
    """The text for an outcome; for a code without a rule, where to look it up.

    Args:
        platform: of the destination.
        outcome: of the delivery; None while it only waits.
        status: the delivery's `sync_status`.

    Raises:
        SettingsError: there is no such platform.
    """
    its_platform = registry.platform(platform)
    if outcome is None:
        return Meaning("It waits for its turn.", NEXT_UPLOADS_GO_ON)
    if status == "skipped" and outcome in SKIPPED:
        return SKIPPED[outcome]
    if outcome in SHARED:
        return SHARED[outcome]
    if found := re.fullmatch(r"http_(\d{3})", outcome):
        return _http(int(found[1]))
    # Several reasons that ask for the same make one outcome; the first explains it.
    return its_platform.meaning(outcome.partition(", ")[0]) or UNKNOWN


def _http(status: int) -> Meaning:
    if status >= 500:
        return Meaning(f"The platform failed (HTTP {status}).", NEXT_UPLOADS_GO_ON)
    return Meaning(
        f"The platform, or something before it, refused the request (HTTP {status}).",
        "Check the connection's host and credentials, then resume.",
    )
