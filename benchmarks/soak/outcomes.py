"""What must have become of each order, by what its people were told."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.soak.clients import Errand
from orders.models import Order
from tests.harness.customers import expected_status
from tests.harness.snapshot import Breach, Snapshot

#: What was answered to be done, and the status it leaves behind; the later line wins.
LEADS_TO = {
    "due": "CANCELLED", "cancelled": "CANCELLED", "accepted": "ACCEPTED", "completed": "COMPLETED",
    "refunded": "CANCELLED",
}  # fmt: skip


def wrong_fates(errands: list[Errand], seen: Snapshot) -> Iterator[Breach]:
    orders = {str(order.pk): order for order in seen.orders.values()}
    for errand in errands:
        if errand.order_id:
            yield from _wrong(errand, orders.get(errand.order_id))
    yield from _strangers(errands, orders)


def _wrong(errand: Errand, order: Order | None) -> Iterator[Breach]:
    if {"cancelled", "accepted"} <= errand.told:
        yield Breach("both won", errand.order_id, "the cancellation and the acceptance were both granted")
    if errand.repeated_with and errand.repeated_with != errand.order_id:
        yield Breach("one key, two orders", errand.order_id, errand.repeated_with)
    found = order.status if order else "lost"
    wanted = _wanted(errand, order.reason_code if order else "")
    if found not in wanted:
        reason = f"{order.reason_code} {order.reason}" if order else ""
        detail = f"{found} instead of {'/'.join(sorted(wanted))}; {errand.plan}, {errand.wish.method}: {reason}"
        yield Breach("wrong fate", errand.order_id, detail)


def _wanted(errand: Errand, reason_code: str) -> set[str]:
    """More than one status only where a request was never answered."""
    told = [status for fact, status in LEADS_TO.items() if fact in errand.told]
    certain = told[-1] if told else expected_status(errand.wish, reason_code)
    return {certain} | {status for fact, status in LEADS_TO.items() if fact in errand.unsure}


def _strangers(errands: list[Errand], orders: dict[str, Order]) -> Iterator[Breach]:
    """Orders nobody was told of; a client that was never answered may have one."""
    unknown = sorted(orders.keys() - {errand.order_id for errand in errands})
    excused = sum("placed" in errand.unsure for errand in errands)
    for order_id in unknown[excused:]:
        yield Breach("order nobody was told of", order_id, orders[order_id].status)
