"""Moving money by hand: for operators and services with the permission, never for customers.

Each request may be repeated: it finds what was done and answers the same, or says 409 when it no longer applies.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from payments import services
from payments.api.serializers import (
    AuthorizeRequest,
    CancelEscrowRequest,
    CaptureRequest,
    EscrowResponse,
    HoldRequest,
    PaymentResponse,
    RefundRequest,
    RefundResponse,
    ReleaseEscrowRequest,
    ReleaseRequest,
)
from payments.errors import KeyRequired
from payments.flows import escrow, order_locks, payout
from payments.gateways.base import within

MOVE_MONEY = "payments.move_money"
KEY_HEADER = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="The same key is the same refund."
)


class MayMoveMoney(BasePermission):
    def has_permission(self, request: Request, _view: APIView) -> bool:
        return request.user.has_perm(MOVE_MONEY)


class Move(APIView):
    permission_classes = (MayMoveMoney,)


class AuthorizePayment(Move):
    """Hold an amount on a customer's card for an order that no saga pays for."""

    @extend_schema(request=AuthorizeRequest, responses={201: PaymentResponse}, operation_id="authorize_payment")
    def post(self, request: Request) -> Response:
        wish = read(AuthorizeRequest, request)
        payment = services.authorize(
            order_id=wish["order_id"],
            owner=wish["customer_id"],
            amount_cents=wish["amount"],
            currency=wish.get("currency", settings.CURRENCY),
            payment_method=wish["payment_method"],
        )
        return Response(PaymentResponse(payment).data, status=201, headers={"Location": f"/api/payments/{payment.pk}"})


class ReleasePayment(Move):
    """Let go of an authorization."""

    @extend_schema(request=ReleaseRequest, responses=PaymentResponse, operation_id="release_payment")
    def post(self, request: Request) -> Response:
        wish = read(ReleaseRequest, request)
        payment = services.void_authorization(services.payment(wish["payment_id"]), reason=wish["reason"])
        return Response(PaymentResponse(payment).data)


class CapturePayment(Move):
    """Take the authorized amount, or part of it; the rest is released."""

    @extend_schema(request=CaptureRequest, responses=PaymentResponse, operation_id="capture_payment")
    def post(self, request: Request) -> Response:
        wish = read(CaptureRequest, request)
        payment = services.capture(services.payment(wish["payment_id"]), amount_cents=wish.get("amount"))
        return Response(PaymentResponse(payment).data)


class RefundPayment(Move):
    """Give back part of what was captured, or (without an amount) all that is left of it."""

    @extend_schema(
        request=RefundRequest, responses=RefundResponse, parameters=[KEY_HEADER], operation_id="refund_payment"
    )
    def post(self, request: Request) -> Response:
        wish = read(RefundRequest, request)
        key = request.headers.get("Idempotency-Key", "")
        if "amount" in wish and not key:
            raise KeyRequired
        payment = services.payment(wish["payment_id"])
        refund = services.refund(
            payment, amount_cents=wish.get("amount"), key=f"api:{key or 'all'}", reason=wish["reason"]
        )
        return Response(RefundResponse(refund).data)


class HoldEscrow(Move):
    """Hold an authorized payment in escrow."""

    @extend_schema(request=HoldRequest, responses={201: EscrowResponse}, operation_id="hold_escrow")
    def post(self, request: Request) -> Response:
        wish = read(HoldRequest, request)
        payment = services.payment(wish["payment_id"])
        order_locks.require_free(payment.order_id)
        held = escrow.hold_payment(payment, food_cents=wish["food_fee"], delivery_fee_cents=wish.get("delivery_fee", 0))
        return Response(EscrowResponse(held).data, status=201, headers={"Location": f"/api/escrow/{held.pk}"})


class ReleaseEscrow(Move):
    """Pay restaurant (food fee), runner (delivery fee) and platform out of escrow."""

    @extend_schema(request=ReleaseEscrowRequest, responses=EscrowResponse, operation_id="release_escrow")
    def post(self, request: Request) -> Response:
        wish = read(ReleaseEscrowRequest, request)
        order_locks.require_free(wish["order_id"])
        recipients = payout.Recipients(
            restaurant=wish["restaurant"],
            runner=wish["runner"],
            platform_fee_basis_points=services.platform_fee_basis_points(),
        )
        with within(services.REQUEST_SECONDS):
            released = payout.release_escrow(str(wish["order_id"]), recipients)
        return Response(EscrowResponse(released).data)


class CancelEscrow(Move):
    """Take a hold back."""

    @extend_schema(request=CancelEscrowRequest, responses=EscrowResponse, operation_id="cancel_escrow")
    def post(self, request: Request) -> Response:
        wish = read(CancelEscrowRequest, request)
        order_id: uuid.UUID = wish["order_id"]
        order_locks.require_free(order_id)
        return Response(EscrowResponse(escrow.cancel(order_id, reason=wish["reason"])).data)


def read(kind: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    serializer = kind(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
