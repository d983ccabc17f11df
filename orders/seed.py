"""A small menu to try the product with. It has the products of the examples in the documentation."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from orders.models import MenuItem


class Dish(NamedTuple):
    sku: str
    restaurant: str
    name: str
    price: str
    stock: int


DEMO_MENU = (
    Dish("product-guid", "Campus Store", "Laptop", "1299.99", 10_000),
    Dish("usb-stick", "Campus Store", "USB stick", "9.90", 500),
    Dish("burger", "North Campus Grill", "Burger", "12.99", 2_000),
    Dish("cheeseburger", "North Campus Grill", "Cheeseburger", "13.99", 2_000),
    Dish("fries", "North Campus Grill", "Fries", "3.50", 5_000),
    Dish("lemonade", "North Campus Grill", "Lemonade", "2.80", 5_000),
    Dish("margherita", "Pizza Corner", "Pizza Margherita", "9.50", 1_000),
    Dish("tiramisu", "Pizza Corner", "Tiramisu", "4.20", 40),
    Dish("last-portion", "Pizza Corner", "Chef's special (one left)", "18.00", 1),
)


def seed_demo() -> int:
    """Put the demo menu on sale. Items that exist are not changed. Returns how many were new."""
    before = MenuItem.objects.count()
    MenuItem.objects.bulk_create((_item(dish) for dish in DEMO_MENU), ignore_conflicts=True)
    return int(MenuItem.objects.count() - before)


def _item(dish: Dish) -> MenuItem:
    return MenuItem(
        sku=dish.sku, restaurant=dish.restaurant, name=dish.name, price=Decimal(dish.price), stock=dish.stock
    )
