"""Where payments and escrow live: under /api/ and at the seeds' bare paths, with and without a trailing slash."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, path

from payments.api import moves, views, webhooks


def everywhere(route: str, view: Any, name: str) -> list[URLPattern]:
    """The documented address first; the others answer the same and stay out of the schema."""
    hidden = view.as_view(schema=None)
    return [
        path(f"api/{route}", view.as_view(), name=name),
        path(f"api/{route}/", hidden),
        path(route, hidden),
        path(f"{route}/", hidden),
    ]


urlpatterns = [
    *everywhere("payments", views.PaymentList, "payments"),
    *everywhere("payments/authorize", moves.AuthorizePayment, "payment-authorize"),
    *everywhere("payments/release", moves.ReleasePayment, "payment-release"),
    *everywhere("payments/capture", moves.CapturePayment, "payment-capture"),
    *everywhere("payments/refund", moves.RefundPayment, "payment-refund"),
    *everywhere("payments/<str:payment_id>", views.PaymentDetail, "payment"),
    *everywhere("escrow", views.EscrowList, "escrow"),
    *everywhere("escrow/hold", moves.HoldEscrow, "escrow-hold"),
    *everywhere("escrow/release", moves.ReleaseEscrow, "escrow-release"),
    *everywhere("escrow/cancel", moves.CancelEscrow, "escrow-cancel"),
    *everywhere("escrow/<str:escrow_id>", views.EscrowDetail, "escrow-detail"),
    *everywhere("webhooks/stripe", webhooks.StripeWebhook, "stripe-webhook"),
    *everywhere("users/<str:user_id>/payment-info", views.PaymentInfo, "payment-info"),
]
