"""The provider's webhooks. Verify the event, handle it once, read its object again from the provider, then act.

https://docs.stripe.com/webhooks: events may come twice, late, in any order, and before our own request was answered.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils import timezone

from payments import reconcile
from payments.errors import BadSignature, UnreadableEvent
from payments.models import ProviderEvent

TOLERANCE_SECONDS = 300
# Stricter than the SDK, which accepts all that int() accepts: with one form, no altered header is ever valid.
SIGNATURE_HEADER = re.compile(r"t=[1-9][0-9]{9,11}(,v[01]=[0-9a-f]{64}){1,8}")


@dataclass(frozen=True, kw_only=True)
class Event:
    """What is used of an event: its id and type, and the PaymentIntent it is about ("" if none)."""

    id: str
    type: str
    intent_id: str


def receive(payload: bytes, signature: str) -> bool:
    """Handle an event; `payload` is the request's body, `signature` its Stripe-Signature header.

    Returns False if the event was handled before. Raises BadSignature, UnreadableEvent, and GatewayUnavailable if the
    provider does not answer (it sends the event again).
    """
    _verify(payload, signature)
    event = _read(payload)
    known, _ = ProviderEvent.objects.get_or_create(
        id=event.id, defaults={"type": event.type, "object_id": event.intent_id}
    )
    if known.handled_at is not None:
        return False
    if event.intent_id:
        reconcile.reconcile_intent(event.intent_id)
    return ProviderEvent.objects.filter(pk=event.id, handled_at=None).update(handled_at=timezone.now()) == 1


def secrets() -> list[str]:
    """The signing secrets: two while one replaces the other."""
    return list(getattr(settings, "STRIPE_WEBHOOK_SECRETS", []))


def _verify(payload: bytes, signature: str) -> None:
    import stripe

    if not SIGNATURE_HEADER.fullmatch(signature):
        raise BadSignature("The Stripe-Signature header is missing or malformed.")
    for secret in secrets():
        try:
            stripe.WebhookSignature.verify_header(payload.decode("utf-8"), signature, secret, TOLERANCE_SECONDS)
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            continue
        return
    raise BadSignature("The signature does not fit this body, or is too old.")


def _read(payload: bytes) -> Event:
    try:
        event = json.loads(payload)
        found: dict[str, Any] = event["data"]["object"]
        intent_id = found["id"] if found.get("object") == "payment_intent" else found.get("payment_intent")
        return Event(id=str(event["id"])[:64], type=str(event["type"])[:64], intent_id=intent_id or "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableEvent("The body is not an event of the payment provider.") from error
