"""Orders, and the menu with its stock.

Every change of status or stock is a compare-and-set: one UPDATE whose WHERE names what must hold. The number of rows
it changed says whether it happened. docs/explanation/architecture.md draws the statuses, generated from the code.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from sagas import uuid7
from timers.clock import database_now

CURRENCY_LENGTH = 3
CUSTOMER_ID_LENGTH = 64
USERNAME_LENGTH = 150
RESTAURANT_LENGTH = 100


class OrderStatus(models.TextChoices):
    PENDING_PAYMENT = "pendingPayment", "Pending payment"
    CREATED = "CREATED", "Created"
    ACCEPTED = "ACCEPTED", "Accepted"
    COMPLETED = "COMPLETED", "Completed"
    CANCELLING = "CANCELLING", "Cancelling"
    CANCELLED = "CANCELLED", "Cancelled"
    FAILED = "FAILED", "Failed"


class OrderQuerySet(models.QuerySet["Order"]):
    def visible_to(self, username: str) -> OrderQuerySet:
        return self.filter(owner=username)

    def of_customer(self, customer: str) -> OrderQuerySet:
        return self.filter(Q(owner=customer) | Q(customer_id=customer))

    def waiting_for_a_runner(self) -> OrderQuerySet:
        return self.filter(status=OrderStatus.CREATED, accept_by__gt=database_now())

    def past_acceptance(self, *, grace: timedelta) -> OrderQuerySet:
        """CREATED orders whose acceptance window closed more than `grace` ago."""
        return self.filter(status=OrderStatus.CREATED, accept_by__lte=database_now(-grace))

    def transition(self, *, to: str, allowed_from: Iterable[str], **changes: Any) -> int:
        """Set the status of the rows that have one of the statuses it may follow. Returns how many rows changed."""
        return self.filter(status__in=list(allowed_from)).update(status=to, updated_at=database_now(), **changes)


class Order(models.Model):
    """One order. Its id is generated before its saga starts, so that a compensation can use it in any case."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.CharField(max_length=USERNAME_LENGTH)
    customer_id = models.CharField(max_length=CUSTOMER_ID_LENGTH)
    status = models.CharField(max_length=20, choices=OrderStatus.choices, default=OrderStatus.PENDING_PAYMENT)
    currency = models.CharField(max_length=CURRENCY_LENGTH)
    food_total = models.DecimalField(max_digits=18, decimal_places=2)
    delivery_fee = models.DecimalField(max_digits=18, decimal_places=2)
    total_amount = models.DecimalField(max_digits=18, decimal_places=2)
    delivery_location = models.CharField(max_length=500, blank=True, default="")
    details = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    reason_code = models.CharField(max_length=64, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    cancelled_by = models.CharField(max_length=USERNAME_LENGTH, blank=True, default="")
    accept_by = models.DateTimeField(null=True, blank=True)
    saga_id = models.UUIDField()
    payment_id = models.UUIDField()
    restaurant = models.CharField(max_length=RESTAURANT_LENGTH, blank=True, default="")
    runner = models.CharField(max_length=USERNAME_LENGTH, blank=True, default="")
    accepted_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = OrderQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        indexes = [
            models.Index(fields=["owner", "-created_at"], name="orders_order_by_owner"),
            models.Index(fields=["customer_id", "-created_at"], name="orders_order_by_customer"),
            models.Index(fields=["-created_at"], name="orders_order_recent"),
            models.Index(fields=["accept_by"], condition=Q(status="CREATED"), name="orders_order_unaccepted"),
            models.Index(
                fields=["restaurant", "-created_at"], condition=~Q(restaurant=""), name="orders_order_by_restaurant"
            ),
            models.Index(fields=["runner", "-created_at"], condition=~Q(runner=""), name="orders_order_by_runner"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=OrderStatus.values), name="orders_order_status_known"),
            models.CheckConstraint(
                condition=Q(food_total__gte=0) & Q(delivery_fee__gte=0) & Q(total_amount__gt=0),
                name="orders_order_amounts_positive",
            ),
            models.CheckConstraint(
                condition=~Q(status="CREATED") | Q(accept_by__isnull=False), name="orders_order_created_has_accept_by"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["ACCEPTED", "COMPLETED"]) | ~Q(runner=""),
                name="orders_order_accepted_has_runner",
            ),
        ]

    def __str__(self) -> str:
        return f"Order {self.id} ({self.status})"


