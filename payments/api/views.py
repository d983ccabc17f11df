"""Payments and escrow over HTTP. Customers see their own; staff and holders of the view permission see all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from payments import services
from payments.api.serializers import EscrowResponse, PaymentInfoResponse, PaymentResponse
from payments.errors import UnknownCustomer, UnknownEscrow, UnknownPayment
from payments.models import EscrowTransaction, Payment
from sagas.rest import access
from sagas.rest.access import user_of
from sagas.rest.endpoint import Endpoint, ListEndpoint

if TYPE_CHECKING:
    from django.contrib.auth.models import User

VIEW_PAYMENTS = "payments.view_payment"
VIEW_ESCROW = "payments.view_escrowtransaction"


def visible_payments(user: User) -> QuerySet[Payment]:
    return access.visible(Payment.objects.all(), user, VIEW_PAYMENTS)


def visible_escrow(user: User) -> QuerySet[EscrowTransaction]:
    return access.visible(EscrowTransaction.objects.all(), user, VIEW_ESCROW)


class PaymentFilter(filters.FilterSet):
    status = filters.MultipleChoiceFilter(choices=Payment.Status.choices)
    order_id = filters.UUIDFilter()


class EscrowFilter(filters.FilterSet):
    status = filters.MultipleChoiceFilter(choices=EscrowTransaction.Status.choices)
    order_id = filters.UUIDFilter()


class PaymentList(ListEndpoint[Payment]):
    """Payments, newest first."""

    model = Payment
    serializer_class = PaymentResponse
    filterset_class = PaymentFilter

    def rows(self, user: User) -> QuerySet[Payment]:
        return visible_payments(user)


class EscrowList(ListEndpoint[EscrowTransaction]):
    """Escrow holds and releases, newest first."""

    model = EscrowTransaction
    serializer_class = EscrowResponse
    filterset_class = EscrowFilter

    def rows(self, user: User) -> QuerySet[EscrowTransaction]:
        return visible_escrow(user)


class PaymentDetail(Endpoint):
    @extend_schema(responses=PaymentResponse, operation_id="read_payment")
    def get(self, request: Request, payment_id: str) -> Response:
        payment = access.find(visible_payments(user_of(request)), payment_id, UnknownPayment, "payment")
        return Response(PaymentResponse(payment).data)


class EscrowDetail(Endpoint):
    @extend_schema(responses=EscrowResponse, operation_id="read_escrow")
    def get(self, request: Request, escrow_id: str) -> Response:
        escrow = access.find(visible_escrow(user_of(request)), escrow_id, UnknownEscrow, "escrow")
        return Response(EscrowResponse(escrow).data)


class PaymentInfo(Endpoint):
    """The stored card of a user: brand and last four digits."""

    @extend_schema(responses=PaymentInfoResponse, operation_id="read_payment_info")
    def get(self, request: Request, user_id: str) -> Response:
        is_own = user_id == request.user.get_username()
        is_visible = is_own or access.may(user_of(request), VIEW_PAYMENTS)
        stored = services.stored_method(user_id) if is_visible else None
        if stored is None:
            raise UnknownCustomer(f"There is no stored payment method for {user_id[:64]!r}.")
        body = {"user_id": user_id, "brand": stored.brand, "last4": stored.last4}
        return Response(PaymentInfoResponse(body).data)
