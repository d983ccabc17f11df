"""Orders are read here and changed by sagas only; the menu is edited here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from orders.models import MenuItem, Order, OrderLine, RestaurantStaff, StockReservation


class ReadOnly:
    """Nothing is added, changed or deleted by hand: a status belongs to the saga that set it."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class OrderLineInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = OrderLine
    fields = ("name", "sku", "unit_price", "quantity", "is_free_line")
    extra = 0


class StockReservationInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = StockReservation
    fields = ("item", "quantity", "status", "expires_at")
    extra = 0


@admin.register(Order)
class OrderAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ("id", "status", "owner", "customer_id", "total_amount", "currency", "created_at", "accept_by")
    list_filter = ("status", "currency", "created_at")
    search_fields = ("=id", "=saga_id", "owner", "customer_id")
    search_help_text = "Order id, saga id, owner or customer id"
    inlines = (OrderLineInline, StockReservationInline)
    show_full_result_count = False


@admin.register(MenuItem)
class MenuItemAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("sku", "name", "restaurant", "price", "currency", "stock", "reserved", "available", "is_active")
    list_filter = ("restaurant", "is_active")
    search_fields = ("sku", "name", "restaurant")
    readonly_fields = ("reserved", "created_at", "updated_at")

    def get_readonly_fields(self, request: HttpRequest, obj: MenuItem | None = None) -> tuple[str, ...]:
        return self.readonly_fields if obj is None else ("sku", *self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: MenuItem, form: Any, change: bool) -> None:
        """Write what was edited and nothing else: `reserved` moves with every order meanwhile."""
        obj.save(update_fields=form.changed_data if change else None)

    @admin.display(description="available")
    def available(self, item: MenuItem) -> int:
        return item.available


@admin.register(RestaurantStaff)
class RestaurantStaffAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("username", "restaurant")
    list_filter = ("restaurant",)
    search_fields = ("username", "restaurant")
