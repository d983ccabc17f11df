"""The persons of the stories. They use the product over HTTP only, each with a token."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from knox.models import AuthToken
from rest_framework.response import Response
from rest_framework.test import APIClient

from orders import tasks as order_tasks
from orders.models import RestaurantStaff
from sagas.testing import Runner
from timers import tasks as timer_tasks

Document = dict[str, Any]


class Campus:
    """The system behind the API: sagas run only when a story says so, and the clock can be moved."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def run_sagas(self) -> None:
        self._runner.run_to_end()

    def deliver_one_message(self) -> bool:
        self._runner.run_inline = False
        return self._runner.deliver()

    def let_pass(self, duration: timedelta) -> None:
        self._runner.let_pass(duration)

    def sweep(self) -> None:
        """Run the sweeps that beat runs every few seconds."""
        timer_tasks.sweep()
        order_tasks.sweep()

    def person(self, name: str, *, role: str = "customer", restaurant: str = "") -> Person:
        user = User.objects.create_user(name)
        user.groups.add(Group.objects.get_or_create(name=role)[0])
        if restaurant:
            RestaurantStaff.objects.create(username=name, restaurant=restaurant)
        return Person(user)


class Person:
    def __init__(self, user: User) -> None:
        self.name = user.get_username()
        self._http = APIClient()
        self._http.credentials(HTTP_AUTHORIZATION=f"Token {AuthToken.objects.create(user)[1]}")

    def gets(self, path: str) -> Any:
        response = self._http.get(path)
        assert response.status_code == 200, response.content
        return response.json()

    def posts(self, path: str, body: Document | None = None, **headers: str) -> Response:
        response: Response = self._http.post(path, body or {}, format="json", headers=headers)
        return response

    def patches(self, path: str, body: Document) -> Response:
        response: Response = self._http.patch(path, body, format="json")
        return response

    def orders(self, *dishes: tuple[str, str, int], **more: Any) -> Document:
        """Order dishes `(product id, price, quantity)`. Returns the body of the response."""
        response = self.tries_to_order(*dishes, **more)
        assert response.status_code == 202, response.content
        return dict(response.json())

    def tries_to_order(self, *dishes: tuple[str, str, int], **more: Any) -> Response:
        items = [{"productId": sku, "price": price, "quantity": quantity} for sku, price, quantity in dishes]
        return self.posts("/api/orders", {"userId": self.name, "items": items, **more})

    def order(self, placed: Document) -> Document:
        return dict(self.gets(f"/api/orders/{placed['order_id']}"))

    def history(self, placed: Document) -> list[str]:
        saga = self.gets(f"/api/orders/{placed['order_id']}/saga")
        return [entry["step"] for entry in saga["history"] if entry["status"] in ("COMPLETED", "COMPENSATED")]
