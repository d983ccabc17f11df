"""Orders are read here and changed by sagas only; the menu is edited here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from orders.models import MenuItem, Order, OrderLine, RestaurantStaff, StockReservation
from sagas.rest.readonly_admin import ReadOnlyAdmin, ReadOnlyInline


class OrderLineInline(ReadOnlyInline):
    model = OrderLine
    fields = ("name", "sku", "unit_price", "quantity", "is_free_line")


class StockReservationInline(ReadOnlyInline):
    model = StockReservation
    fields = ("item", "quantity", "status", "expires_at")


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = ("id", "status", "owner", "customer_id", "total_amount", "currency", "created_at", "accept_by")
    list_filter = ("status", "currency", "created_at")
    search_fields = ("=id", "=saga_id", "owner", "customer_id")
    search_help_text = "Order id, saga id, owner or customer id"
    inlines = (OrderLineInline, StockReservationInline)


@admin.register(MenuItem)
class MenuItemAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("sku", "name", "restaurant", "price", "currency", "stock", "reserved", "available", "is_active")
    list_filter = ("restaurant", "is_active")
    search_fields = ("sku", "name", "restaurant")
    readonly_fields = ("reserved", "created_at", "updated_at")

    def get_readonly_fields(self, request: HttpRequest, obj: MenuItem | None = None) -> tuple[str, ...]:
        return self.readonly_fields if obj is None else ("sku", *self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: MenuItem, form: Any, change: bool) -> None:
        """Write only the edited fields: `reserved` may change with an order in the meantime."""
        obj.save(update_fields=form.changed_data if change else None)

    @admin.display(description="available")
    def available(self, item: MenuItem) -> int:
        return item.available


@admin.register(RestaurantStaff)
class RestaurantStaffAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("username", "restaurant")
    list_filter = ("restaurant",)
    search_fields = ("username", "restaurant")
