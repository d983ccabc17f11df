"""What tests of orders need: clients, request bodies in both forms, and assertions about the whole system."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, User
from django.db.models import Sum
from rest_framework.response import Response
from rest_framework.test import APIClient

from orders.models import MenuItem, Order, StockReservation
from payments.models import EscrowTransaction
from payments.sandbox.models import SandboxIntent
from sagas.models import SagaInstance
from timers.models import ScheduledEvent

BY_CUSTOMER: dict[str, Any] = {
    "customer_id": "cust_123",
    "order_details": {
        "foodItems": [{"name": "Burger", "price": 12.99, "quantity": 1}],
        "deliveryLocation": "North Campus",
    },
}
BY_USER: dict[str, Any] = {
    "userId": "user-guid",
    "items": [{"productId": "product-guid", "productName": "Laptop", "quantity": 1, "price": 1299.99}],
}


def client(username: str, *, role: str = "", is_staff: bool = False) -> APIClient:
    """A signed-in API client. The user is created if there is none."""
    user, _ = User.objects.get_or_create(username=username, defaults={"is_staff": is_staff})
    if role:
        user.groups.add(Group.objects.get_or_create(name=role)[0])
    api = APIClient(raise_request_exception=True)
    api.force_authenticate(user)
    return api


def laptop(**changes: Any) -> MenuItem:
    values = {"sku": "product-guid", "restaurant": "Campus Store", "name": "Laptop", "price": "1299.99", "stock": 10}
    return MenuItem.objects.create(**(values | changes))


def body(*lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An order of these lines, in the `userId` form."""
    return {"userId": "user-guid", "items": list(lines), **more}


def laptops(quantity: int, **more: Any) -> dict[str, Any]:
    return body(BY_USER["items"][0] | {"quantity": quantity}, **more)


def place(api: APIClient, given: dict[str, Any] = BY_CUSTOMER, **headers: str) -> Response:
    response: Response = api.post("/api/orders", given, format="json", headers=headers)
    return response


def placed(api: APIClient, given: dict[str, Any] = BY_CUSTOMER) -> tuple[Order, SagaInstance]:
    """Place an order that must be accepted. Returns its rows."""
    response = place(api, given)
    assert response.status_code == 202, response.json()
    order = Order.objects.get(pk=response.json()["order_id"])
    return order, SagaInstance.objects.get(pk=order.saga_id)


def code(response: Response) -> str:
    """The code of a problem document. Asserts that the response is one."""
    assert response.headers["Content-Type"] == "application/problem+json", response.content
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["advice"]
    assert problem["detail"]
    return str(problem["code"])


def reserved() -> int:
    return MenuItem.objects.aggregate(total=Sum("reserved"))["total"] or 0


def live_authorizations(order_id: object) -> int:
    intents = SandboxIntent.objects.filter(status="requires_capture")
    return sum(intent.metadata["order_id"] == str(order_id) for intent in intents)


def assert_nothing_left(order_id: object) -> None:
    """Invariant I2, by our rows and the provider's ledger: no authorization, stock, timer or escrow is left."""
    assert live_authorizations(order_id) == 0
    assert not StockReservation.objects.held().filter(order_id=order_id).exists()
    assert not ScheduledEvent.objects.live().filter(entity_id=str(order_id)).exists()
    assert not EscrowTransaction.objects.filter(order_id=order_id, status="HELD").exists()


def assert_stock_adds_up() -> None:
    """Invariant I6: the reserved stock is the sum of the live reservations."""
    for item in MenuItem.objects.all():
        promised = item.reservations.held().aggregate(total=Sum("quantity"))["total"] or 0
        assert item.reserved == promised
        assert 0 <= item.reserved <= item.stock


def nothing_written() -> bool:
    return not (Order.objects.exists() or SagaInstance.objects.exists() or reserved())
