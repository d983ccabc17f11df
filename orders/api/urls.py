"""Where orders live. Every address answers with and without a trailing slash; the plain one is the documented one."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, path

from orders.api import delivery, menu, views


def both(route: str, view: Any, name: str) -> list[URLPattern]:
    return [path(route, view.as_view(), name=name), path(f"{route}/", view.as_view(schema=None))]


urlpatterns = [
    *both("api/menu", menu.Menu, "menu"),
    *both("api/menu/low-stock", menu.LowStock, "menu-low-stock"),
    *both("api/menu/<str:sku>", menu.OneMenuItem, "menu-item"),
    *both("api/menu/<str:sku>/restock", menu.RestockMenuItem, "menu-item-restock"),
    *both("api/orders", views.Orders, "orders"),
    *both("api/orders/user/<str:customer_id>", views.OrdersOfUser, "orders-of-user"),
    *both("api/orders/available", delivery.AvailableOrders, "orders-available"),
    *both("api/orders/<str:order_id>", views.OneOrder, "order"),
    *both("api/orders/<str:order_id>/saga", views.OrderSaga, "order-saga"),
    *both("api/orders/<str:order_id>/cancel", views.CancelOrder, "order-cancel"),
    *both("api/orders/<str:order_id>/accept", delivery.AcceptOrder, "order-accept"),
    *both("api/orders/<str:order_id>/complete", delivery.CompleteOrder, "order-complete"),
]
