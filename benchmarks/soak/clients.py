"""The clients: customers place and cancel orders, runners deliver them, operators refund them.

Each scenario is a generator that yields the seconds until its next request, so that a few threads can run hundreds of
them. A request that got no answer is sent again with the same Idempotency-Key, to either web.
"""

from __future__ import annotations

import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from benchmarks.soak.monitor import Monitor
from tests.harness.customers import DECLINED, PlannedOrder
from tests.harness.web import Response, Web

Scenario = Generator[float, None, Any]

#: How many of a hundred orders get each action.
ACTIONS = {"wait": 50, "cancel": 12, "expire": 6, "race": 5, "accept": 8, "complete": 13, "refund": 6}
#: The plain chain can only place and cancel orders.
PLAIN_ACTIONS = {"wait": 85, "cancel": 15}
REPEATED_SHARE = 0.05
PATIENCE_SECONDS = 120.0
TIMEOUT_SECONDS = 15.0
#: After a conflict (409), and after no answer or an error of the server.
CONFLICT_RETRY_SECONDS = 4.0
RETRY_SECONDS = 0.5
IN_PROGRESS = "idempotency.in_progress"
CANCEL = {"reason_code": "customer_request"}


@dataclass
class OrderPlan:
    """An order, what its clients do with it, and what the product answered.

    `confirmed` are the changes that were answered with 2xx: cancelled, accepted, completed, refunded. It also has
    `due` when the order's timer was made due. `unanswered` are the changes that were requested and never answered.
    """

    order: PlannedOrder
    action: str
    confirmed: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    repeated_with: str = ""

    @property
    def order_id(self) -> str:
        return self.order.order_id

    @property
    def is_declined(self) -> bool:
        return self.order.method in DECLINED


def order_plans(orders: list[PlannedOrder], actions: Mapping[str, int], chance: random.Random) -> list[OrderPlan]:
    chosen = chance.choices(list(actions), weights=list(actions.values()), k=len(orders))
    return [OrderPlan(order, action) for order, action in zip(orders, chosen, strict=True)]


@dataclass
class Clients:
    """Customers, runners and operators. Each client is a list of both webs, with the token of one user."""

    customers: list[list[Web]]
    runners: list[list[Web]]
    operators: list[list[Web]]
    monitor: Monitor
    #: Starts another scenario beside this one.
    spawn: Callable[[Scenario], None]
    responses: Counter[str] = field(default_factory=Counter)
    finished: int = 0

    def carry_out(self, plan: OrderPlan) -> Scenario:
        """All requests about one order, from the first to the last."""
        yield from self._place(plan)
        if plan.order_id and (plan.action == "cancel" or not plan.is_declined):
            yield from getattr(self, f"_{plan.action}")(plan)
        self.finished += 1

    # -- customers ----------------------------------------------------------------------------------------------
    def _place(self, plan: OrderPlan) -> Scenario:
        order, key = plan.order, secrets.token_hex(16)
        webs = self.customers[order.number % len(self.customers)]
        response = yield from self._post(webs, "place", "/api/orders", _body(order), key)
        if response is None:
            plan.unanswered.add("placed")
        elif response.status == 202:
            order.order_id = response.body["order_id"]
            if order.number % 100 < REPEATED_SHARE * 100:
                again = yield from self._post(webs, "place again", "/api/orders", _body(order), key)
                plan.repeated_with = again.body.get("order_id", "") if again else order.order_id
        else:
            order.refusal = str(response.body.get("code"))

    def _wait(self, plan: OrderPlan) -> Scenario:
        yield from ()

    def _cancel(self, plan: OrderPlan) -> Scenario:
        yield plan.order.cancels_after or 1.0
        yield from self._change(plan, self.customers, "cancel", "cancelled", CANCEL)

    def _expire(self, plan: OrderPlan) -> Scenario:
        """No runner accepts the order. Its timer is made due now, instead of after 30 minutes."""
        if (yield from self._created(plan)) and (yield from self.monitor.make_due(plan.order_id)):
            plan.confirmed.add("due")

    def _race(self, plan: OrderPlan) -> Scenario:
        """The order is cancelled and accepted at the same moment."""
        if (yield from self._created(plan)):
            self.spawn(self._change(plan, self.runners, "accept", "accepted", None))
            yield from self._change(plan, self.customers, "cancel", "cancelled", CANCEL)

    # -- runners and operators ----------------------------------------------------------------------------------
    def _accept(self, plan: OrderPlan) -> Scenario:
        if (yield from self._created(plan)):
            yield from self._change(plan, self.runners, "accept", "accepted", None)

    def _complete(self, plan: OrderPlan) -> Scenario:
        yield from self._accept(plan)
        if "accepted" in plan.confirmed and (yield from self.monitor.until(plan.order_id, "paid")):
            yield from self._change(plan, self.runners, "complete", "completed", None)

    def _refund(self, plan: OrderPlan) -> Scenario:
        """The order is refunded while it is delivered, or after that."""
        yield from (self._complete(plan) if plan.order.number % 2 else self._accept(plan))
        if "accepted" in plan.confirmed:
            yield CONFLICT_RETRY_SECONDS
            body = {"reason_code": "other", "reason": "Cold"}
            yield from self._change(plan, self.operators, "cancel", "refunded", body, retries_conflicts=True)

    def _created(self, plan: OrderPlan) -> Generator[float, None, bool]:
        return (yield from self.monitor.until(plan.order_id, "CREATED"))

    # -- requests -----------------------------------------------------------------------------------------------
    def _change(
        self, plan: OrderPlan, who: list[list[Web]], verb: str, change: str, body: Any, *,
        retries_conflicts: bool = False,
    ) -> Scenario:  # fmt: skip
        """Request one change of the order. With `retries_conflicts` a 409 (not possible yet) is tried again."""
        webs = who[plan.order.number % len(who)]
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            path = f"/api/orders/{plan.order_id}/{verb}"
            response = yield from self._post(webs, change, path, body, secrets.token_hex(16))
            if response is None:
                plan.unanswered.add(change)
            elif response.status < 300:
                plan.confirmed.add(change)
            elif retries_conflicts and response.status == 409 and time.monotonic() < give_up_at:
                yield CONFLICT_RETRY_SECONDS
                continue
            return

    def _post(
        self, webs: list[Web], what: str, path: str, body: Any, key: str
    ) -> Generator[float, None, Response | None]:
        """Send until there is an answer that is no error of the server. None: there was none in time."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        turn = int(key, 16)
        while time.monotonic() < give_up_at:
            turn += 1
            try:
                response = webs[turn % len(webs)].request("POST", path, body, timeout=TIMEOUT_SECONDS, key=key)
            except (OSError, HTTPException, ValueError):
                response = None
            if response is not None and response.status < 500 and response.body.get("code") != IN_PROGRESS:
                self.responses[f"{what}: {response.status}"] += 1
                return response
            failure = f"{response.status} {response.body.get('code', '')}".strip() if response else "no answer"
            self.responses[f"repeated after {failure}"] += 1
            yield RETRY_SECONDS
        self.responses[f"{what}: never answered"] += 1
        return None


def _body(order: PlannedOrder) -> dict[str, Any]:
    items = [
        {"productId": line.sku, "productName": line.name, "quantity": line.quantity, "price": str(line.price)}
        for line in order.lines
    ]
    return {"userId": "alice", "payment_method": order.method, "items": [_without_empty(item) for item in items]}


def _without_empty(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if value is not None}
