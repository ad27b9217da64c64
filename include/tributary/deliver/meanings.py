"""What the outcome of a delivery means, and what a person does about it, in two short sentences.

Codes of a platform are explained by its own table; what stands in their place is explained here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tributary.platforms.google import errors as google
from tributary.platforms.google.errors import Do
from tributary.platforms.meta import errors as meta


class Meaning(NamedTuple):
    """For people who look at a ledger."""

    means: str
    to_do: str


_NOTHING = "Nothing: the next uploads go on."
_RETRY = "mend the cause, then retry."

_OURS = {
    # Dead or to be tried again.
    "outcome_unknown": Meaning(
        "A request went out and no answer came while the platform still dropped duplicates.",
        "Look whether the platform has the event. Retry only if not: it could count twice.",
    ),
    "attempts": Meaning(
        "The platform refused the event five times.",
        "The delivery's error begins with the platform's code: " + _RETRY,
    ),
    "expired": Meaning(
        "It waited until the platform takes it no longer.",
        "Nothing can be sent any more; see why the destination stood still.",
    ),
    "website_fields": Meaning(
        "A website event has no page URL or no browser (event_source_url, user_agent).",
        "Send both with the event, or another action_source.",
    ),
    "unreachable": Meaning(
        "No connection came about; nothing was sent.",
        "Nothing, if it passes; else check the connection's host, proxy and firewall.",
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
        "Nothing: it leaves with the next one.",
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
        "Nothing in the event identifies anybody to this platform.",
        "Send e-mail, phone, click id or contact id with the event.",
    ),
    "not_mapped": Meaning(
        "The destination does not take events of this name.",
        "Add the name to the destination's `events`, if it should.",
    ),
    "not_adjustable": Meaning(
        "A sale that this platform has got has changed, and it takes no changes.",
        "Nothing can be sent: its reports keep what was sent before.",
    ),
    "cancelled": Meaning(
        "The order was cancelled, wholly refunded or unpaid again before anything of it left.",
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
        "Nothing, or `deliveries backfill` if the platform has not got it otherwise.",
    ),
    "original_not_sent": Meaning(
        "It adjusts an event that this platform never got.",
        "Nothing: there is nothing to adjust.",
    ),
    "renewal": Meaning(
        "A subscription's renewal, and the webhook's setting `renewals` is skip.",
        "Nothing, or set `renewals` to purchase or Subscribe for those that come.",
    ),
    "superseded": Meaning("A newer adjustment of the same order takes its place.", "Nothing."),
    "erased": Meaning("The person's data were erased.", "Nothing."),
    "by_hand": Meaning(
        "A person left it out.", "Nothing, or set the delivery to pending again over the API."
    ),
    # Sent.
    "accepted": Meaning(
        "The platform took it.", "Nothing: what some platforms find out later follows."
    ),
    "confirmed": Meaning("The platform took it and has processed it.", "Nothing."),
    "duplicate": Meaning("The platform had it already: it counts once.", "Nothing."),
    "unmatched": Meaning("The platform took it and knows no click that led to it.", "Nothing."),
}
# As above, where it was seen at intake already.
_SKIPPED = {
    "expired": Meaning(
        "It was too old for the platform when it came in.",
        "Nothing can be sent any more; hand events in sooner.",
    ),
}

_META: dict[type[meta.MetaError], str] = {
    meta.MetaTransient: _NOTHING,
    meta.MetaThrottled: "Nothing: the destination waits as long as Meta says.",
    meta.MetaBlocked: "See Meta's Business support; then resume.",
    meta.MetaTokenRefused: "Put a valid token into the connection's password field; then resume.",
    meta.MetaForbidden: "Grant ads_management and assign the pixel to the token's system user; "
    "then resume.",
    meta.MetaEventRefused: "Mend the source of the event; then retry.",
    meta.MetaError: "Read the delivery's error; " + _RETRY,
}

_GOOGLE = {
    Do.DUPLICATE: "Nothing: it is delivered.",
    Do.UNMATCHED: "Nothing: nobody came by an ad.",
    Do.LATER: "Nothing: it is sent again.",
    Do.TOMORROW: "Nothing: it is sent again.",
    Do.AGAIN: _NOTHING,
    Do.SLOWER: "Nothing: the destination waits as long as Google says.",
    Do.PAUSE: "Mend what the destination's pause or the delivery's error names; then resume.",
    Do.MOVE: "Set the platform to google_data_manager, with a connection of that type.",
    Do.DEAD: "Mend the source of the event; then retry.",
    Do.CONSENT: "Nothing.",
    Do.OURS: "Read the delivery's error; " + _RETRY,
    Do.GONE: "Look in Google Ads whether the events have arrived.",
}
_NO_REASON = Meaning(
    "Google refuses it and gives no reason.", "Read the delivery's error; " + _RETRY
)

_UNKNOWN = Meaning(
    "A code of the platform's own that has no text here.",
    "Look it up in the platform's documentation; the delivery's error may say more.",
)


def meaning(platform: str, outcome: str | None, status: str = "dead") -> Meaning:
    """What an outcome says; for a code that nobody has described, where to look.

    Args:
        platform: of the destination.
        outcome: of the delivery; None while it only waits.
        status: the delivery's `sync_status`.
    """
    if outcome is None:
        return Meaning("It waits for its turn.", _NOTHING)
    if status == "skipped" and outcome in _SKIPPED:
        return _SKIPPED[outcome]
    if outcome in _OURS:
        return _OURS[outcome]
    if found := re.fullmatch(r"http_(\d{3})", outcome):
        return _http(int(found[1]))
    # Where several reasons ask for the same, they stand in one outcome; the first explains it.
    first = outcome.partition(", ")[0]
    return (_meta(first) if platform == "meta" else _google(platform, first)) or _UNKNOWN


def _http(status: int) -> Meaning:
    if status >= 500:
        return Meaning(f"The platform failed (HTTP {status}).", _NOTHING)
    return Meaning(
        f"The platform, or something before it, refused the request (HTTP {status}).",
        "Check the connection's host and credentials, then resume.",
    )


def _meta(outcome: str) -> Meaning | None:
    code, _, subcode = outcome.partition("/")
    if not code.lstrip("-").isdigit():
        return None
    rule = meta.rule_for(int(code), int(subcode) if subcode.isdigit() else None)
    if rule is None:
        return None
    to_do = next(_META[kind] for kind in rule.error.__mro__ if kind in _META)
    return Meaning(f"Meta: {rule.meaning}.", to_do)


def _google(platform: str, outcome: str) -> Meaning | None:
    do = google.STATUSES.get(outcome, Do.UNKNOWN)
    if platform == "google_ads" and do is Do.UNKNOWN:
        do = google.ads(outcome)
    elif do is Do.UNKNOWN:
        do = google.fast_fail(outcome)
        do = google.processing(outcome) if do is Do.UNKNOWN else do
    if do not in _GOOGLE:
        return _NO_REASON if outcome.endswith(_SAY_NOTHING) else None
    code = outcome.rpartition(".")[2].replace("_", " ").lower()
    return Meaning(f"Google: {code}; {do.value.partition(':')[0]}.", _GOOGLE[do])


_SAY_NOTHING = ("UNSPECIFIED", "UNKNOWN", "unknown")
