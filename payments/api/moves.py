"""Moving money by hand: for operators and services with the permission, never for customers.

Each request may be repeated: it finds what was done and gives the same answer, or 409 when it no longer applies.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
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
from payments.models import Payment
from sagas.rest.bodies import read
from sagas.rest.endpoint import Endpoint
from sagas.rest.headers import KEY_HEADER
from sagas.rest.idempotency import Answer, repeatable
from sagas.rest.repeats import keyed, render

MOVE_MONEY = "payments.move_money"


class MayMoveMoney(BasePermission):
    def has_permission(self, request: Request, _view: APIView) -> bool:
        return request.user.has_perm(MOVE_MONEY)


class Move(Endpoint):
    permission_classes = (MayMoveMoney,)


class AuthorizePayment(Move):
    """Hold an amount on a customer's card for an order that no saga pays for."""

    @extend_schema(request=AuthorizeRequest, responses={201: PaymentResponse}, operation_id="authorize_payment")
    def post(self, request: Request) -> Response:
        payload = read(AuthorizeRequest, request.data)
        payment = services.authorize(
            order_id=payload["order_id"],
            owner=payload["customer_id"],
            amount_cents=payload["amount"],
            currency=payload.get("currency", settings.CURRENCY),
            payment_method=payload["payment_method"],
        )
        return Response(PaymentResponse(payment).data, status=201, headers=_location("payment", payment_id=payment.pk))


class ReleasePayment(Move):
    """Void an authorization."""

    @extend_schema(request=ReleaseRequest, responses=PaymentResponse, operation_id="release_payment")
    def post(self, request: Request) -> Response:
        payload = read(ReleaseRequest, request.data)
        payment = services.void_authorization(services.payment(payload["payment_id"]), reason=payload["reason"])
        return Response(PaymentResponse(payment).data)


class CapturePayment(Move):
    """Take the authorized amount, or part of it; the rest is released."""

    @extend_schema(request=CaptureRequest, responses=PaymentResponse, operation_id="capture_payment")
    def post(self, request: Request) -> Response:
        payload = read(CaptureRequest, request.data)
        payment = services.capture(services.payment(payload["payment_id"]), amount_cents=payload.get("amount"))
        return Response(PaymentResponse(payment).data)


class RefundPayment(Move):
    """Give back part of what was captured, or (without an amount) all that is left of it."""

    @extend_schema(
        request=RefundRequest, responses=RefundResponse, parameters=[KEY_HEADER], operation_id="refund_payment"
    )
    def post(self, request: Request) -> Response:
        payload = read(RefundRequest, request.data)
        keyed_request = keyed(request)
        if "amount" in payload and not keyed_request.key:
            raise KeyRequired
        return render(repeatable(keyed_request, lambda: _refund(payload, keyed_request.key)))


class HoldEscrow(Move):
    """Hold an authorized payment in escrow."""

    @extend_schema(request=HoldRequest, responses={201: EscrowResponse}, operation_id="hold_escrow")
    def post(self, request: Request) -> Response:
        payload = read(HoldRequest, request.data)
        payment = services.payment(payload["payment_id"])
        order_locks.require_free(payment.order_id)
        held = escrow.hold_payment(
            payment, food_cents=payload["food_fee"], delivery_fee_cents=payload.get("delivery_fee", 0)
        )
        return Response(EscrowResponse(held).data, status=201, headers=_location("escrow-detail", escrow_id=held.pk))


class ReleaseEscrow(Move):
    """Pay restaurant (food fee), runner (delivery fee) and platform out of escrow."""

    @extend_schema(request=ReleaseEscrowRequest, responses=EscrowResponse, operation_id="release_escrow")
    def post(self, request: Request) -> Response:
        payload = read(ReleaseEscrowRequest, request.data)
        order_locks.require_free(payload["order_id"])
        recipients = payout.Recipients(
            restaurant=payload["restaurant"],
            runner=payload["runner"],
            platform_fee_basis_points=services.platform_fee_basis_points(),
        )
        with within(services.REQUEST_SECONDS):
            released = payout.release_escrow(str(payload["order_id"]), recipients)
        return Response(EscrowResponse(released).data)


class CancelEscrow(Move):
    """Cancel a hold."""

    @extend_schema(request=CancelEscrowRequest, responses=EscrowResponse, operation_id="cancel_escrow")
    def post(self, request: Request) -> Response:
        payload = read(CancelEscrowRequest, request.data)
        order_id: uuid.UUID = payload["order_id"]
        order_locks.require_free(order_id)
        return Response(EscrowResponse(escrow.cancel(order_id, reason=payload["reason"])).data)


def _refund(payload: dict[str, Any], key: str) -> Answer:
    """Refund once for each key: the refund's own id is made from it, so the work is safe to repeat."""
    payment: Payment = services.payment(payload["payment_id"])
    refund = services.refund(
        payment, amount_cents=payload.get("amount"), key=f"api:{key or 'all'}", reason=payload["reason"]
    )
    return Answer(200, dict(RefundResponse(refund).data))


def _location(name: str, **kwargs: uuid.UUID) -> dict[str, str]:
    return {"Location": reverse(name, kwargs=kwargs)}
