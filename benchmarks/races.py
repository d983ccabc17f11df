"""Races with exactly one winner, on PostgreSQL: accept × expiry, accept × cancel, many runners, many customers.

    DATABASE_URL=postgres://… python -m benchmarks.races --rounds 1000

Prints one line for each race. Exits 1 if a round had two winners or none, or left something reserved. Uses a database
of its own on the server that DATABASE_URL names, and drops it at the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

from benchmarks.scratch import scratch_database
from tests.threads import at_once

RUNNERS = 50
CUSTOMERS = 200
PORTIONS = 50
AT_ONCE = 25


def main() -> int:
    parser = argparse.ArgumentParser(description="Races with exactly one winner.")
    parser.add_argument("--rounds", type=int, default=1000)
    rounds = parser.parse_args().rounds
    with scratch_database("campusg_races"):
        from sagas.testing import Runner

        with Runner() as runner:
            found = [
                accept_meets_expiry(runner, rounds),
                accept_meets_cancel(runner, rounds),
                many_runners(runner),
                many_customers(runner),
            ]
    return 0 if all(found) else 1


def accept_meets_expiry(runner: Any, rounds: int) -> bool:
    from timers.models import ScheduledEvent
    from timers.services import fire_due

    def race(order: Any) -> tuple[int, Any]:
        ScheduledEvent.objects.filter(entity_id=str(order.pk)).update(due_at="2020-01-01T00:00:00Z")
        accepted, _ = at_once([lambda: accept(order, "rita"), fire_due])
        return accepted, 202 if order_status(order) == "CANCELLING" else 409

    return run_rounds("accept × expiry", runner, rounds, race)


def accept_meets_cancel(runner: Any, rounds: int) -> bool:
    def race(order: Any) -> tuple[int, Any]:
        accepted, cancelled = at_once([lambda: accept(order, "rita"), lambda: cancel(order)])
        return accepted, cancelled

    return run_rounds("accept × cancel", runner, rounds, race)


def run_rounds(name: str, runner: Any, rounds: int, race: Callable[[Any], tuple[int, int]]) -> bool:
    """Run the race for one new order in each round. One side must get its 2xx, the other one a 409."""
    started_at, outcomes, wrong = time.monotonic(), Counter[str](), 0
    for _ in range(rounds):
        order = created_order(runner)
        accepted, cancelled = race(order)
        is_won = (accepted == 200) != (cancelled == 202) and max(accepted, cancelled) == 409
        runner.run_to_end()
        wrong += not (is_won and is_consistent(order))
        outcomes["accepted" if accepted == 200 else "cancelled"] += 1
    return report(name, rounds, dict(outcomes), wrong, started_at)


def many_runners(runner: Any) -> bool:
    for number in range(RUNNERS):
        api(f"runner-{number}", "runner")
    started_at, order = time.monotonic(), created_order(runner)
    statuses = Counter(at_once([lambda n=n: accept(order, f"runner-{n}") for n in range(RUNNERS)]))
    runner.run_to_end()
    wrong = int((statuses[200], statuses[409]) != (1, RUNNERS - 1) or not is_consistent(order))
    return report(
        f"{RUNNERS} runners, one order", 1, {str(key): value for key, value in statuses.items()}, wrong, started_at
    )


def many_customers(runner: Any) -> bool:
    """Many orders are accepted while there is enough food; the reservation decides who gets it."""
    from orders.models import MenuItem, Order

    started_at = time.monotonic()
    MenuItem.objects.create(sku="portion", restaurant="Race Bar", name="Portion", price="5.00", stock=PORTIONS)
    works = [lambda n=n: place("portion", "5.00", f"customer-{n}") for n in range(CUSTOMERS)]
    for first in range(0, CUSTOMERS, AT_ONCE):
        at_once(works[first : first + AT_ONCE])
    share = [lambda: drain(runner) for _ in range(4)]
    at_once(share)
    runner.run_to_end()
    statuses = Counter(Order.objects.filter(lines__sku="portion").values_list("status", flat=True))
    item = MenuItem.objects.get(pk="portion")
    wrong = int((statuses["CREATED"], item.reserved, item.available) != (PORTIONS, PORTIONS, 0))
    return report(f"{CUSTOMERS} customers, {PORTIONS} portions", 1, dict(statuses), wrong, started_at)


def drain(runner: Any) -> None:
    """Act as one worker: deliver messages until there are none."""
    while True:
        try:
            if not runner.deliver():
                return
        except IndexError:  # another worker has taken the last message
            return


def report(name: str, rounds: int, outcomes: dict[str, int], wrong: int, started_at: float) -> bool:
    took = time.monotonic() - started_at
    sys.stdout.write(f"{name:30} rounds {rounds:5}  {outcomes}  wrong {wrong}  {took:.1f} s\n")
    return wrong == 0


# -- the clients -------------------------------------------------------------------------------------------------
@cache
def api(username: str, role: str = "") -> Any:
    from django.contrib.auth.models import Group, User
    from rest_framework.test import APIClient

    user, _ = User.objects.get_or_create(username=username)
    if role:
        user.groups.add(Group.objects.get(name=role))
    client = APIClient()
    client.force_authenticate(user)
    return client


def place(sku: str, price: str, username: str) -> Any:
    body = {"userId": username, "items": [{"productId": sku, "quantity": 1, "price": price}]}
    return api(username).post("/api/orders", body, format="json").json()


def accept(order: Any, username: str) -> int:
    return int(api(username, "runner").post(f"/api/orders/{order.pk}/accept").status_code)


def cancel(order: Any) -> int:
    return int(api(order.owner).post(f"/api/orders/{order.pk}/cancel").status_code)


def created_order(runner: Any) -> Any:
    from orders.models import MenuItem, Order

    MenuItem.objects.get_or_create(
        sku="soup", defaults={"restaurant": "Race Bar", "name": "Soup", "price": "4.50", "stock": 1_000_000}
    )
    placed = place("soup", "4.50", "alice")
    runner.run_to_end()
    return Order.objects.get(pk=placed["order_id"])


def order_status(order: Any) -> str:
    order.refresh_from_db()
    return str(order.status)


def is_consistent(order: Any) -> bool:
    """Accepted and paid, or cancelled with nothing reserved."""
    from orders.models import StockReservation
    from payments.models import Payment

    paid = Payment.objects.get(order_id=order.pk).status
    holds = StockReservation.objects.held().filter(order_id=order.pk).exists()
    return (order_status(order), paid, holds) in {("ACCEPTED", "CAPTURED", True), ("CANCELLED", "VOIDED", False)}


if __name__ == "__main__":
    sys.exit(main())
