"""The payment provider is on hold for hours: longer than reservations and deadlines last."""

from __future__ import annotations

from datetime import timedelta

import pytest
from rest_framework.test import APIClient

from orders import inventory
from orders.models import MenuItem, Order, OrderStatus
from sagas.holds import holds
from sagas.models import SagaInstance
from sagas.statuses import Status
from sagas.testing import Runner, undone
from tests.orders.builders import BY_USER, assert_stock_adds_up, place, placed

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_order_survives_a_provider_that_is_on_hold_for_hours(
    alice: APIClient, laptop: MenuItem, runner: Runner
) -> None:
    holds.hold_dependency("stripe", reason="status page", actor="op")
    order, saga = placed(alice, BY_USER)
    for _ in range(8):
        runner.run()
        runner.let_pass(timedelta(minutes=20))
        inventory.release_expired()
    assert SagaInstance.objects.get(pk=saga.pk).held_by == "stripe"
    laptop.refresh_from_db()
    assert laptop.reserved == 1
    holds.release_dependency("stripe", reason="it is back", actor="op")
    runner.let_pass(timedelta(seconds=2))
    inventory.release_expired()
    runner.run()
    assert Order.objects.get(pk=order.pk).status == OrderStatus.CREATED
    assert_stock_adds_up()


def test_an_order_is_taken_and_can_be_cancelled_while_the_provider_is_on_hold(
    alice: APIClient, laptop: MenuItem, runner: Runner
) -> None:
    holds.hold_dependency("stripe", reason="status page", actor="op")
    answer = place(alice, BY_USER)
    assert answer.status_code == 202
    runner.run()
    assert alice.get(f"/api/sagas/{answer.json()['saga_id']}").json()["waiting_reason"] == "held: stripe"
    assert alice.post(f"/api/orders/{answer.json()['order_id']}/cancel").status_code == 202
    runner.run()
    saga = SagaInstance.objects.get(pk=answer.json()["saga_id"])
    assert (saga.status, undone(saga.pk)) == (Status.CANCELLED, ["release_inventory", "cancel_order"])
    laptop.refresh_from_db()
    assert laptop.reserved == 0
