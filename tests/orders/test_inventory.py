"""The stock is never negative, never oversold and never lost."""

from __future__ import annotations

import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from orders import inventory, services
from orders.errors import OutOfStock, ReservationExpired
from orders.models import MenuItem, Order, ReservationStatus, StockReservation
from orders.seed import DEMO_MENU, seed_demo
from sagas.storage import clock
from tests.orders.builders import assert_stock_adds_up, laptop
from tests.threads import at_once

pytestmark = pytest.mark.django_db


def an_order(**changes: Any) -> Order:
    amounts: dict[str, Any] = {"currency": "USD", "food_total": 1, "delivery_fee": 0, "total_amount": 1}
    amounts |= {"saga_id": uuid.uuid4(), "payment_id": uuid.uuid4()}
    return Order.objects.create(**(amounts | {"owner": "alice", "customer_id": "c"} | changes))


def lines(**wanted: int) -> list[dict[str, Any]]:
    return [{"sku": sku.replace("_", "-"), "quantity": quantity} for sku, quantity in wanted.items()]


def end(order: Order, status: ReservationStatus) -> int:
    return inventory.end_reservations(str(order.pk), as_status=status)


def test_what_is_reserved_is_no_longer_available() -> None:
    item = laptop(stock=3)
    inventory.reserve_inventory(order_id=str(an_order().pk), lines=lines(product_guid=2))
    item.refresh_from_db()
    assert (item.stock, item.reserved, item.available) == (3, 2, 1)
    assert_stock_adds_up()


def test_the_last_portion_is_sold_once() -> None:
    laptop(stock=1)
    inventory.reserve_inventory(order_id=str(an_order().pk), lines=lines(product_guid=1))
    with pytest.raises(OutOfStock) as refused, transaction.atomic():
        inventory.reserve_inventory(order_id=str(an_order().pk), lines=lines(product_guid=1))
    assert refused.value.extra["items"][0]["available"] == 0
    assert_stock_adds_up()


def test_half_a_basket_is_not_reserved() -> None:
    laptop(stock=5)
    laptop(sku="a-cable", name="Cable", stock=0)
    with pytest.raises(OutOfStock), transaction.atomic():
        inventory.reserve_inventory(order_id=str(an_order().pk), lines=lines(a_cable=1, product_guid=1))
    assert_stock_adds_up()
    assert not StockReservation.objects.exists()


def test_releasing_gives_everything_back_once() -> None:
    item, order = laptop(), an_order()
    inventory.reserve_inventory(order_id=str(order.pk), lines=lines(product_guid=4))
    assert [end(order, ReservationStatus.RELEASED) for _ in range(2)] == [1, 0]
    item.refresh_from_db()
    assert (item.stock, item.reserved) == (10, 0)


def test_releasing_what_was_never_reserved_does_nothing() -> None:
    laptop()
    assert inventory.end_reservations(str(uuid.uuid4()), as_status=ReservationStatus.RELEASED) == 0


def test_consuming_takes_it_off_the_stock_once() -> None:
    item, order = laptop(), an_order()
    inventory.reserve_inventory(order_id=str(order.pk), lines=lines(product_guid=4))
    assert [end(order, ReservationStatus.CONSUMED) for _ in range(2)] == [1, 0]
    item.refresh_from_db()
    assert (item.stock, item.reserved) == (6, 0)
    assert end(order, ReservationStatus.RELEASED) == 0


