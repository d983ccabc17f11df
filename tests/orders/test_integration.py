"""While a saga manages an order's money nobody else may move it. When the order has ended nothing may be held."""

from __future__ import annotations

import uuid

import pytest
from django.utils import timezone

from orders import integration
from orders.errors import OrderKeepsItsMoney
from orders.models import Order, OrderStatus
from payments.flows import order_locks

pytestmark = pytest.mark.django_db


def an_order(*, status: str) -> Order:
    ids = {"id": uuid.uuid4(), "saga_id": uuid.uuid4(), "payment_id": uuid.uuid4()}
    money = {"food_total": 5, "delivery_fee": 0, "total_amount": 5, "currency": "USD"}
    more = {"runner": "rita", "accept_by": timezone.now(), "owner": "ann", "customer_id": "ann", "status": status}
    return Order.objects.create(**ids, **money, **more)


@pytest.mark.parametrize("status", OrderStatus)
def test_only_an_order_that_is_over_leaves_its_money_alone(status: str) -> None:
    order = an_order(status=status)
    if status in integration.MONEY_MOVED_BY_SAGA:
        with pytest.raises(OrderKeepsItsMoney):
            order_locks.require_free(order.pk)
    else:
        order_locks.require_free(order.pk)


def test_payments_of_no_order_are_free() -> None:
    order_locks.require_free(uuid.uuid4())


def test_cancelled_and_failed_orders_are_over() -> None:
    orders = {status: an_order(status=status) for status in OrderStatus}
    ended = order_locks.ended_orders([order.pk for order in Order.objects.all()])
    assert ended == {orders[OrderStatus.CANCELLED].pk, orders[OrderStatus.FAILED].pk}
