"""What a cancellation would do, found by the same code that would do it.

The saga's row is read and cancelled in memory only; what the engine would have to run then is the answer. The `tag`
stands for the state the answer was made from: sent with the cancellation, it makes sure that nothing changed meanwhile.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from orders.errors import CannotCancel, OrderChanged
from orders.models import Order
from orders.sagas import refund_order
from orders.services import CANCELLABLE, REFUNDABLE
from payments.models import EscrowTransaction, Payment
from payments.money import decimal_text
from sagas.definition import registry
from sagas.engine import dispatch
from sagas.machine import transitions
from sagas.machine.state import Row
from sagas.models import SagaInstance
from sagas.storage import rows as store

_LIVE_AUTHORIZATION = ("PENDING", "AUTHORIZED", "CAPTURING")


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
    """Raises CannotCancel if this user can't cancel the order now."""
    saga = SagaInstance.objects.get(pk=order.saga_id)
    is_refund = may_refund and order.status in REFUNDABLE
    if not is_refund and order.status not in CANCELLABLE:
        raise CannotCancel(f"The order is {order.status}.", order_id=str(order.pk), order_status=order.status)
    runs = [step.name for step in refund_order.steps[1:]] if is_refund else _undos(saga.key)
    return Preview(
        order_id=str(order.pk),
        order_status=order.status,
        way="refund" if is_refund else "cancel",
        runs=runs,
        money=_money(order) if "revert_payment" in runs else [],
        may_refuse=_may_refuse(is_refund=is_refund),
        tag=tag_of(order),
    )


def explain(order_id: str) -> dict[str, Any]:
    """What cancelling the order's saga means for the order and its money. The engine adds it to its own preview.

    Returns `{order_id, order_status, money, may_refuse}`.
    """
    order = Order.objects.get(pk=order_id)
    return {
        "order_id": order_id,
        "order_status": order.status,
        "money": _money(order),
        "may_refuse": _may_refuse(is_refund=False),
    }


def tag_of(order: Order) -> str:
    """32 hexadecimal digits that change whenever the result of a cancellation may change."""
    rows = SagaInstance.objects.filter(subject=str(order.pk)).order_by("pk")
    sagas = list(rows.values_list("pk", "status", "position", "epoch", "attempt"))
    payment = Payment.objects.filter(order_id=order.pk).values_list("status", "refund_claimed_cents").first()
    status = Order.objects.values_list("status", flat=True).get(pk=order.pk)
    state = repr((status, sagas, payment))
    return hashlib.sha256(state.encode()).hexdigest()[:32]


def require_unchanged(order: Order, tag: str) -> None:
    """Inside the cancelling transaction: lock the saga, then compare. Raises OrderChanged."""
    store.lock(order.saga_id)
    if tag_of(order) != tag:
        raise OrderChanged("The order changed after the preview.", order_id=str(order.pk))


def _undos(key: str) -> list[str]:
    row: Row | None = store.find_by_key(key)
    if row is None:
        return []
    transitions.cancel(row, registry.get(row.name, row.version), reason_code="", reason="", actor="")
    undone = dispatch.tail(row, registry.get(row.name, row.version))
    return [name.partition(".")[2] for name, _ in undone]


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


def _may_refuse(*, is_refund: bool) -> list[str]:
    """What may still prevent the cancellation after the preview."""
    if is_refund:
        return ["The order's acceptance or payout may still be running."]
    return ["A runner may accept the order first.", "The order may have ended by itself."]