def test_the_database_itself_refuses_to_oversell() -> None:
    laptop(stock=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        MenuItem.objects.update(reserved=2)
    with pytest.raises(IntegrityError), transaction.atomic():
        MenuItem.objects.update(reserved=-1)


def test_looking_changes_nothing() -> None:
    item = laptop(stock=1)
    inventory.validate_inventory(lines=lines(product_guid=1))
    with pytest.raises(OutOfStock):
        inventory.validate_inventory(lines=lines(product_guid=2))
    item.refresh_from_db()
    assert item.reserved == 0


def test_an_abandoned_reservation_comes_back_by_itself() -> None:
    item, order = laptop(), an_order()
    inventory.reserve_inventory(order_id=str(order.pk), lines=lines(product_guid=4))
    assert inventory.release_expired() == 0
    with clock.moved():
        clock.advance(inventory.RESERVATION_WINDOW + timedelta(seconds=1))
        assert [inventory.release_expired(), inventory.release_expired()] == [1, 0]
    item.refresh_from_db()
    assert item.reserved == 0


def test_a_confirmed_reservation_never_expires() -> None:
    item, order = laptop(), an_order()
    inventory.reserve_inventory(order_id=str(order.pk), lines=lines(product_guid=4))
    services.confirm_order(order_id=str(order.pk))
    with clock.moved():
        clock.advance(timedelta(days=365))
        assert inventory.release_expired() == 0
    item.refresh_from_db()
    assert item.reserved == 4


def test_an_order_whose_food_went_back_is_not_confirmed() -> None:
    laptop()
    order = an_order()
    inventory.reserve_inventory(order_id=str(order.pk), lines=lines(product_guid=4))
    inventory.release_inventory(order_id=str(order.pk))
    with pytest.raises(ReservationExpired), transaction.atomic():
        services.confirm_order(order_id=str(order.pk))
    order.refresh_from_db()
    assert order.status == "pendingPayment"


def test_seeding_again_leaves_the_stock_as_it_is() -> None:
    assert seed_demo() == len(DEMO_MENU)
    MenuItem.objects.filter(sku="product-guid").update(stock=7)
    assert seed_demo() == 0
    assert MenuItem.objects.get(sku="product-guid").stock == 7


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_forty_customers_and_ten_portions() -> None:
    item = laptop(stock=10)
    orders = [an_order() for _ in range(40)]

    def reserve(index: int) -> None:
        with transaction.atomic():
            inventory.reserve_inventory(order_id=str(orders[index].pk), lines=lines(product_guid=1))

    results = at_once([partial(reserve, index) for index in range(40)])
    assert sum(result is None for result in results) == 10
    assert sum(isinstance(result, OutOfStock) for result in results) == 30
    item.refresh_from_db()
    assert (item.stock, item.reserved) == (10, 10)
    assert_stock_adds_up()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_baskets_in_opposite_order_do_not_deadlock() -> None:
    laptop(stock=1000)
    laptop(sku="a-cable", name="Cable", stock=1000)
    orders = [an_order() for _ in range(16)]
    baskets = [lines(product_guid=1, a_cable=1), lines(a_cable=1, product_guid=1)]

    def reserve_and_release(index: int) -> None:
        for step in (
            inventory.reserve_inventory,
            lambda order_id, lines: inventory.release_inventory(order_id=order_id),
        ):
            with transaction.atomic():
                step(order_id=str(orders[index].pk), lines=baskets[index % 2])

    assert at_once([partial(reserve_and_release, index) for index in range(16)]) == [None] * 16
    assert_stock_adds_up()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_confirmation_and_the_sweep_race_and_one_wins() -> None:
    for _ in range(20):
        item, order = laptop(sku=str(uuid.uuid4())), an_order()
        inventory.reserve_inventory(order_id=str(order.pk), lines=[{"sku": item.sku, "quantity": 1}])
        StockReservation.objects.filter(order=order).update(expires_at="2020-01-01T00:00:00Z")

        def work(index: int, order: Order = order) -> Any:
            if index:
                return inventory.release_expired()
            with transaction.atomic():
                return services.confirm_order(order_id=str(order.pk))

        confirmed, released = at_once([partial(work, index) for index in range(2)])
        order.refresh_from_db()
        assert (confirmed is None) == (released == 0) == (order.status == "CREATED")
        assert confirmed is None or isinstance(confirmed, ReservationExpired)
        assert_stock_adds_up()
