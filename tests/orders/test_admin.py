"""The admin: orders and timers can be read, the menu can be edited, and the rows of a saga cannot be changed."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from orders import inventory
from orders.models import MenuItem, RestaurantStaff
from sagas.testing import Runner
from tests.orders.builders import BY_USER, client, laptop, placed
from tests.orders.test_inventory import an_order, lines
from timers.models import ScheduledEvent

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def admin(transactional_db: None) -> Client:
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    return browser


def test_every_page_opens(admin: Client, runner: Runner) -> None:
    laptop()
    order, _ = placed(client("alice"), BY_USER)
    runner.run_to_end()
    timer = ScheduledEvent.objects.get()
    staff = RestaurantStaff.objects.create(username="cook", restaurant="Campus Store")
    for path in (
        "orders/order/",
        f"orders/order/{order.pk}/change/",
        "orders/order/?q=alice",
        f"orders/order/?q={order.pk}",
        "orders/menuitem/",
        "orders/menuitem/add/",
        "orders/menuitem/product-guid/change/",
        "orders/restaurantstaff/",
        f"orders/restaurantstaff/{staff.pk}/change/",
        "timers/scheduledevent/",
        f"timers/scheduledevent/{timer.pk}/change/",
        f"timers/scheduledevent/?q={order.pk}",
    ):
        assert admin.get(f"/admin/{path}").status_code == 200, path


def test_an_order_is_neither_added_nor_changed_nor_deleted(admin: Client, runner: Runner) -> None:
    order, _ = placed(client("alice"))
    assert admin.get("/admin/orders/order/add/").status_code == 403
    assert admin.post(f"/admin/orders/order/{order.pk}/change/", {"status": "CREATED"}).status_code == 403
    assert admin.post(f"/admin/orders/order/{order.pk}/delete/", {"post": "yes"}).status_code == 403


def edit(admin: Client, **changes: object) -> int:
    form = {
        "restaurant": "Campus Store", "name": "Laptop", "price": "1299.99", "currency": "USD", "stock": 10,
        "low_stock_at": 5, "is_active": "on",
    }  # fmt: skip
    return admin.post("/admin/orders/menuitem/product-guid/change/", form | changes).status_code


def test_editing_an_item_leaves_what_orders_reserved_alone(admin: Client) -> None:
    item = laptop()
    inventory.reserve_inventory(order_id=str(an_order().pk), lines=lines(product_guid=4))
    assert edit(admin, stock=12, name="Big laptop") == 302
    item.refresh_from_db()
    assert (item.stock, item.reserved, item.name) == (12, 4, "Big laptop")
    assert edit(admin, stock=3, name="Big laptop") == 200, "the form is shown again with the error"
    assert MenuItem.objects.get().stock == 12


def test_a_timer_that_used_up_its_attempts_can_be_fired_again(admin: Client) -> None:
    event = ScheduledEvent.objects.create(
        event_type="order.acceptance_timeout", entity_id="x", scheduled_at="2020-01-01T00:00:00Z", status="EXPIRED"
    )
    form = {"action": "fire_again", "_selected_action": str(event.pk)}
    assert admin.post("/admin/timers/scheduledevent/", form).status_code == 302
    event.refresh_from_db()
    assert event.due_at is not None
