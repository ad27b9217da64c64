"""Names of events and of their properties: Meta's standard names, the product's, and the brand's.

A brand adds its own with `event_names` and `property_aliases`.
"""

from __future__ import annotations

from collections.abc import Mapping

from tributary.deliver.brands import Brand
from tributary.deliver.parse import text_of
from tributary.deliver.personal import personal_in
from tributary.event import EventRefused

# The product's own names → Meta's standard names. Anything else is a custom event.
EVENT_NAMES = {
    "signup_started": "Lead",
    "signup_completed": "CompleteRegistration",
    "checkout_started": "InitiateCheckout",
    "purchase_completed": "Purchase",
    "video_rendered": "Purchase",
    "batch_completed": "Purchase",
}
# https://developers.facebook.com/docs/meta-pixel/reference#standard-events
STANDARD_EVENTS = (
    "AddPaymentInfo", "AddToCart", "AddToWishlist", "CompleteRegistration", "Contact",
    "CustomizeProduct", "Donate", "FindLocation", "InitiateCheckout", "Lead", "PageView",
    "Purchase", "Schedule", "Search", "StartTrial", "SubmitApplication", "Subscribe",
    "ViewContent",
)  # fmt: skip
ALIASES = {
    "price": "value",
    "amount": "value",
    "userId": "external_id",
    "user_id": "external_id",
    "planId": "content_ids",
    "plan_id": "content_ids",
    "productId": "content_ids",
    "product_id": "content_ids",
}
_STANDARD = {name.lower(): name for name in STANDARD_EVENTS}


def event_name(brand: Brand, given: Mapping[str, object]) -> str:
    """The name under which an event is stored.

    Raises:
        EventRefused: it has no name, or one that cannot be stored.
    """
    name = text_of(given.get("event_name"))
    if name is None:
        raise EventRefused("event_name", "is missing")
    if len(name) > 100 or personal_in(name):
        raise EventRefused(
            "event_name", "must be a name of at most 100 characters, without e-mail or phone"
        )
    known = {**EVENT_NAMES, **brand.settings.event_names}
    if name in known:
        return str(known[name])
    return _STANDARD.get(name.replace("_", "").replace(" ", "").lower(), name)


def aliases(brand: Brand) -> dict[str, str]:
    """Other names of properties → the names of fields, or of Meta's custom_data."""
    return {**ALIASES, **brand.settings.property_aliases}
