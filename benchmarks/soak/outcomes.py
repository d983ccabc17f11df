"""The status each order must end with, according to the answers that its clients got."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.soak.clients import OrderPlan
from orders.models import Order
from tests.harness.customers import expected_status
from tests.harness.snapshot import Breach, Snapshot

#: The status that each confirmed change leads to. If several were confirmed, the last of them in this order counts.
LEADS_TO = {
    "due": "CANCELLED", "cancelled": "CANCELLED", "accepted": "ACCEPTED", "completed": "COMPLETED",
    "refunded": "CANCELLED",
}  # fmt: skip


def unexpected_outcomes(plans: list[OrderPlan], seen: Snapshot) -> Iterator[Breach]:
    orders = {str(order.pk): order for order in seen.orders.values()}
    for plan in plans:
        if plan.order_id:
            yield from _breaches(plan, orders.get(plan.order_id))
    yield from _unknown_orders(plans, orders)


def _breaches(plan: OrderPlan, order: Order | None) -> Iterator[Breach]:
    if {"cancelled", "accepted"} <= plan.confirmed:
        yield Breach("both won", plan.order_id, "the cancellation and the acceptance were both granted")
    if plan.repeated_with and plan.repeated_with != plan.order_id:
        yield Breach("one key, two orders", plan.order_id, plan.repeated_with)
    found = order.status if order else "lost"
    expected = _expected_statuses(plan, order.reason_code if order else "")
    if found not in expected:
        reason = f"{order.reason_code} {order.reason}" if order else ""
        detail = f"{found} instead of {'/'.join(sorted(expected))}; {plan.action}, {plan.order.method}: {reason}"
        yield Breach("unexpected outcome", plan.order_id, detail)


def _expected_statuses(plan: OrderPlan, reason_code: str) -> set[str]:
    """More than one status only if a request was never answered."""
    confirmed = [status for change, status in LEADS_TO.items() if change in plan.confirmed]
    certain = confirmed[-1] if confirmed else expected_status(plan.order, reason_code)
    return {certain} | {status for change, status in LEADS_TO.items() if change in plan.unanswered}


def _unknown_orders(plans: list[OrderPlan], orders: dict[str, Order]) -> Iterator[Breach]:
    """Orders that no client knows. A client whose request to place one was never answered may have one of these."""
    unknown = sorted(orders.keys() - {plan.order_id for plan in plans})
    allowed = sum("placed" in plan.unanswered for plan in plans)
    for order_id in unknown[allowed:]:
        yield Breach("order unknown to all clients", order_id, orders[order_id].status)
