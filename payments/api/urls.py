"""Where payments and escrow live, below `/api/` and for older clients without it."""

from __future__ import annotations

from payments.api import moves, views, webhooks
from sagas.rest.routes import both

urlpatterns = [
    *both("payments", views.PaymentList, "payments"),
    *both("payments/authorize", moves.AuthorizePayment, "payment-authorize"),
    *both("payments/release", moves.ReleasePayment, "payment-release"),
    *both("payments/capture", moves.CapturePayment, "payment-capture"),
    *both("payments/refund", moves.RefundPayment, "payment-refund"),
    *both("payments/<str:payment_id>", views.PaymentDetail, "payment"),
    *both("escrow", views.EscrowList, "escrow"),
    *both("escrow/hold", moves.HoldEscrow, "escrow-hold"),
    *both("escrow/release", moves.ReleaseEscrow, "escrow-release"),
    *both("escrow/cancel", moves.CancelEscrow, "escrow-cancel"),
    *both("escrow/<str:escrow_id>", views.EscrowDetail, "escrow-detail"),
    *both("webhooks/stripe", webhooks.StripeWebhook, "stripe-webhook"),
    *both("users/<str:user_id>/payment-info", views.PaymentInfo, "payment-info"),
]
