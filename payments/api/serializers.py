"""What the payments API shows and reads. Amounts are exact decimals as text, in the currency beside them."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from payments.models import EscrowTransaction, Payment, Refund
from payments.models.lengths import OWNER_LENGTH, REASON_LENGTH, TOKEN_LENGTH
from payments.money import Money, NotMoney, decimal_text
from sagas.rest.bodies import StrictSerializer


@extend_schema_field({"type": "string", "pattern": r"^-?\d+\.\d{2}$", "example": "12.99", "readOnly": True})
class CentsAsText(serializers.Field[int, Any, str, Any]):
    def __init__(self, *, source: str) -> None:
        super().__init__(source=source, read_only=True)

    def to_representation(self, value: int) -> str:
        return decimal_text(value)


class PaymentResponse(serializers.ModelSerializer[Payment]):
    customer_id = serializers.CharField(source="owner", read_only=True)
    amount = CentsAsText(source="amount_cents")
    authorized_amount = CentsAsText(source="authorized_cents")
    captured_amount = CentsAsText(source="captured_cents")
    refunded_amount = CentsAsText(source="refunded_cents")
    stripe_payment_intent_id = serializers.CharField(source="intent_id", read_only=True)

    class Meta:
        model = Payment
        fields: ClassVar = [
            "id", "order_id", "customer_id", "status", "amount", "authorized_amount", "captured_amount",
            "refunded_amount", "currency", "stripe_payment_intent_id", "decline_code", "reason", "created_at",
            "updated_at",
        ]  # fmt: skip
        read_only_fields = fields


class EscrowResponse(serializers.ModelSerializer[EscrowTransaction]):
    customer_id = serializers.CharField(source="owner", read_only=True)
    amount = CentsAsText(source="amount_cents")
    food_fee = CentsAsText(source="food_fee_cents")
    delivery_fee = CentsAsText(source="delivery_fee_cents")

    class Meta:
        model = EscrowTransaction
        fields: ClassVar = [
            "id", "order_id", "payment_id", "customer_id", "type", "status", "recipient_type", "amount", "food_fee",
            "delivery_fee", "currency", "reason", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields


class PaymentInfoResponse(serializers.Serializer[Any]):
    """The card a customer pays with, as much of it as anybody may see."""

    user_id = serializers.CharField()
    brand = serializers.CharField()
    last4 = serializers.CharField()


@extend_schema_field({"type": "string", "example": "12.99"})
class AmountField(serializers.Field[int, Any, str, Any]):
    """An exact amount as text or as a number of currency units, read into cents."""

    default_error_messages: ClassVar = {"invalid": "Send an amount above zero with at most two decimals, as text."}

    def to_internal_value(self, data: Any) -> int:
        # A JSON number keeps the text it was written as, so `str` rounds nothing.
        if isinstance(data, bool) or not isinstance(data, str | int | float):
            self.fail("invalid")
        try:
            cents = Money.parse(str(data), "").cents
        except NotMoney:
            self.fail("invalid")
        if cents == 0:
            self.fail("invalid")
        return cents

    def to_representation(self, value: int) -> str:
        return decimal_text(value)


class AuthorizeRequest(StrictSerializer):
    order_id = serializers.UUIDField()
    customer_id = serializers.CharField(max_length=OWNER_LENGTH)
    amount = AmountField()
    currency = serializers.RegexField(r"^[A-Z]{3}$", required=False)
    payment_method = serializers.CharField(max_length=TOKEN_LENGTH, required=False, allow_blank=True, default="")


class ReleaseRequest(StrictSerializer):
    payment_id = serializers.UUIDField()
    reason = serializers.CharField(max_length=REASON_LENGTH, required=False, default="Released by an operator")


class CaptureRequest(StrictSerializer):
    payment_id = serializers.UUIDField()
    amount = AmountField(required=False)


class RefundRequest(StrictSerializer):
    payment_id = serializers.UUIDField()
    amount = AmountField(required=False)
    reason = serializers.CharField(max_length=REASON_LENGTH, required=False, default="Refunded by an operator")


class HoldRequest(StrictSerializer):
    payment_id = serializers.UUIDField()
    food_fee = AmountField()
    delivery_fee = AmountField(required=False)


class ReleaseEscrowRequest(StrictSerializer):
    order_id = serializers.UUIDField()
    restaurant = serializers.CharField(max_length=OWNER_LENGTH)
    runner = serializers.CharField(max_length=OWNER_LENGTH)


class CancelEscrowRequest(StrictSerializer):
    order_id = serializers.UUIDField()
    reason = serializers.CharField(max_length=REASON_LENGTH, required=False, default="Cancelled by an operator")


class RefundResponse(serializers.ModelSerializer[Refund]):
    amount = CentsAsText(source="amount_cents")

    class Meta:
        model = Refund
        fields: ClassVar = ["id", "payment_id", "status", "amount", "reason", "created_at", "updated_at"]
        read_only_fields = fields
