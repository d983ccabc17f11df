"""The menu API: everybody reads it, a restaurant's staff keeps it."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.urls import reverse
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from orders import menu
from orders.api.fields import PriceField, QuantityField, TextField
from orders.models import MenuItem
from orders.roles import RESTAURANT, keeps_all_menus, may_keep_menu_of, restaurants_of, roles_of
from orders.use_cases.place import MAX_TOTAL
from sagas.rest.access import user_of
from sagas.rest.bodies import StrictSerializer, read
from sagas.rest.endpoint import Endpoint, ListEndpoint
from sagas.rest.pagination import LinkHeaderPagination
from sagas.rest.schema import name_list

MAX_STOCK = 1_000_000


class ByRestaurant(LinkHeaderPagination):
    """Pages in the order of a printed menu."""

    ordering = ("restaurant", "name", "sku")


class MenuFilter(filters.FilterSet):
    restaurant = filters.CharFilter(strip=False, help_text="Only this restaurant's items.")


class MenuItemResponse(serializers.ModelSerializer[MenuItem]):
    available = serializers.IntegerField()

    class Meta:
        model = MenuItem
        fields = (
            "sku",
            "restaurant",
            "name",
            "price",
            "currency",
            "available",
            "stock",
            "reserved",
            "low_stock_at",
            "is_active",
            "updated_at",
        )
        read_only_fields = fields


class MenuItemChange(StrictSerializer):
    """What may change about an item."""

    name = TextField(max_length=200, required=False)
    price = PriceField(max_value=MAX_TOTAL, min_value=Decimal(0), required=False)
    stock = QuantityField(min_value=0, max_value=MAX_STOCK, required=False)
    low_stock_at = QuantityField(min_value=0, max_value=MAX_STOCK, required=False)
    is_active = serializers.BooleanField(required=False)


class NewMenuItem(MenuItemChange):
    """An item to put on the menu."""

    sku = serializers.RegexField(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    restaurant = TextField(max_length=100)
    name = TextField(max_length=200)
    price = PriceField(max_value=MAX_TOTAL, min_value=Decimal(0))


class Restock(StrictSerializer):
    quantity = QuantityField(min_value=1, max_value=MAX_STOCK)


class MenuItems(ListEndpoint[MenuItem]):
    model = MenuItem
    serializer_class = MenuItemResponse
    pagination_class = ByRestaurant


@name_list("list_menu")
class Menu(MenuItems):
    """`GET` lists what is on sale; `POST` adds an item to your restaurant's menu."""

    filterset_class = MenuFilter

    def rows(self, user: User) -> QuerySet[MenuItem]:
        return MenuItem.objects.on_sale()

    @extend_schema(request=NewMenuItem, responses={201: MenuItemResponse}, operation_id="add_menu_item")
    def post(self, request: Request) -> Response:
        payload = read(NewMenuItem, request.data)
        _require_keeper(request, payload["restaurant"])
        item = menu.add(**payload, currency=settings.CURRENCY)
        location = reverse("menu-item", kwargs={"sku": item.sku})
        return Response(MenuItemResponse(item).data, status=201, headers={"Location": location})


class OneMenuItem(Endpoint):
    @extend_schema(responses=MenuItemResponse, operation_id="read_menu_item")
    def get(self, _: Request, sku: str) -> Response:
        return Response(MenuItemResponse(menu.find(sku)).data)

    @extend_schema(request=MenuItemChange, responses=MenuItemResponse, operation_id="change_menu_item")
    def patch(self, request: Request, sku: str) -> Response:
        _require_keeper(request, menu.find(sku).restaurant)
        return Response(MenuItemResponse(menu.change(sku=sku, **read(MenuItemChange, request.data))).data)

    @extend_schema(responses={204: None}, operation_id="take_off_menu_item")
    def delete(self, request: Request, sku: str) -> Response:
        """Sell no more of it; orders that have it keep it."""
        _require_keeper(request, menu.find(sku).restaurant)
        menu.take_off(sku=sku)
        return Response(status=204)


class RestockMenuItem(Endpoint):
    """Add to the stock what has arrived."""

    @extend_schema(request=Restock, responses=MenuItemResponse, operation_id="restock_menu_item")
    def post(self, request: Request, sku: str) -> Response:
        _require_keeper(request, menu.find(sku).restaurant)
        quantity = read(Restock, request.data)["quantity"]
        return Response(MenuItemResponse(menu.restock(sku=sku, quantity=quantity)).data)


class LowStock(MenuItems):
    """Items of your restaurants of which few are left, as each item's `low_stock_at` says."""

    def rows(self, user: User) -> QuerySet[MenuItem]:
        items: QuerySet[MenuItem] = MenuItem.objects.low_in_stock()
        if keeps_all_menus(user):
            return items
        if RESTAURANT not in roles_of(user):
            raise PermissionDenied("Only a restaurant's staff sees its stock.")
        return items.filter(restaurant__in=restaurants_of(user))


def _require_keeper(request: Request, restaurant: str) -> None:
    if not may_keep_menu_of(user_of(request), restaurant):
        raise PermissionDenied(f"Only the staff of {restaurant} keeps its menu.")
