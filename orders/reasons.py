"""Why an order is cancelled: a code for programs and a sentence for the customer."""

from __future__ import annotations

from django.db import models


class CancelReason(models.TextChoices):
    """The codes a caller may give. The label of each is the sentence for the customer."""

    CUSTOMER_REQUEST = "customer_request", "Manual cancellation requested by user"
    RESTAURANT_CLOSED = "restaurant_closed", "The restaurant has closed"
    OUT_OF_ITEMS = "out_of_items", "The restaurant has run out of something you ordered"
    COURIER_NOT_FOUND = "courier_not_found", "No runner could be found for your order"
    ORDER_TIMED_OUT = "order_timed_out", "Order timed out (30 minutes)"
    DUPLICATE_ORDER = "duplicate_order", "The order was placed twice"
    OTHER = "other", "Cancelled for another reason"


def explanation(reason_code: str, reason: str = "") -> str:
    """The sentence for the customer: `reason` if there is one, else the code's own."""
    return reason or str(CancelReason(reason_code).label)
