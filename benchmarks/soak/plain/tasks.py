"""Eight steps and one compensation. `order` is the saga's input as JSON, with the ids of the order and the payment."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from celery import chain
from django.db import DatabaseError, InterfaceError, connection, transaction

from benchmarks.soak.plain.app import app
from orders import inventory, services
from orders.models import Order, OrderStatus, StockReservation
from payments import steps as payments
from payments.errors import GatewayUnavailable
from payments.models import EscrowTransaction
from sagas.errors import Refusal
from timers import steps as timers

OrderData = dict[str, Any]
CALL_SECONDS = 4.0
RETRIED: dict[str, Any] = {
    "autoretry_for": (GatewayUnavailable, DatabaseError, InterfaceError), "dont_autoretry_for": (Refusal,),
    "retry_backoff": True, "retry_backoff_max": 10, "max_retries": 5,
}  # fmt: skip
MANY_RETRIES = RETRIED | {"max_retries": 20}
#: One row for each execution of a step that ended, for the table at the end of the run.
RUNS = "CREATE TABLE IF NOT EXISTS plain_run (order_id uuid NOT NULL, step text NOT NULL)"


def begin(order: OrderData) -> None:
    """Send the whole chain. If any step fails, Celery calls the compensation."""
    links = (
        create_order, validate_inventory, reserve_inventory, get_payment_info, authorize_payment, hold_escrow,
        confirm_order, start_timer,
    )  # fmt: skip
    chain(*(link.si(order) for link in links)).apply_async(link_error=compensate.si(order))


@app.task(**RETRIED)
@transaction.atomic
def create_order(order: OrderData) -> None:
    if not Order.objects.filter(pk=order["order_id"]).exists():
        _call(services.create_order, order)
    _record(order, "create_order")


@app.task(**RETRIED)
def validate_inventory(order: OrderData) -> None:
    if not _is_reserved(order):
        inventory.validate_inventory(lines=order["lines"])
    _record(order, "validate_inventory")


@app.task(**RETRIED)
@transaction.atomic
def reserve_inventory(order: OrderData) -> None:
    if not _is_reserved(order):
        _call(inventory.reserve_inventory, order)
    _record(order, "reserve_inventory")


@app.task(**RETRIED)
def get_payment_info(order: OrderData) -> None:
    _call(payments.get_payment_info, order)
    _record(order, "get_payment_info")


@app.task(**RETRIED)
def authorize_payment(order: OrderData) -> None:
    chosen = _call(payments.get_payment_info, order)
    _call(payments.authorize_payment, order | chosen | _remote(order))
    _record(order, "authorize_payment")


@app.task(**RETRIED)
@transaction.atomic
def hold_escrow(order: OrderData) -> None:
    if not EscrowTransaction.objects.filter(order_id=order["order_id"]).exists():
        _call(payments.hold_escrow, order)
    _record(order, "hold_escrow")


@app.task(**RETRIED)
@transaction.atomic
def confirm_order(order: OrderData) -> None:
    if not Order.objects.filter(pk=order["order_id"], status=OrderStatus.CREATED).exists():
        _call(services.confirm_order, order)
    _record(order, "confirm_order")


@app.task(**RETRIED)
@transaction.atomic
def start_timer(order: OrderData) -> None:
    _call(timers.start_timer, order)
    _record(order, "start_timer")


@app.task(**MANY_RETRIES)
def compensate(order: OrderData) -> None:
    """Undo everything, last first. Each part does nothing when there is nothing to undo."""
    data = order | {"reason": "A step failed", "reason_code": "step.failed"}
    with transaction.atomic():
        _call(timers.cancel_timer, data)
        _call(payments.cancel_escrow, data)
    _call(payments.revert_payment, data | _remote(data))
    with transaction.atomic():
        _call(inventory.release_inventory, data)
        _call(services.cancel_order, data)
        _record(order, "compensate")


def _is_reserved(order: OrderData) -> bool:
    return StockReservation.objects.filter(order_id=order["order_id"]).exists()


def _remote(order: OrderData) -> dict[str, Any]:
    return {"idempotency_key": f"plain:{order['order_id']}", "timeout": CALL_SECONDS}


def _call(function: Callable[..., Any], given: OrderData) -> Any:
    """Call the function with those values of the order that it takes."""
    return function(**{name: given[name] for name in inspect.signature(function).parameters})


def _record(order: OrderData, step: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO plain_run (order_id, step) VALUES (%s, %s)", [order["order_id"], step])
