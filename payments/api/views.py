"""Payments and escrow over HTTP. Customers see their own; staff and holders of the view permission see all."""

from __future__ import annotations

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


class EscrowList(ListEndpoint[EscrowTransaction]):
    """Escrow holds and releases, newest first."""

    model = EscrowTransaction
    serializer_class = EscrowResponse
    filterset_class = EscrowFilter


class PaymentDetail(Endpoint):
    @extend_schema(responses=PaymentResponse, operation_id="read_payment")
    def get(self, request: Request, payment_id: str) -> Response:
        mine = access.visible(Payment.objects.all(), user_of(request))
        return Response(PaymentResponse(access.find(mine, payment_id, UnknownPayment, "payment")).data)


class EscrowDetail(Endpoint):
    @extend_schema(responses=EscrowResponse, operation_id="read_escrow")
    def get(self, request: Request, escrow_id: str) -> Response:
        mine = access.visible(EscrowTransaction.objects.all(), user_of(request))
        return Response(EscrowResponse(access.find(mine, escrow_id, UnknownEscrow, "escrow")).data)


class PaymentInfo(Endpoint):
    """The stored card of a user: brand and last four digits."""

    @extend_schema(responses=PaymentInfoResponse, operation_id="read_payment_info")
    def get(self, request: Request, user_id: str) -> Response:
        is_own = user_id == request.user.get_username()
        is_visible = is_own or access.sees_all(user_of(request), Payment)
        stored = services.stored_method(user_id) if is_visible else None
        if stored is None:
            raise UnknownCustomer(f"There is no stored payment method for {user_id[:64]!r}.")
        body = {"user_id": user_id, "brand": stored.brand, "last4": stored.last4}
        return Response(PaymentInfoResponse(body).data)
