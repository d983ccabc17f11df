"""How many orders the plain chain lost, did twice or left half done."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

from django.db import connection

from benchmarks.soak.clients import OrderPlan
from benchmarks.soak.outcomes import unexpected_outcomes
from tests.harness import books, oracle
from tests.harness.snapshot import Snapshot

STEPS_DONE = "SELECT order_id, count(DISTINCT step) FROM plain_run WHERE step <> 'compensate' GROUP BY order_id"
UNFINISHED = ("pendingPayment", "CANCELLING")
#: The oracle's rules that need no saga.
RULES = (oracle.food_is_where_it_belongs, oracle.stock_adds_up, oracle.a_waiting_order_has_one_timer, *books.RULES)
#: Names of figures, and the rule of the oracle that finds them.
COUNTED_RULES = {
    "authorized twice": "authorized twice",
    "leaked holds (provider)": "leaked authorization",
    "leaked escrow": "leaked escrow",
    "leaked stock": "leaked reservation",
}


def figures(seen: Snapshot, plans: list[OrderPlan]) -> dict[str, Any]:
    accepted = [plan for plan in plans if plan.order_id]
    statuses = {str(order.pk): order.status for order in seen.orders.values()}
    lost = [plan for plan in accepted if statuses.get(plan.order_id, UNFINISHED[0]) in UNFINISHED]
    lost_ids = {plan.order_id for plan in lost}
    wrong = [breach for breach in unexpected_outcomes(plans, seen) if breach.subject not in lost_ids]
    rules = Counter(breach.rule for rule in RULES for breach in rule(seen))
    return {
        "orders the customer was promised": len(accepted),
        "lost (never finished)": len(lost),
        **_lost_after(lost_ids),
        "wrong end (failed though nothing was wrong)": len(wrong),
        "orders with a step executed twice": len(_twice()),
        "steps executed twice": sum(_twice().values()),
        **{name: rules[rule] for name, rule in COUNTED_RULES.items()},
        "holds of orders that never finish": sum(_has_hold(seen, plan.order_id) for plan in lost),
        "food kept for orders that never finish": sum(_has_food(seen, plan.order_id) for plan in lost),
    }


def _lost_after(lost_ids: set[str]) -> dict[str, int]:
    """How many lost orders there are by the number of steps that were done."""
    with connection.cursor() as cursor:
        cursor.execute(STEPS_DONE)
        done = {str(order_id): count for order_id, count in cursor.fetchall()}
    counts = Counter(done.get(order_id, 0) for order_id in lost_ids)
    return {f"  of which {steps} steps were done": count for steps, count in sorted(counts.items())}


def _twice() -> Counter[str]:
    """How many executions were too many, by order."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT order_id, count(*) FROM plain_run GROUP BY order_id, step HAVING count(*) > 1")
        extra: Counter[str] = Counter()
        for order_id, count in cursor.fetchall():
            extra[str(order_id)] += count - 1
    return extra


def _has_hold(seen: Snapshot, order_id: str) -> bool:
    return any(intent.status == "requires_capture" for intent in seen.intents.get(order_id, []))


def _has_food(seen: Snapshot, order_id: str) -> bool:
    return any(row.status == "HELD" for row in seen.reservations.get(uuid.UUID(order_id), []))
