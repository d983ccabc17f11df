"""Editing a menu. Every change is one UPDATE that does not touch what orders have reserved."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from orders.errors import SkuTaken, StockPromised, UnknownMenuItem
from orders.models import MenuItem
from timers.clock import database_now


def find(sku: str) -> MenuItem:
    """Raises UnknownMenuItem."""
    item: MenuItem | None = MenuItem.objects.filter(pk=sku).first()
    if item is None:
        raise UnknownMenuItem(f"There is no menu item {sku[:64]!r}.")
    return item


def add(*, sku: str, restaurant: str, name: str, price: Decimal, **more: Any) -> MenuItem:
    """Put a new item on the menu; `more` are further columns. Raises SkuTaken."""
    try:
        with transaction.atomic():
            item: MenuItem = MenuItem.objects.create(sku=sku, restaurant=restaurant, name=name, price=price, **more)
    except IntegrityError:
        raise SkuTaken(f"{sku} is already on a menu.") from None
    return item


def change(*, sku: str, **changes: Any) -> MenuItem:
    """Set columns of an item. Orders keep the price they were placed at. Raises StockPromised, UnknownMenuItem."""
    items = MenuItem.objects.filter(pk=sku)
    if "stock" in changes:
        items = items.filter(reserved__lte=changes["stock"])
    if not items.update(**changes, updated_at=database_now()):
        item = find(sku)
        raise StockPromised(f"{item.reserved} are reserved for orders.", reserved=item.reserved)
    return find(sku)


def restock(*, sku: str, quantity: int) -> MenuItem:
    """Add to the stock. Unlike setting it, this never overwrites what an order takes at the same time.

    Raises UnknownMenuItem.
    """
    MenuItem.objects.filter(pk=sku).update(stock=F("stock") + quantity, updated_at=database_now())
    return find(sku)


def take_off(*, sku: str) -> None:
    """Sell no more of it. Orders that have it keep it. Raises UnknownMenuItem."""
    find(sku)
    change(sku=sku, is_active=False)
