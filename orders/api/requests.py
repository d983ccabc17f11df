"""Reading an order in either of its two forms into one `NewOrder`.

{"customer_id": …, "order_details": {"foodItems": [{name, price, quantity}], "deliveryLocation": …}}
{"userId": …, "items": [{productId, productName, quantity, price}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from orders.api.fields import CustomerIdField, PriceField, QuantityField, TextField, require_storable
from orders.reasons import CancelReason
from orders.use_cases.place import NewLine, NewOrder
from sagas.rest.bodies import StrictSerializer, read

MAX_LINES = 50
MAX_QUANTITY = 99
LOCATION_LENGTH = 500
LINES: dict[str, Any] = {"min_length": 1, "max_length": MAX_LINES}
_MIXED = "The body mixes both forms: send customer_id with order_details, or userId with items."
_NEITHER = "Send customer_id with order_details, or userId with items."


class FoodItemRequest(serializers.Serializer[Any]):
    """A line of `order_details.foodItems`. Without `productId` it is a free line."""

    name = TextField(max_length=200, required=False)
    price = PriceField()
    quantity = QuantityField(min_value=1, max_value=MAX_QUANTITY)
    productId = TextField(max_length=64, required=False, allow_null=True, default=None)  # noqa: N815

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return _require_name(attrs, "name")


class ItemRequest(StrictSerializer):
    """A line of `items`. Without `productId` it is a free line."""

    productId = TextField(max_length=64, required=False, allow_null=True, default=None)  # noqa: N815
    productName = TextField(max_length=200, required=False)  # noqa: N815
    price = PriceField()
    quantity = QuantityField(min_value=1, max_value=MAX_QUANTITY)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return _require_name(attrs, "productName")


def _require_name(attrs: dict[str, Any], name: str) -> dict[str, Any]:
    """Products have their names on the menu; a free line needs one of its own."""
    if attrs["productId"] is None and not attrs.get(name):
        raise serializers.ValidationError(
            {name: [serializers.ErrorDetail("A free line needs a name.", code="required")]}
        )
    return attrs


class OrderDetailsRequest(serializers.Serializer[Any]):
    """What is ordered and where it goes. Further keys are kept with the order as they are."""

    foodItems = FoodItemRequest(many=True, **LINES)  # noqa: N815
    deliveryLocation = TextField(max_length=LOCATION_LENGTH, required=False, default="")  # noqa: N815


class PaymentMethodField(TextField):
    def __init__(self, **kwargs: Any) -> None:
        help_text = "A payment method's token; left out, the customer's stored one is used."
        options: dict[str, Any] = {"max_length": 64, "required": False, "default": "", "help_text": help_text}
        super().__init__(**(options | kwargs))


class OrderByCustomer(StrictSerializer):
    customer_id = CustomerIdField()
    order_details = OrderDetailsRequest()
    payment_method = PaymentMethodField()


class OrderByUser(StrictSerializer):
    userId = CustomerIdField()  # noqa: N815
    items = ItemRequest(many=True, **LINES)
    deliveryLocation = TextField(max_length=LOCATION_LENGTH, required=False, default="")  # noqa: N815
    payment_method = PaymentMethodField()


def read_order(body: Any) -> NewOrder:
    """The order a request body asks for. Raises DRF's ValidationError naming each field that is wrong."""
    if not isinstance(body, Mapping):
        raise serializers.ValidationError("The body must be a JSON object.", code="not_an_object")
    is_by_customer = bool({"customer_id", "order_details"} & body.keys())
    is_by_user = bool({"userId", "items"} & body.keys())
    if is_by_customer and is_by_user:
        raise serializers.ValidationError(_MIXED, code="mixed_forms")
    if not (is_by_customer or is_by_user):
        raise serializers.ValidationError(_NEITHER, code="required")
    return _by_customer(body) if is_by_customer else _by_user(body)


def _by_customer(body: Mapping[str, Any]) -> NewOrder:
    data = read(OrderByCustomer, body)
    details = data["order_details"]
    return NewOrder(
        customer_id=data["customer_id"],
        lines=[_line(item, item.get("name", "")) for item in details["foodItems"]],
        delivery_location=details["deliveryLocation"],
        details=_kept(body["order_details"]),
        payment_method=data["payment_method"],
    )


def _by_user(body: Mapping[str, Any]) -> NewOrder:
    data = read(OrderByUser, body)
    return NewOrder(
        customer_id=data["userId"],
        lines=[_line(item, item.get("productName", "")) for item in data["items"]],
        delivery_location=data["deliveryLocation"],
        payment_method=data["payment_method"],
    )


def _line(item: Mapping[str, Any], name: str) -> NewLine:
    return NewLine(sku=item["productId"], name=name, price=item["price"], quantity=item["quantity"])


def _kept(details: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `order_details` and of its lines that this version does not use."""
    known = OrderDetailsRequest().fields
    kept = {key: value for key, value in details.items() if key not in known}
    line_fields = FoodItemRequest().fields
    notes = [{key: value for key, value in item.items() if key not in line_fields} for item in details["foodItems"]]
    if any(notes):
        kept["foodItems"] = notes
    try:
        require_storable(kept)
    except serializers.ValidationError as error:
        raise serializers.ValidationError({"order_details": error.detail}) from None
    return kept


class CancelRequest(StrictSerializer):
    """Why the order is cancelled; an empty body means the customer asked for it."""

    reason_code = serializers.ChoiceField(choices=CancelReason.choices, required=False)
    reason = TextField(max_length=500, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        code = attrs.get("reason_code", CancelReason.OTHER if "reason" in attrs else CancelReason.CUSTOMER_REQUEST)
        if code == CancelReason.ORDER_TIMED_OUT:
            raise serializers.ValidationError({"reason_code": "Only the system sets this reason."})
        if code == CancelReason.OTHER and not attrs.get("reason"):
            raise serializers.ValidationError({"reason": "The reason code `other` needs a reason in words."})
        return {"reason_code": str(code), "reason": attrs.get("reason", "")}
