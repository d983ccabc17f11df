"""The orders API: each view parses, calls one function and renders."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

import sagas
from orders.api.requests import CancelRequest, OrderByCustomer, OrderByUser, read_order
from orders.api.responses import (
    CancellationPreview,
    CancellationStarted,
    OrderResponse,
    OrderSagaResponse,
    OrderStarted,
    order_saga,
)
from orders.errors import UnknownOrder
from orders.models import Order, OrderQuerySet
from orders.reasons import explanation
from orders.roles import decides_for_all, may_act_for_customers, may_cancel, sees_all_orders, visible_orders
from orders.use_cases import cancel, place, preview
from orders.use_cases.accept import Started
from orders.use_cases.wait import problem_of, wait_for_end
from sagas import Status
from sagas.rest import access
from sagas.rest.access import user_of
from sagas.rest.bodies import read
from sagas.rest.endpoint import Endpoint, ListEndpoint
from sagas.rest.headers import CANCEL_HEADERS, KEY_HEADER, WAIT_HEADER, check_precondition, etag, wait_seconds
from sagas.rest.idempotency import Answer
from sagas.rest.repeats import answer_once, render, replay_mark

ORDER_BODIES = PolymorphicProxySerializer(
    component_name="NewOrder", serializers=[OrderByCustomer, OrderByUser], resource_type_field_name=None
)


class OrderList(ListEndpoint[Order]):
    """A list of orders with their lines."""

    model = Order
    serializer_class = OrderResponse

    def get_queryset(self) -> QuerySet[Order]:
        return super().get_queryset().prefetch_related("lines")


class Orders(OrderList):
    """`GET` lists your own orders, newest first; `POST` places one."""

    def rows(self, user: User) -> QuerySet[Order]:
        return Order.objects.visible_to(user.get_username())

    @extend_schema(
        request=ORDER_BODIES,
        responses={202: OrderStarted, 201: OrderResponse},
        parameters=[KEY_HEADER, WAIT_HEADER],
        operation_id="place_order",
    )
    def post(self, request: Request) -> Response:
        answer = answer_once(request, lambda: _placing(request))
        return _after_waiting(request, answer)


def _placing(request: Request) -> Callable[[], Answer]:
    new_order = read_order(request.data)
    owner = new_order.customer_id if may_act_for_customers(user_of(request)) else request.user.get_username()
    prepared = place.prepare(new_order, owner=owner)
    return lambda: _placed(place.place(prepared))


def _placed(placed: place.Placed) -> Answer:
    return _started(202, {"saga_id": placed.saga_id, "order_id": placed.order_id, "status": placed.saga_status})


def _after_waiting(request: Request, answer: Answer) -> Response:
    """202 at once; or, if the client prefers to wait, the order, the problem that stopped it, or 202 in the end."""
    seconds = wait_seconds(request)
    if not seconds:
        return render(answer)
    saga = wait_for_end(uuid.UUID(answer.body["saga_id"]), seconds=seconds)
    order_id = answer.body["order_id"]
    problem = problem_of(saga, order_id=order_id)
    if problem is not None:
        raise problem
    applied = {"Preference-Applied": f"wait={seconds}"}
    if saga.status != Status.COMPLETED:
        return render(answer, **applied)
    body = OrderResponse(Order.objects.prefetch_related("lines").get(pk=order_id)).data
    return Response(body, status=201, headers={"Location": _address(order_id)} | applied | replay_mark(answer))


class OrdersOfUser(OrderList):
    """A customer's orders by the id they were ordered under: your own, or anybody's if you see all orders."""

    def rows(self, user: User) -> QuerySet[Order]:
        orders: OrderQuerySet = Order.objects.of_customer(self.kwargs["customer_id"])
        return orders if sees_all_orders(user) else orders.visible_to(user.get_username())


class OneOrder(Endpoint):
    @extend_schema(responses=OrderResponse, operation_id="read_order")
    def get(self, request: Request, order_id: str) -> Response:
        return Response(OrderResponse(find_order(request, order_id)).data)


class OrderSaga(Endpoint):
    @extend_schema(responses=OrderSagaResponse, operation_id="read_order_saga")
    def get(self, request: Request, order_id: str) -> Response:
        saga = sagas.find(find_order(request, order_id).saga_id)
        return Response(order_saga(saga, sagas.history(saga.id)))


class CancelOrder(Endpoint):
    """`GET` shows what a cancellation would do; `POST` does it, with `If-Match` only if it is still that."""

    @extend_schema(responses=CancellationPreview, operation_id="preview_cancellation")
    def get(self, request: Request, order_id: str) -> Response:
        order = find_order(request, order_id)
        _require_may_cancel(request, order)
        shown = preview.preview(order, may_refund=decides_for_all(user_of(request)))
        return Response(CancellationPreview(asdict(shown)).data, headers=etag(shown.tag))

    @extend_schema(
        request=CancelRequest,
        responses={202: CancellationStarted},
        parameters=CANCEL_HEADERS,
        operation_id="cancel_order",
    )
    def post(self, request: Request, order_id: str) -> Response:
        order = find_order(request, order_id)
        return render(answer_once(request, lambda: _cancellation(request, order)))


def _cancellation(request: Request, order: Order) -> Callable[[], Answer]:
    user = user_of(request)
    _require_may_cancel(request, order)
    reason: dict[str, str] = read(CancelRequest, request.data or {})
    may_refund = decides_for_all(user)

    def work() -> Answer:
        check_precondition(request, partial(preview.require_unchanged, order, may_refund=may_refund))
        started = cancel.cancel_or_refund(order, **reason, actor=user.get_username(), may_refund=may_refund)
        words = {"reason_code": reason["reason_code"], "reason": explanation(**reason)}
        return started_answer(202, order, started, **words)

    return work


def _require_may_cancel(request: Request, order: Order) -> None:
    if not may_cancel(user_of(request), order):
        raise PermissionDenied("Only the customer, the restaurant and operators cancel an order.")


def started_answer(status_code: int, order: Order, started: Started, **more: str) -> Answer:
    """The answer to a request that has started a saga about an order."""
    ids = {"saga_id": started.saga_id, "order_id": str(order.pk), "status": started.saga_status}
    return _started(status_code, ids | more)


def _started(status_code: int, body: dict[str, Any]) -> Answer:
    location = reverse("saga", kwargs={"saga_id": body["saga_id"]})
    return Answer(status_code, {"success": True} | body, location)


def _address(order_id: str) -> str:
    return reverse("order", kwargs={"order_id": order_id})


def find_order(request: Request, order_id: str, *, among: Callable[[User], OrderQuerySet] = visible_orders) -> Order:
    """The order, if this user may know of it. Raises UnknownOrder for everything else."""
    orders: QuerySet[Order] = among(user_of(request)).prefetch_related("lines")
    return access.find(orders, order_id, UnknownOrder, "order")
