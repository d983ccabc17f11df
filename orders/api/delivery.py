"""What runners do: look for orders, take one, bring it."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders.api.callers import user_of
from orders.api.responses import OrderResponse, OrderStarted
from orders.api.views import KEY_HEADER, find_order, keyed, render, started_body
from orders.idempotency import Answer, earlier_answer, once
from orders.models import Order
from orders.roles import RUNNER, decides_for_all, offered_orders, roles_of, sees_all_orders
from orders.use_cases import accept


class AvailableOrders(ListAPIView[Order]):
    """Orders that wait for a runner, newest first."""

    serializer_class = OrderResponse
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Order]:
        if getattr(self, "swagger_fake_view", False):
            return Order.objects.none()
        user = user_of(self.request)
        if not (RUNNER in roles_of(user) or sees_all_orders(user)):
            raise PermissionDenied("Only runners look for orders to bring.")
        waiting: QuerySet[Order] = Order.objects.waiting_for_a_runner()
        return waiting.prefetch_related("lines")


class AcceptOrder(APIView):
    """Take an order: the first runner gets it, every other one 409. The customer's money is captured next."""

    @extend_schema(request=None, responses=OrderStarted, parameters=[KEY_HEADER], operation_id="accept_order")
    def post(self, request: Request, order_id: str) -> Response:
        user = user_of(request)
        order = find_order(request, order_id, among=offered_orders)
        if RUNNER not in roles_of(user):
            raise PermissionDenied("Only runners accept orders.")

        def work() -> Answer:
            started = accept.accept(order, runner=user.get_username())
            return Answer(200, started_body(order, started), f"/api/sagas/{started.saga_id}")

        return _once(request, work)


class CompleteOrder(APIView):
    """The order is delivered: everybody is paid next."""

    @extend_schema(request=None, responses=OrderStarted, parameters=[KEY_HEADER], operation_id="complete_order")
    def post(self, request: Request, order_id: str) -> Response:
        user = user_of(request)
        order = find_order(request, order_id)
        if order.runner != user.get_username() and not decides_for_all(user):
            raise PermissionDenied("Only the runner who carries an order completes it.")

        def work() -> Answer:
            started = accept.complete(order)
            return Answer(200, started_body(order, started), f"/api/sagas/{started.saga_id}")

        return _once(request, work)


def _once(request: Request, work: Callable[[], Answer]) -> Response:
    keyed_request = keyed(request)
    return render(earlier_answer(keyed_request) or once(keyed_request, work))
