"""How a post proves that the provider sent it: by a signature, or by the secret itself."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass

from stripe import SignatureVerificationError, WebhookSignature

from tributary.api.problems import ApiError

REPLAY_WINDOW = 300  # seconds

Headers = Mapping[str, str]

PLAIN_HEADER = "X-Webhook-Secret"  # for senders that cannot sign


@dataclass(frozen=True)
class Signature:
    """A header `t=SECONDS,v1=HMAC`: HMAC-SHA256 of `SECONDS.BODY` in hex, as Stripe's.

    https://docs.stripe.com/webhooks#verify-manually
    """

    header: str = "X-Tributary-Signature"
    description: str = "t=SECONDS,v1=HMAC-SHA256 of `SECONDS.BODY` in hex."

    def verify(self, body: bytes, headers: Headers, secret: str) -> None:
        """Refuse what is not the provider's, or was signed more than five minutes from now.

        Raises:
            ApiError: 401.
        """
        words = f"The header {self.header} does not prove this body, or is not of these minutes."
        given = headers.get(self.header)
        try:
            WebhookSignature.verify_header(body, given, secret, REPLAY_WINDOW)
        except (SignatureVerificationError, ValueError, TypeError):  # their texts quote the body
            raise ApiError(401, words) from None
        # Stripe's library refuses what is old alone: one signed ahead could be replayed until then.
        parts = (part.split("=") for part in str(given).split(","))
        signed_at = next(int(part[1]) for part in parts if part[0] == "t")  # what was proven
        if signed_at > time.time() + REPLAY_WINDOW:
            raise ApiError(401, words)


def verify_secret(given: str, secret: str, *, may_guess: bool) -> None:
    """Refuse a post whose secret, sent as it is, is not right.

    Args:
        may_guess: False after too many wrong ones: then it is not even compared.

    Raises:
        ApiError: 401.
    """
    if not (may_guess and hmac.compare_digest(given.encode(), secret.encode())):
        raise ApiError(401, "The secret is not right.")
