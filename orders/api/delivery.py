"""What runners do: look for orders, take one, bring it."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from orders.api.responses import OrderStarted
from orders.api.views import OrderList, find_order, started_answer
from orders.models import Order
from orders.roles import RUNNER, decides_for_all, offered_orders, roles_of, sees_all_orders
from orders.use_cases import accept
from sagas.rest.access import user_of
from sagas.rest.endpoint import Endpoint
from sagas.rest.headers import KEY_HEADER
from sagas.rest.idempotency import Answer
from sagas.rest.repeats import answer_once, render


class AvailableOrders(OrderList):
    """Orders that wait for a runner, newest first."""

    def rows(self, user: User) -> QuerySet[Order]:
        if not (RUNNER in roles_of(user) or sees_all_orders(user)):
            raise PermissionDenied("Only runners look for orders to bring.")
        return Order.objects.waiting_for_a_runner()


class AcceptOrder(Endpoint):
    """Take an order: the first runner gets it, every other one 409. The customer's money is captured next."""

    @extend_schema(request=None, responses=OrderStarted, parameters=[KEY_HEADER], operation_id="accept_order")
    def post(self, request: Request, order_id: str) -> Response:
        user = user_of(request)
        order = find_order(request, order_id, among=offered_orders)
        if RUNNER not in roles_of(user):
            raise PermissionDenied("Only runners accept orders.")

        def work() -> Answer:
            return started_answer(200, order, accept.accept(order, runner=user.get_username()))

        return render(answer_once(request, lambda: work))


class CompleteOrder(Endpoint):
    """The order is delivered: everybody is paid next."""

    @extend_schema(request=None, responses=OrderStarted, parameters=[KEY_HEADER], operation_id="complete_order")
    def post(self, request: Request, order_id: str) -> Response:
        user = user_of(request)
        order = find_order(request, order_id)
        if order.runner != user.get_username() and not decides_for_all(user):
            raise PermissionDenied("Only the runner who carries an order completes it.")

        def work() -> Answer:
            return started_answer(200, order, accept.complete(order))

        return render(answer_once(request, lambda: work))
