"""Payments and escrow over HTTP. Customers see their own; staff and holders of the view permission see all."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models import Model, QuerySet
from django_filters import rest_framework as filters  # type: ignore[import-untyped]
from drf_spectacular.utils import extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from payments import services
from payments.api.serializers import EscrowResponse, PaymentInfoResponse, PaymentResponse
from payments.errors import UnknownCustomer, UnknownEscrow, UnknownPayment
from payments.models import EscrowTransaction, Payment

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Row = TypeVar("Row", bound=Model)
VIEW_PAYMENTS = "payments.view_payment"
VIEW_ESCROW = "payments.view_escrowtransaction"


class PaymentFilter(filters.FilterSet):  # type: ignore[misc]
    status = filters.MultipleChoiceFilter(choices=Payment.Status.choices)
    order_id = filters.UUIDFilter()


class EscrowFilter(filters.FilterSet):  # type: ignore[misc]
    status = filters.MultipleChoiceFilter(choices=EscrowTransaction.Status.choices)
    order_id = filters.UUIDFilter()


class PaymentList(ListAPIView[Payment]):
    """Payments, newest first."""

    serializer_class = PaymentResponse
    filterset_class = PaymentFilter
    queryset = Payment.objects.all()

    def get_queryset(self) -> QuerySet[Payment]:
        return visible(super().get_queryset(), self.request.user, VIEW_PAYMENTS)


class EscrowList(ListAPIView[EscrowTransaction]):
    """Escrow holds and releases, newest first."""

    serializer_class = EscrowResponse
    filterset_class = EscrowFilter
    queryset = EscrowTransaction.objects.all()

    def get_queryset(self) -> QuerySet[EscrowTransaction]:
        return visible(super().get_queryset(), self.request.user, VIEW_ESCROW)


class PaymentDetail(APIView):
    @extend_schema(responses=PaymentResponse, operation_id="read_payment")
    def get(self, request: Request, payment_id: str) -> Response:
        mine = visible(Payment.objects.all(), request.user, VIEW_PAYMENTS)
        payment = found(mine, payment_id)
        if payment is None:
            raise UnknownPayment(f"There is no payment {payment_id[:64]!r}.")
        return Response(PaymentResponse(payment).data)


class EscrowDetail(APIView):
    @extend_schema(responses=EscrowResponse, operation_id="read_escrow")
    def get(self, request: Request, escrow_id: str) -> Response:
        mine = visible(EscrowTransaction.objects.all(), request.user, VIEW_ESCROW)
        escrow = found(mine, escrow_id)
        if escrow is None:
            raise UnknownEscrow(f"There is no escrow {escrow_id[:64]!r}.")
        return Response(EscrowResponse(escrow).data)


class PaymentInfo(APIView):
    """The stored card of a user: brand and last four digits."""

    @extend_schema(responses=PaymentInfoResponse, operation_id="read_payment_info")
    def get(self, request: Request, user_id: str) -> Response:
        if user_id != request.user.get_username() and not sees_all(request.user, VIEW_PAYMENTS):
            raise UnknownCustomer(f"There is no customer {user_id[:64]!r}.")
        stored = services.stored_method(user_id)
        if stored is None:
            raise UnknownCustomer(f"There is no stored payment method for {user_id[:64]!r}.")
        body = {"user_id": user_id, "brand": stored.brand, "last4": stored.last4}
        return Response(PaymentInfoResponse(body).data)


def visible(rows: QuerySet[Row], user: User | Any, permission: str) -> QuerySet[Row]:
    return rows if sees_all(user, permission) else rows.filter(owner=user.get_username())


def sees_all(user: User | Any, permission: str) -> bool:
    return user.is_staff or user.has_perm(permission)


def found(rows: QuerySet[Row], text: str) -> Row | None:
    """The row with this id. What is no id at all is as unknown as an id nobody has."""
    try:
        return rows.filter(pk=uuid.UUID(text)).first()
    except ValueError:
        return None
