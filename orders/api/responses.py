"""How orders are shown. Amounts are text with two decimals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework import serializers

from orders.models import Order, OrderLine
from sagas import HistoryEntry, SagaState


class OrderLineResponse(serializers.ModelSerializer[OrderLine]):
    product_id = serializers.CharField(source="sku", allow_null=True)
    total = serializers.DecimalField(max_digits=18, decimal_places=2)

    class Meta:
        model = OrderLine
        fields = ("product_id", "name", "unit_price", "quantity", "total", "is_free_line")
        read_only_fields = fields


class OrderResponse(serializers.ModelSerializer[Order]):
    user_id = serializers.CharField(source="customer_id", help_text="The same as customer_id.")
    order_details = serializers.JSONField(source="details", help_text="Further keys of the request, as they were sent.")
    items = OrderLineResponse(source="lines", many=True)

    class Meta:
        model = Order
        fields = (
            "id",
            "customer_id",
            "user_id",
            "owner",
            "status",
            "items",
            "currency",
            "food_total",
            "delivery_fee",
            "total_amount",
            "delivery_location",
            "order_details",
            "saga_id",
            "restaurant",
            "runner",
            "accept_by",
            "accepted_at",
            "completed_at",
            "reason_code",
            "reason",
            "cancelled_by",
            "created_at",
            "updated_at",
        )
        read_only_fields = fields


class OrderStarted(serializers.Serializer[Any]):
    """The answer to `POST /api/orders`."""

    success = serializers.BooleanField()
    saga_id = serializers.UUIDField()
    order_id = serializers.UUIDField()
    status = serializers.CharField(help_text="The saga's status.")


class CancellationStarted(OrderStarted):
    """The answer to a cancellation: `status` is the saga's, the order's is CANCELLING until everything is undone."""

    reason_code = serializers.CharField()
    reason = serializers.CharField()


class MoneyMove(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text="release_authorization, reverse_payout or refund")
    to = serializers.CharField()
    amount = serializers.CharField()
    currency = serializers.CharField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """`from` is a word of Python's own, so this field cannot be written as the others are."""
        return {"from": serializers.CharField(), **super().get_fields()}


class CancellationPreview(serializers.Serializer[Any]):
    """What a cancellation would do; its `ETag` header goes into the cancellation's `If-Match`."""

    order_id = serializers.UUIDField()
    order_status = serializers.CharField()
    way = serializers.CharField(help_text="cancel, or refund once a runner has accepted")
    runs = serializers.ListField(child=serializers.CharField(), help_text="What would run, in order.")
    money = MoneyMove(many=True)
    may_refuse = serializers.ListField(child=serializers.CharField())


class SagaStepResponse(serializers.Serializer[Any]):
    step = serializers.CharField()
    status = serializers.CharField()
    message = serializers.CharField()
    timestamp = serializers.DateTimeField()


class OrderSagaResponse(serializers.Serializer[Any]):
    """How far an order's saga has come."""

    id = serializers.UUIDField()
    orderId = serializers.UUIDField()  # noqa: N815
    status = serializers.CharField()
    currentStep = serializers.CharField()  # noqa: N815
    history = SagaStepResponse(many=True)


def order_saga(saga: SagaState, history: Iterable[HistoryEntry]) -> dict[str, Any]:
    """How far an order's saga has come. With no step to do, `currentStep` names the saga's status (`Completed`)."""
    shown = ("step", "status", "message", "timestamp")
    return {
        "id": saga.id,
        "orderId": saga.subject,
        "status": saga.status.value,
        "currentStep": saga.step or saga.status.label,
        "history": [{name: getattr(entry, name) for name in shown} for entry in history],
    }