class OrderLine(models.Model):
    """One item of an order, at the price of that moment. A free line is not on the menu: it has no sku and no stock."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    sku = models.CharField(max_length=64, null=True, blank=True)  # noqa: DJ001 - "" would be a sku
    name = models.CharField(max_length=200)
    unit_price = models.DecimalField(max_digits=18, decimal_places=2)
    quantity = models.PositiveSmallIntegerField()
    is_free_line = models.BooleanField()

    class Meta:
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(condition=Q(quantity__gte=1), name="orders_line_quantity_positive"),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="orders_line_price_not_negative"),
            models.CheckConstraint(
                condition=Q(is_free_line=True, sku__isnull=True) | Q(is_free_line=False, sku__isnull=False),
                name="orders_line_free_without_sku",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.name}"

    @property
    def total(self) -> Decimal:
        return self.unit_price * self.quantity


class MenuItemQuerySet(models.QuerySet["MenuItem"]):
    def on_sale(self) -> MenuItemQuerySet:
        return self.filter(is_active=True)

    def low_in_stock(self) -> MenuItemQuerySet:
        return self.filter(is_active=True, stock__lte=F("reserved") + F("low_stock_at"))

    def reserve_stock(self, sku: str, quantity: int) -> int:
        """Reserve `quantity` if that much is available. Returns 1 if it was reserved, else 0."""
        enough = self.on_sale().filter(sku=sku, stock__gte=F("reserved") + quantity)
        return enough.update(reserved=F("reserved") + quantity, updated_at=database_now())

    def release_stock(self, sku: str, quantity: int) -> int:
        """Take a reservation back. Returns 1, or 0 if there is no such item."""
        return self.filter(sku=sku).update(reserved=F("reserved") - quantity, updated_at=database_now())

    def consume_stock(self, sku: str, quantity: int) -> int:
        """Subtract what was reserved from the stock. Returns 1, or 0 if there is no such item."""
        return self.filter(sku=sku).update(
            stock=F("stock") - quantity, reserved=F("reserved") - quantity, updated_at=database_now()
        )


class MenuItem(models.Model):
    """Something a restaurant sells. `stock` is on hand; `reserved` of it is reserved for orders."""

    sku = models.CharField(max_length=64, primary_key=True)
    restaurant = models.CharField(max_length=RESTAURANT_LENGTH)
    name = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=18, decimal_places=2)
    currency = models.CharField(max_length=CURRENCY_LENGTH, default="USD")
    stock = models.PositiveIntegerField(default=0)
    reserved = models.PositiveIntegerField(default=0, editable=False)
    low_stock_at = models.PositiveIntegerField(default=5)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[Any] = MenuItemQuerySet.as_manager()

    class Meta:
        ordering = ("restaurant", "name")
        indexes = [models.Index(fields=["restaurant", "name"], name="orders_item_by_restaurant")]
        constraints = [
            models.CheckConstraint(
                condition=Q(reserved__gte=0) & Q(reserved__lte=F("stock")), name="orders_item_reserved_within_stock"
            ),
            models.CheckConstraint(condition=Q(price__gte=0), name="orders_item_price_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.sku})"

    def clean(self) -> None:
        if self.stock < self.reserved:
            raise ValidationError({"stock": f"{self.reserved} are reserved for orders."})

    @property
    def available(self) -> int:
        return self.stock - self.reserved


class RestaurantStaff(models.Model):
    """A user who edits the menu of a restaurant."""

    username = models.CharField(max_length=USERNAME_LENGTH)
    restaurant = models.CharField(max_length=RESTAURANT_LENGTH)

    class Meta:
        verbose_name = "restaurant staff member"
        verbose_name_plural = "restaurant staff"
        constraints = [
            models.UniqueConstraint(fields=["username", "restaurant"], name="orders_restaurant_staff_once"),
        ]

    def __str__(self) -> str:
        return f"{self.username} of {self.restaurant}"


class ReservationStatus(models.TextChoices):
    HELD = "HELD", "Held"
    RELEASED = "RELEASED", "Released"
    CONSUMED = "CONSUMED", "Consumed"


class StockReservationQuerySet(models.QuerySet["StockReservation"]):
    def held(self) -> StockReservationQuerySet:
        return self.filter(status=ReservationStatus.HELD)

    def end(self, *, as_status: str) -> int:
        """End the held ones among these rows. Returns how many."""
        return self.held().update(status=as_status, expires_at=None)


class StockReservation(models.Model):
    """Part of an item's `reserved`, for one order. `expires_at` is NULL once only the order's own end can end it."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="reservations")
    item = models.ForeignKey(MenuItem, on_delete=models.PROTECT, related_name="reservations")
    quantity = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=ReservationStatus.choices, default=ReservationStatus.HELD)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = StockReservationQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["expires_at"],
                condition=Q(status="HELD", expires_at__isnull=False),
                name="orders_reservation_expiring",
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["order", "item"], name="orders_reservation_once"),
            models.CheckConstraint(condition=Q(quantity__gte=1), name="orders_reservation_quantity_positive"),
            models.CheckConstraint(
                condition=Q(status__in=ReservationStatus.values), name="orders_reservation_status_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.item_id} for {self.order_id} ({self.status})"
