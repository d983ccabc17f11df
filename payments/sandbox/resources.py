"""The provider's operations: intents, refunds, transfers. Each runs inside the provider's transaction.

They return the body of the answer, in Stripe's format, or raise ProviderError.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import F, Q, Sum
from django.utils import timezone

from payments.sandbox.methods import METHODS
from payments.sandbox.models import SandboxIntent, SandboxRefund, SandboxTransfer
from payments.sandbox.wire import (
    CARD_DECLINED,
    ProviderError,
    Request,
    intent_body,
    list_body,
    refund_body,
    transfer_body,
)

AUTHORIZATION_LIFETIME = timedelta(days=7)
CONFIRMABLE = ("requires_confirmation", "requires_payment_method", "requires_action")
CANCELABLE = (*CONFIRMABLE, "requires_capture", "processing")
PAGE_SIZE = 100

Body = dict[str, Any]
Operation = Callable[..., Body]


def create_intent(request: Request) -> Body:
    amount = request.cents("amount")
    currency = request.text("currency")
    method = request.text("payment_method")
    _require_method(method)
    intent = SandboxIntent.objects.create(
        id=_new_id("pi"),
        status="requires_confirmation",
        amount=amount,
        currency=currency,
        payment_method=method,
        transfer_group=request.params.get("transfer_group", ""),
        metadata=request.metadata,
    )
    return _shown(intent, request)


def confirm_intent(request: Request, intent_id: str) -> Body:
    intent = _locked(intent_id)
    _require_state(intent, CONFIRMABLE, "confirm")
    method = METHODS[intent.payment_method]
    if method.decline_code:
        raise _declined(intent, method.decline_code)
    if method.needs_authentication:
        intent.status = "requires_action"
    else:
        _authorize(intent)
    intent.save()
    return _shown(intent, request)


def retrieve_intent(request: Request, intent_id: str) -> Body:
    return _shown(_locked(intent_id), request)


def cancel_intent(request: Request, intent_id: str) -> Body:
    intent = _locked(intent_id)
    _require_state(intent, CANCELABLE, "cancel")
    intent.status, intent.amount_capturable = "canceled", 0
    intent.save()
    return _shown(intent, request)


def capture_intent(request: Request, intent_id: str) -> Body:
    intent = _locked(intent_id)
    _require_state(intent, ("requires_capture",), "capture")
    amount = request.cents("amount_to_capture", default=intent.amount)
    if amount > intent.amount_capturable:
        message = f"The amount to capture is above {intent.amount_capturable}."
        raise ProviderError(400, "invalid_request_error", message, code="amount_too_large", is_final=True)
    intent.status, intent.amount_received, intent.amount_capturable = "succeeded", amount, 0
    intent.save()
    return _shown(intent, request)


def list_intents(request: Request) -> Body:
    found = SandboxIntent.objects.order_by("-created_at", "-id")
    if since := request.params.get("created[gte]"):
        found = found.filter(created_at__gte=datetime.fromtimestamp(int(since), UTC))
    if last := SandboxIntent.objects.filter(pk=request.params.get("starting_after", "")).first():
        older = Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, id__lt=last.id)
        found = found.filter(older)
    limit = int(request.params.get("limit", "10"))
    page = list(found[: limit + 1])
    shown = [_shown(intent, request) for intent in page[:limit]]
    return list_body("/v1/payment_intents", shown, has_more=len(page) > limit)


def create_refund(request: Request) -> Body:
    intent = _locked(request.text("payment_intent"))
    left = intent.amount_received - intent.amount_refunded
    amount = request.cents("amount", default=left or None)
    if amount > left:
        message = f"Refund amount {amount} is greater than the unrefunded amount {left}."
        code = "charge_already_refunded" if left == 0 else "amount_too_large"
        raise ProviderError(400, "invalid_request_error", message, code=code, is_final=True)
    SandboxIntent.objects.filter(pk=intent.pk).update(amount_refunded=F("amount_refunded") + amount)
    refund = SandboxRefund.objects.create(
        id=_new_id("re"), intent_id=intent.id, amount=amount, metadata=request.metadata
    )
    return refund_body(refund)


def list_refunds(request: Request) -> Body:
    found = SandboxRefund.objects.filter(intent_id=request.text("payment_intent")).order_by("-created_at", "-id")
    return list_body("/v1/refunds", [refund_body(refund) for refund in found[:PAGE_SIZE]])


def create_transfer(request: Request) -> Body:
    amount, charge = request.cents("amount"), request.text("source_transaction")
    funded = SandboxIntent.objects.select_for_update().filter(charge_id=charge, status="succeeded").first()
    if funded is None:
        message = f"No such captured charge: {charge}."
        raise ProviderError(400, "invalid_request_error", message, code="resource_missing", param="source_transaction")
    sums = SandboxTransfer.objects.filter(source_transaction=charge).aggregate(
        sent=Sum("amount", default=0), reversed=Sum("amount_reversed", default=0)
    )
    if sums["sent"] - sums["reversed"] + amount > funded.amount_received:
        message = "The transfers of this charge would exceed its amount."
        raise ProviderError(400, "invalid_request_error", message, code="balance_insufficient", is_final=True)
    transfer = SandboxTransfer.objects.create(
        id=_new_id("tr"),
        amount=amount,
        currency=request.text("currency"),
        destination=request.text("destination"),
        transfer_group=request.params.get("transfer_group", ""),
        source_transaction=charge,
        metadata=request.metadata,
    )
    return transfer_body(transfer)


def retrieve_transfer(_request: Request, transfer_id: str) -> Body:
    return transfer_body(_locked_transfer(transfer_id))


def list_transfers(request: Request) -> Body:
    found = SandboxTransfer.objects.filter(transfer_group=request.text("transfer_group")).order_by("created_at", "id")
    return list_body("/v1/transfers", [transfer_body(transfer) for transfer in found[:PAGE_SIZE]])


def reverse_transfer(request: Request, transfer_id: str) -> Body:
    transfer = _locked_transfer(transfer_id)
    left = transfer.amount - transfer.amount_reversed
    amount = request.cents("amount", default=left or None)
    if amount > left:
        message = f"The reversal of {amount} is above {left}."
        code = "transfer_reversal_too_large"
        raise ProviderError(400, "invalid_request_error", message, code=code, is_final=True)
    reversal = {"id": _new_id("trr"), "amount": amount, "metadata": request.metadata}
    transfer.amount_reversed += amount
    transfer.reversals = [*transfer.reversals, reversal]
    transfer.save(update_fields=["amount_reversed", "reversals"])
    return {"object": "transfer_reversal", "transfer": transfer.id, **reversal}


def list_reversals(_request: Request, transfer_id: str) -> Body:
    transfer = _locked_transfer(transfer_id)
    shown = [{"object": "transfer_reversal", "transfer": transfer.id, **one} for one in transfer.reversals]
    return list_body(f"/v1/transfers/{transfer_id}/reversals", shown)


def retrieve_method(_request: Request, method_id: str) -> Body:
    _require_method(method_id)
    method = METHODS[method_id]
    card = {"brand": method.brand, "last4": method.last4}
    return {"id": method_id, "object": "payment_method", "type": "card", "card": card}


def _require_method(method_id: str) -> None:
    if method_id not in METHODS:
        message = f"No such PaymentMethod: '{method_id}'"
        raise ProviderError(400, "invalid_request_error", message, code="resource_missing", param="payment_method")


def _locked(intent_id: str) -> SandboxIntent:
    intent = SandboxIntent.objects.select_for_update().filter(pk=intent_id).first()
    if intent is None:
        message = f"No such payment_intent: '{intent_id}'"
        raise ProviderError(404, "invalid_request_error", message, code="resource_missing", param="intent")
    if intent.status == "requires_capture" and intent.capture_before and intent.capture_before <= timezone.now():
        intent.status, intent.amount_capturable = "canceled", 0
        intent.save()
    return intent


def _locked_transfer(transfer_id: str) -> SandboxTransfer:
    transfer = SandboxTransfer.objects.select_for_update().filter(pk=transfer_id).first()
    if transfer is None:
        message = f"No such transfer: '{transfer_id}'"
        raise ProviderError(404, "invalid_request_error", message, code="resource_missing", param="transfer")
    return transfer


def _require_state(intent: SandboxIntent, allowed: tuple[str, ...], verb: str) -> None:
    if intent.status not in allowed:
        message = f"You cannot {verb} this PaymentIntent because it has a status of {intent.status}."
        code = "payment_intent_unexpected_state"
        raise ProviderError(
            400, "invalid_request_error", message, code=code, is_final=True, payment_intent=intent_body(intent)
        )


def _authorize(intent: SandboxIntent) -> None:
    intent.status = "requires_capture"
    intent.amount_capturable = intent.amount
    intent.charge_id = _new_id("ch")
    intent.authorizations += 1
    intent.capture_before = timezone.now() + AUTHORIZATION_LIFETIME
    intent.decline_code = ""


def _declined(intent: SandboxIntent, decline_code: str) -> ProviderError:
    intent.status, intent.decline_code = "requires_payment_method", decline_code
    intent.save()
    return ProviderError(
        402,
        "card_error",
        "Your card was declined.",
        code=CARD_DECLINED,
        is_final=True,
        decline_code=decline_code,
        payment_intent=intent_body(intent),
    )


def _shown(intent: SandboxIntent, request: Request) -> Body:
    return intent_body(intent, expand_charge=request.expands("latest_charge"))


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"
