"""What cancelling an order would do, found out by doing it and rolling it back; see `sagas.preview`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sagas
from orders.errors import OrderChanged
from orders.models import Order
from orders.sagas import refund_order
from orders.services import REFUNDABLE
from orders.use_cases.cancel import refund_request, saying_where_the_order_is
from payments.models import EscrowTransaction, Payment
from payments.money import decimal_text
from sagas import Preview as SagaPreview

_LIVE_AUTHORIZATION = ("PENDING", "AUTHORIZED", "CAPTURING")
#: What may still prevent the cancellation between the preview and the request.
MAY_REFUSE_CANCELLATION = ["A runner may accept the order first.", "The order may have ended by itself."]
MAY_REFUSE_REFUND = ["The order's acceptance or payout may still be running."]


@dataclass(frozen=True)
class Preview:
    """`way` is `cancel`, or `refund` once a runner has accepted. `runs` names the functions that would run, in order.

    A move of `money` is `{kind, from, to, amount, currency}`, with the amount as decimal text.
    """

    order_id: str
    order_status: str
    way: str
    runs: list[str]
    money: list[dict[str, str]] = field(default_factory=list)
    may_refuse: list[str] = field(default_factory=list)
    tag: str = ""


def preview(order: Order, *, may_refund: bool) -> Preview:
    """Raises what the cancellation would raise now: CannotCancel, or the engine's AlreadyCancelling."""
    is_refund = may_refund and order.status in REFUNDABLE
    shown = _preview_refund(order) if is_refund else _preview_cancellation(order)
    runs = [task.partition(".")[2] for task in shown.runs]
    return Preview(
        order_id=str(order.pk),
        order_status=shown.details["order_status"],
        way="refund" if is_refund else "cancel",
        runs=runs,
        money=shown.details["money"] if "revert_payment" in runs else [],
        may_refuse=shown.details["may_refuse"],
        tag=shown.tag,
    )


def require_unchanged(order: Order, tag: str, *, may_refund: bool) -> None:
    """Inside the cancelling transaction: compare under the saga's lock. Raises OrderChanged."""
    if preview(order, may_refund=may_refund).tag != tag:
        raise OrderChanged("The order changed after the preview.", order_id=str(order.pk))


def _preview_cancellation(order: Order) -> SagaPreview:
    with saying_where_the_order_is(order):
        return sagas.preview(order.saga_id)


def _preview_refund(order: Order) -> SagaPreview:
    request = refund_request(order, reason_code="preview", reason="Preview")
    return sagas.preview_start(refund_order, input=request, subject=str(order.pk))


# -- what the engine's previews say of an order ---------------------------------------------------------------------
def explain_cancellation(order_id: str) -> dict[str, Any]:
    return _explain(order_id, MAY_REFUSE_CANCELLATION)


def explain_refund(order_id: str) -> dict[str, Any]:
    return _explain(order_id, MAY_REFUSE_REFUND)


def _explain(order_id: str, may_refuse: list[str]) -> dict[str, Any]:
    """What a cancellation means for the order and its money."""
    order = Order.objects.get(pk=order_id)
    return {
        "order_id": order_id,
        "order_status": order.status,
        "money": _money(order),
        "may_refuse": may_refuse,
    }


def _money(order: Order) -> list[dict[str, str]]:
    payment = Payment.objects.filter(order_id=order.pk).first()
    if payment is None:
        return []
    if payment.status in _LIVE_AUTHORIZATION:
        return [_move("release_authorization", "escrow", order.owner, payment.amount_cents, payment)]
    left = payment.captured_cents - payment.refund_claimed_cents
    refund = [_move("refund", "escrow", order.owner, left, payment)] if left else []
    return [*_paid_out(payment), *refund]


def _paid_out(payment: Payment) -> list[dict[str, str]]:
    paid = EscrowTransaction.objects.filter(payment_id=payment.pk, type="RELEASE", status="COMPLETED").order_by("pk")
    return [_move("reverse_payout", row.recipient_type, "escrow", row.amount_cents, payment) for row in paid]


def _move(kind: str, source: str, target: str, cents: int, payment: Payment) -> dict[str, Any]:
    return {
        "kind": kind,
        "from": source.lower(),
        "to": target,
        "amount": decimal_text(cents),
        "currency": payment.currency,
    }
