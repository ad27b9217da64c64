"""All webhook sources by name: each a file of this folder and a line here."""

from __future__ import annotations

from tributary.api.webhooks import chatbot, denefits, ghl, perspective, stripe
from tributary.api.webhooks.base import Source

SOURCES: dict[str, Source] = {
    module.SOURCE.name: module.SOURCE for module in (stripe, denefits, ghl, perspective, chatbot)
}
