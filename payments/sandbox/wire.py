"""Requests, replies and bodies of the sandbox, in Stripe's format."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from payments.sandbox.methods import METHODS
from payments.sandbox.models import SandboxIntent, SandboxRefund, SandboxTransfer

CARD_DECLINED = "card_declined"


class ReplyLost(Exception):
    """The connection broke: the client can't know whether the request took effect."""


class ProviderError(Exception):
    """An error answer in the provider's format. `is_final`: it is stored under the idempotency key and repeated."""

    def __init__(self, status: int, type_: str, message: str, *, code: str = "", is_final: bool = False, **more: Any):
        super().__init__(message)
        self.status = status
        self.is_final = is_final
        error = {"type": type_, "message": message, "code": code, **more}
        self.body: dict[str, Any] = {"error": {name: value for name, value in error.items() if value}}


@dataclass(frozen=True)
class Request:
    """A request as the SDK sends it: `params` are its form fields or its query, `key` its idempotency key or ""."""

    method: str
    path: str
    params: dict[str, str]
    key: str

    @classmethod
    def parse(cls, method: str, url: str, post_data: str | bytes | None, key: str) -> Request:
        parts = urlsplit(url)
        data = post_data.decode() if isinstance(post_data, bytes) else post_data or ""
        encoded = parts.query if method.upper() == "GET" else data
        return cls(method.upper(), parts.path, dict(parse_qsl(encoded, keep_blank_values=True)), key)

    @property
    def fingerprint(self) -> str:
        content = json.dumps([self.method, self.path, sorted(self.params.items())])
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def metadata(self) -> dict[str, str]:
        prefix = "metadata["
        return {name[len(prefix) : -1]: text for name, text in self.params.items() if name.startswith(prefix)}

    def expands(self, name: str) -> bool:
        return any(key.startswith("expand[") and text.split(".")[-1] == name for key, text in self.params.items())

    def cents(self, name: str, *, default: int | None = None) -> int:
        text = self.params.get(name, "" if default is None else str(default))
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise ProviderError(400, "invalid_request_error", f"Invalid integer: {name}.", param=name)
        return int(text)

    def text(self, name: str) -> str:
        if not self.params.get(name):
            message = f"Missing required param: {name}."
            raise ProviderError(400, "invalid_request_error", message, code="parameter_missing", param=name)
        return self.params[name]


@dataclass(frozen=True)
class Reply:
    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)


def intent_body(intent: SandboxIntent, *, expand_charge: bool = False) -> dict[str, Any]:
    return {
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_capturable": intent.amount_capturable,
        "amount_received": intent.amount_received,
        "capture_method": "manual",
        "created": int(intent.created_at.timestamp()),
        "currency": intent.currency,
        "last_payment_error": _last_error(intent),
        "latest_charge": charge_body(intent) if expand_charge and intent.charge_id else intent.charge_id or None,
        "livemode": False,
        "metadata": intent.metadata,
        "next_action": {"type": "use_stripe_sdk"} if intent.status == "requires_action" else None,
        "payment_method": None if intent.status == "requires_payment_method" else intent.payment_method,
        "status": intent.status,
        "transfer_group": intent.transfer_group or None,
    }


def charge_body(intent: SandboxIntent) -> dict[str, Any]:
    method = METHODS[intent.payment_method]
    card: dict[str, Any] = {"brand": method.brand, "last4": method.last4}
    if intent.capture_before:
        card["capture_before"] = int(intent.capture_before.timestamp())
    return {
        "id": intent.charge_id,
        "object": "charge",
        "amount": intent.amount,
        "amount_captured": intent.amount_received,
        "amount_refunded": intent.amount_refunded,
        "payment_intent": intent.id,
        "payment_method_details": {"type": "card", "card": card},
    }


def _last_error(intent: SandboxIntent) -> dict[str, str] | None:
    if not intent.decline_code:
        return None
    return {"type": "card_error", "code": CARD_DECLINED, "decline_code": intent.decline_code}


def refund_body(refund: SandboxRefund) -> dict[str, Any]:
    return {
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "created": int(refund.created_at.timestamp()),
        "metadata": refund.metadata,
        "payment_intent": refund.intent_id,
        "status": "succeeded",
    }


def transfer_body(transfer: SandboxTransfer) -> dict[str, Any]:
    return {
        "id": transfer.id,
        "object": "transfer",
        "amount": transfer.amount,
        "amount_reversed": transfer.amount_reversed,
        "created": int(transfer.created_at.timestamp()),
        "currency": transfer.currency,
        "destination": transfer.destination,
        "metadata": transfer.metadata,
        "reversed": transfer.amount_reversed == transfer.amount,
        "source_transaction": transfer.source_transaction or None,
        "transfer_group": transfer.transfer_group or None,
    }


def list_body(url: str, items: list[dict[str, Any]], *, has_more: bool = False) -> dict[str, Any]:
    return {"object": "list", "url": url, "has_more": has_more, "data": items}
