"""Brings orders to every status: a customer, a runner and an operator use the API, and the sagas run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import F
from rest_framework.response import Response
from rest_framework.test import APIClient

from orders import tasks as order_tasks
from orders.models import Order
from sagas.models import SagaEvent
from sagas.storage import storage
from sagas.testing import Runner
from sagas.verification import verify as verifying
from tests.orders import builders
from timers import tasks as timer_tasks

DECLINED = "pm_card_chargeDeclined"
Found = set[tuple[str, str]]


@dataclass
class Campus:
    """The clients and the sagas' `Runner`. Each request has its own Idempotency-Key, so that it can be repeated."""

    runner: Runner
    alice: APIClient
    rita: APIClient
    olga: APIClient
    key: int = 0

    @classmethod
    def opened(cls, runner: Runner) -> Campus:
        builders.laptop(stock=50)
        return cls(
            runner,
            builders.client("alice"),
            builders.client("rita", role="runner"),
            builders.client("olga", role="operator"),
        )

    # -- one action of a client or a timer ------------------------------------------------------------------------
    def place(self, **more: Any) -> Order:
        response = self._post(self.alice, "/api/orders", builders.laptops(1, **more))
        return Order.objects.get(pk=response.json()["order_id"])

    def accept(self, order: Order) -> Order:
        return self._ask(self.rita, order, "accept")

    def complete(self, order: Order) -> Order:
        return self._ask(self.rita, order, "complete")

    def cancel(self, order: Order) -> Order:
        return self._ask(self.alice, order, "cancel")

    def refund(self, order: Order) -> Order:
        return self._ask(self.olga, order, "cancel")

    def expire(self, order: Order) -> Order:
        """Let 30 minutes pass without a runner."""
        publish_all()
        self.insist(lambda: self.runner.let_pass(timedelta(minutes=30, seconds=1)))
        self.insist(timer_tasks.sweep)
        self.insist(order_tasks.sweep)
        return self.after_work(order)

    # -- orders in every status -----------------------------------------------------------------------------------
    def placed(self, **more: Any) -> Order:
        return self.after_work(self.place(**more))

    def failed(self) -> Order:
        return self.placed(payment_method=DECLINED)

    def accepted(self) -> Order:
        return self.accept(self.placed())

    def completed(self) -> Order:
        return self.complete(self.accepted())

    def cancelled(self) -> Order:
        return self.cancel(self.placed())

    def refunded(self) -> Order:
        return self.refund(self.completed())

    def expired(self) -> Order:
        return self.expire(self.placed())

    # -- requests and work ----------------------------------------------------------------------------------------
    def insist(self, act: Callable[[], Any]) -> Any:
        """Call `act` once. A subclass repeats it after a crash."""
        return act()

    def after_work(self, order: Order) -> Order:
        self.insist(self.runner.run_to_end)
        order.refresh_from_db()
        return order

    def _ask(self, who: APIClient, order: Order, what: str) -> Order:
        self._post(who, f"/api/orders/{order.pk}/{what}", {})
        return self.after_work(order)

    def _post(self, who: APIClient, path: str, body: Any) -> Response:
        self.key += 1
        headers = {"Idempotency-Key": f"key-{self.key}"}
        response: Response = self.insist(lambda: who.post(path, body, format="json", headers=headers))
        assert response.status_code in (200, 202), response.json()
        return response


ORDERS_BY_STATUS: dict[str, Callable[[Campus], Order]] = {
    "CREATED": Campus.placed,
    "ACCEPTED": Campus.accepted,
    "COMPLETED": Campus.completed,
    "CANCELLED": Campus.cancelled,
    "FAILED": Campus.failed,
}


def publish_all() -> None:
    """Mark all events as published, as the relay does."""
    storage().number_events(10_000)
    SagaEvent.objects.exclude(type="").update(published_at=F("created_at"))


def found() -> Found:
    """Code and subject of every breach that `manage.py verify` would name."""
    verdicts = verifying.verify(limit=100)
    assert all(verdict.breaches == len(verdict.examples) for verdict in verdicts)
    return {(verdict.invariant.code, breach.subject) for verdict in verdicts for breach in verdict.examples}
