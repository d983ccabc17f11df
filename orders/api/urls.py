"""Where orders and the menu live, below `/api/`."""

from __future__ import annotations

from orders.api import delivery, menu, views
from sagas.rest.routes import both

urlpatterns = [
    *both("menu", menu.Menu, "menu"),
    *both("menu/low-stock", menu.LowStock, "menu-low-stock"),
    *both("menu/<str:sku>", menu.OneMenuItem, "menu-item"),
    *both("menu/<str:sku>/restock", menu.RestockMenuItem, "menu-item-restock"),
    *both("orders", views.Orders, "orders"),
    *both("orders/user/<str:customer_id>", views.OrdersOfUser, "orders-of-user"),
    *both("orders/available", delivery.AvailableOrders, "orders-available"),
    *both("orders/<str:order_id>", views.OneOrder, "order"),
    *both("orders/<str:order_id>/saga", views.OrderSaga, "order-saga"),
    *both("orders/<str:order_id>/cancel", views.CancelOrder, "order-cancel"),
    *both("orders/<str:order_id>/accept", delivery.AcceptOrder, "order-accept"),
    *both("orders/<str:order_id>/complete", delivery.CompleteOrder, "order-complete"),
]
