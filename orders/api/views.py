"""The orders API: each view parses, calls one function and renders."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders.api.callers import user_of
from orders.api.preferences import idempotency_key, if_match, wait_seconds
from orders.api.requests import CancelRequest, OrderByCustomer, OrderByUser, read_order
from orders.api.responses import (
    CancellationPreview,
    CancellationStarted,
    OrderResponse,
    OrderSagaResponse,
    OrderStarted,
)
from orders.errors import UnknownOrder
from orders.idempotency import Answer, earlier_answer, once
from orders.idempotency import Request as KeyedRequest
from orders.models import Order, OrderQuerySet
from orders.reasons import explanation
from orders.roles import decides_for_all, may_act_for_customers, may_cancel, sees_all_orders, visible_orders
from orders.use_cases import cancel, place, preview
from orders.use_cases.accept import Started
from orders.use_cases.wait import problem_of, wait_for_end
from sagas.models import SagaInstance
from sagas.rest import representation
from sagas.statuses import Status

ORDER_BODIES = PolymorphicProxySerializer(
    component_name="NewOrder", serializers=[OrderByCustomer, OrderByUser], resource_type_field_name=None
)
KEY_HEADER = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="Repeat a request with its key: one order, one answer."
)
MATCH_HEADER = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="The preview's ETag: cancel only if nothing moved since."
)
WAIT_HEADER = OpenApiParameter(
    "Prefer", str, OpenApiParameter.HEADER, description="`wait=10` answers when the saga has ended, at most 30 s."
)


class Orders(ListAPIView[Order]):
    """`GET` lists your own orders, newest first; `POST` places one."""

    serializer_class = OrderResponse
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Order]:
        if getattr(self, "swagger_fake_view", False):
            return Order.objects.none()
        mine: QuerySet[Order] = Order.objects.visible_to(self.request.user.get_username())
        return mine.prefetch_related("lines")

    @extend_schema(
        request=ORDER_BODIES,
        responses={202: OrderStarted, 201: OrderResponse},
        parameters=[KEY_HEADER, WAIT_HEADER],
        operation_id="place_order",
    )
    def post(self, request: Request) -> Response:
        keyed_request = keyed(request)
        answer = earlier_answer(keyed_request) or _place(request, keyed_request)
        return _after_waiting(request, answer)


def _place(request: Request, keyed_request: KeyedRequest) -> Answer:
    new_order = read_order(request.data)
    owner = new_order.customer_id if may_act_for_customers(user_of(request)) else request.user.get_username()
    prepared = place.prepare(new_order, owner=owner)
    return once(keyed_request, lambda: _started(place.place(prepared)))


def _started(placed: place.Placed) -> Answer:
    body = {
        "success": True,
        "saga_id": str(placed.saga_id),
        "order_id": placed.order_id,
        "status": placed.saga_status,
    }
    return Answer(202, body, location=f"/api/sagas/{placed.saga_id}")


def _after_waiting(request: Request, answer: Answer) -> Response:
    """202 at once; or, if the client would rather wait, the order, the problem that stopped it, or 202 in the end."""
    seconds = wait_seconds(request)
    if not seconds:
        return render(answer)
    saga = wait_for_end(uuid.UUID(answer.body["saga_id"]), seconds=seconds)
    order_id = answer.body["order_id"]
    problem = problem_of(saga, order_id=order_id)
    if problem is not None:
        raise problem
    if saga.status != Status.COMPLETED:
        return render(answer, **{"Preference-Applied": f"wait={seconds}"})
    body = OrderResponse(Order.objects.prefetch_related("lines").get(pk=order_id)).data
    headers = {"Location": f"/api/orders/{order_id}", "Preference-Applied": f"wait={seconds}"}
    return Response(body, status=201, headers=headers | _replay_mark(answer))


def render(answer: Answer, **headers: str) -> Response:
    location = {"Location": answer.location} if answer.location else {}
    return Response(answer.body, status=answer.status_code, headers=location | headers | _replay_mark(answer))


def _replay_mark(answer: Answer) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if answer.is_replayed else {}


def keyed(request: Request) -> KeyedRequest:
    return KeyedRequest(
        user=request.user.get_username(),
        method=str(request.method),
        path=request.path.rstrip("/"),
        key=idempotency_key(request),
        body=request.data,
    )


class OrdersOfUser(ListAPIView[Order]):
    """A customer's orders by the id they were ordered under: your own, or anybody's if you see all orders."""

    serializer_class = OrderResponse
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Order]:
        if getattr(self, "swagger_fake_view", False):
            return Order.objects.none()
        orders = Order.objects.of_customer(self.kwargs["customer_id"])
        if not sees_all_orders(user_of(self.request)):
            orders = orders.visible_to(self.request.user.get_username())
        return orders.prefetch_related("lines")


class OneOrder(APIView):
    @extend_schema(responses=OrderResponse, operation_id="read_order")
    def get(self, request: Request, order_id: str) -> Response:
        return Response(OrderResponse(find_order(request, order_id)).data)


class OrderSaga(APIView):
    @extend_schema(responses=OrderSagaResponse, operation_id="read_order_saga")
    def get(self, request: Request, order_id: str) -> Response:
        saga = SagaInstance.objects.get(pk=find_order(request, order_id).saga_id)
        return Response(representation.order_view(saga, representation.events_of(saga.pk)))


class CancelOrder(APIView):
    """`GET` shows what a cancellation would do; `POST` does it, with `If-Match` only if it is still that."""

    @extend_schema(responses=CancellationPreview, operation_id="preview_cancellation")
    def get(self, request: Request, order_id: str) -> Response:
        order = find_order(request, order_id)
        _require_may_cancel(request, order)
        shown = preview.preview(order, may_refund=decides_for_all(user_of(request)))
        return Response(CancellationPreview(asdict(shown)).data, headers={"ETag": f'"{shown.tag}"'})

    @extend_schema(
        request=CancelRequest,
        responses={202: CancellationStarted},
        parameters=[KEY_HEADER, MATCH_HEADER],
        operation_id="cancel_order",
    )
    def post(self, request: Request, order_id: str) -> Response:
        order = find_order(request, order_id)
        keyed_request = keyed(request)
        answer = earlier_answer(keyed_request) or _cancel(request, keyed_request, order)
        return render(answer)


def _cancel(request: Request, keyed_request: KeyedRequest, order: Order) -> Answer:
    user = user_of(request)
    _require_may_cancel(request, order)
    wish = CancelRequest(data=request.data or {})
    wish.is_valid(raise_exception=True)
    reason: dict[str, str] = dict(wish.validated_data)
    may_refund = decides_for_all(user)

    tag = if_match(request)

    def work() -> Answer:
        if tag:
            preview.require_unchanged(order, tag, may_refund=may_refund)
        started = cancel.cancel_or_refund(order, **reason, actor=user.get_username(), may_refund=may_refund)
        words = {"reason_code": reason["reason_code"], "reason": explanation(**reason)}
        return Answer(202, started_body(order, started) | words, f"/api/sagas/{started.saga_id}")

    return once(keyed_request, work)


def _require_may_cancel(request: Request, order: Order) -> None:
    if not may_cancel(user_of(request), order):
        raise PermissionDenied("Only the customer, the restaurant and operators cancel an order.")


def started_body(order: Order, started: Started) -> dict[str, Any]:
    return {
        "success": True,
        "saga_id": started.saga_id,
        "order_id": str(order.pk),
        "status": started.saga_status,
    }


def find_order(request: Request, order_id: str, *, among: Callable[[User], OrderQuerySet] = visible_orders) -> Order:
    """The order, if this user may know of it. Raises UnknownOrder for all else: no id, no order, somebody else's."""
    try:
        wanted = uuid.UUID(order_id)
    except ValueError:
        raise UnknownOrder(f"{order_id[:64]!r} is no order id.") from None
    order: Order | None = among(user_of(request)).prefetch_related("lines").filter(pk=wanted).first()
    if order is None:
        raise UnknownOrder(f"There is no order {wanted}.")
    return order
