"""What must hold for every order, its money, its food, its timer and the stored answers about it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import BigIntegerField, Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Round, StrIndex

from orders.models import MenuItem, Order, OrderLine, OrderStatus, StockReservation
from orders.roles import SYSTEM
from orders.use_cases.expire import REASON_CODE
from payments.models import EscrowTransaction, Payment, PaymentStatus, TransactionStatus, TransactionType
from sagas import (
    Breach,
    Invariant,
    Status,
    UuidOfText,
    UuidText,
    differences,
    register_invariants,
    saga_rows,
    settled_by_hand,
)
from sagas.rest.idempotency import IdempotencyKey
from timers.models import ScheduledEvent

#: How long after its window an order may still be CREATED before that is a breach and not a sweep on its way.
LATE = timedelta(minutes=5)

PLACED = (OrderStatus.CREATED, OrderStatus.ACCEPTED)
OVER = (OrderStatus.CANCELLED, OrderStatus.FAILED)
LIVE_PAYMENT = (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURING, PaymentStatus.VOIDING)
#: The authorization lives or was used; what was captured may have been given back by hand.
SECURED = (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURING, PaymentStatus.CAPTURED, PaymentStatus.REFUNDED)


# -- I1: a placed order has its money -------------------------------------------------------------------------------
def without_authorization() -> Iterator[Breach]:
    secured = Payment.objects.filter(
        pk=OuterRef("payment_id"), order_id=OuterRef("pk"), status__in=SECURED, amount_cents=OuterRef("cents")
    )
    payment_status = Subquery(Payment.objects.filter(order_id=OuterRef("pk")).values("status")[:1])
    for order in _placed().filter(~Exists(secured)).annotate(payment_status=payment_status).iterator():
        payment = order.payment_status or "missing"
        yield Breach(f"order {order.pk}", f"{order.status} for {order.cents} cents, its payment is {payment}")


def without_escrow() -> Iterator[Breach]:
    held = EscrowTransaction.objects.filter(
        order_id=OuterRef("pk"), payment_id=OuterRef("payment_id"), type=TransactionType.HOLD,
        status=TransactionStatus.HELD, amount_cents=OuterRef("cents"),
    )  # fmt: skip
    for order in _placed().filter(~Exists(held)).iterator():
        yield Breach(f"order {order.pk}", f"{order.status}, its {order.cents} cents are not held in escrow")


def _placed() -> QuerySet[Any]:
    cents = Cast(Round(F("total_amount") * 100), BigIntegerField())
    placed: QuerySet[Any] = Order.objects.filter(status__in=PLACED).annotate(cents=cents).order_by("pk")
    return placed


# -- I2: an order that is over holds nothing ------------------------------------------------------------------------
def money_left() -> Iterator[Breach]:
    kept = Q(status__in=LIVE_PAYMENT) | ~Q(captured_cents=F("refunded_cents"))
    left = Payment.objects.filter(kept, order_id=OuterRef("pk"))
    columns = {name: Subquery(left.values(name)[:1]) for name in ("status", "captured_cents", "refunded_cents")}
    found = _over().filter(Exists(left)).annotate(**{f"payment_{name}": value for name, value in columns.items()})
    for order in found.iterator():
        cents = f"captured {order.payment_captured_cents}, refunded {order.payment_refunded_cents} cents"
        yield Breach(f"order {order.pk}", f"{order.status}, its payment is {order.payment_status}: {cents}")


def escrow_left() -> Iterator[Breach]:
    kept = (TransactionStatus.HELD, TransactionStatus.RELEASING)
    held = EscrowTransaction.objects.filter(order_id=OuterRef("pk"), type=TransactionType.HOLD, status__in=kept)
    for order in _over().filter(Exists(held)).iterator():
        yield Breach(f"order {order.pk}", f"{order.status}, its escrow is still held")


def food_left() -> Iterator[Breach]:
    held = StockReservation.objects.held().filter(order_id=OuterRef("pk"))
    for order in _over().filter(Exists(held)).iterator():
        yield Breach(f"order {order.pk}", f"{order.status}, food is still reserved for it")


def timer_left() -> Iterator[Breach]:
    for order in _over().filter(Exists(_live_timer())).iterator():
        yield Breach(f"order {order.pk}", f"{order.status}, its timer is still scheduled")


def _over() -> QuerySet[Any]:
    over: QuerySet[Any] = Order.objects.filter(status__in=OVER).order_by("pk")
    return over


def _live_timer() -> QuerySet[Any]:
    timers = ScheduledEvent.objects.live().filter(event_type=settings.ORDER_ACCEPTANCE_EVENT)
    live: QuerySet[Any] = timers.filter(entity_id=UuidText(OuterRef("pk")))
    return live


# -- I6: stock ------------------------------------------------------------------------------------------------------
def stock_that_differs() -> Iterator[Breach]:
    for item in MenuItem.objects.filter(Q(reserved__lt=0) | Q(reserved__gt=F("stock"))).order_by("pk"):
        yield Breach(f"item {item.pk}", f"{item.reserved} reserved of {item.stock} on hand")
    of_orders = StockReservation.objects.held().values_list("item_id").annotate(quantity=Sum("quantity"))
    on_items = MenuItem.objects.exclude(reserved=0).values_list("pk", "reserved")
    for (sku,), quantity, reserved in differences(of_orders, on_items):
        yield Breach(f"item {sku}", f"{reserved or 0} reserved, {quantity or 0} in reservations of orders")


def placed_without_food() -> Iterator[Breach]:
    lines = OrderLine.objects.filter(order__status__in=PLACED, sku__isnull=False)
    wanted = lines.values_list("order_id", "sku").annotate(ordered=Sum("quantity"))
    held = StockReservation.objects.held().filter(order__status__in=PLACED)
    kept = held.values_list("order_id", "item_id").annotate(ordered=Sum("quantity"))
    for (order_id, sku), ordered, reserved in differences(wanted, kept):
        yield Breach(f"order {order_id}", f"{ordered or 0} × {sku} ordered, {reserved or 0} reserved")


# -- I9: the order has the status its saga gave it ------------------------------------------------------------------
def orders_unlike_their_saga() -> Iterator[Breach]:
    """Orders without a saga, and orders whose saga ended in another way. Sagas ended by hand do not count."""
    saga = saga_rows().filter(pk=OuterRef("saga_id"))
    by_hand = settled_by_hand().filter(saga_id=OuterRef("saga_id"))
    refund = saga_rows().filter(name="refund_order", subject=UuidText(OuterRef("pk")))
    placed_or_refunded = Q(status__in=(*PLACED, OrderStatus.COMPLETED)) | (
        Q(status__in=(OrderStatus.CANCELLING, OrderStatus.CANCELLED)) & Exists(refund)
    )
    ended_differently = (
        Exists(saga.filter(status=Status.COMPLETED)) & ~placed_or_refunded
        | Exists(saga.filter(status__in=(Status.COMPENSATED, Status.FAILED))) & ~Q(status=OrderStatus.FAILED)
        | Exists(saga.filter(status=Status.CANCELLED)) & ~Q(status=OrderStatus.CANCELLED)
    )
    wrong: QuerySet[Any] = Order.objects.filter(~Exists(saga) | ended_differently & ~Exists(by_hand)).order_by("pk")
    for order in wrong.annotate(saga_status=Subquery(saga.values("status")[:1])).iterator():
        yield Breach(f"order {order.pk}", f"{order.status}, its saga is {order.saga_status or 'missing'}")


def deleted_orders() -> Iterator[Breach]:
    order = Order.objects.filter(saga_id=OuterRef("pk"))
    for saga in saga_rows().filter(~Exists(order), name="create_order").order_by("pk").iterator():
        yield Breach(f"order {saga.subject}", f"is gone; its saga {saga.pk} is {saga.status}")


# -- I13: one key, one order ----------------------------------------------------------------------------------------
def answers_with_a_wrong_order() -> Iterator[Breach]:
    """Stored answers whose order does not exist, belongs to another user, or was not made by that request."""
    placed = Order.objects.filter(pk=UuidOfText(OuterRef("order")), saga_id=UuidOfText(OuterRef("saga")))
    of_user = placed.filter(Q(owner=OuterRef("user")) | Q(customer_id=OuterRef("user")) | Q(owner=F("customer_id")))
    named = Order.objects.filter(pk=UuidOfText(OuterRef("order")))
    in_path = named.annotate(place=StrIndex(OuterRef("path"), UuidText("pk"))).filter(place__gt=0)
    is_placing = Q(path__endswith="/orders")
    wrong = _stored_answers().filter(is_placing & ~Exists(of_user) | ~is_placing & ~Exists(in_path))
    for pk, user, path, order in wrong.order_by("pk").values_list("pk", "user", "path", "order"):
        detail = f"{path} of {user} is answered with order {order}, which that request did not make"
        yield Breach(f"idempotency key {pk}", detail)


def keys_that_clash() -> Iterator[Breach]:
    keys = IdempotencyKey.objects.order_by().values_list("user", "method", "path", "key")
    for user, method, path, key, times in keys.annotate(times=Count("pk")).filter(times__gt=1):
        yield Breach(f"idempotency key {key}", f"{times} answers to {method} {path} of {user}")
    placing = _stored_answers().filter(path__endswith="/orders").order_by().values_list("order")
    for order, times in placing.annotate(times=Count("pk")).filter(times__gt=1):
        yield Breach(f"order {order}", f"was placed by {times} keys")


def _stored_answers() -> QuerySet[Any]:
    keys = IdempotencyKey.objects.annotate(order=KT("response__order_id"), saga=KT("response__saga_id"))
    return keys.filter(order__isnull=False)


# -- I14: time ------------------------------------------------------------------------------------------------------
def without_timer() -> Iterator[Breach]:
    """Orders that wait for a runner within their window, and whose saga has started their timer."""
    is_set_up = Exists(saga_rows().filter(pk=OuterRef("saga_id"), status=Status.COMPLETED))
    waiting = Order.objects.waiting_for_a_runner().filter(is_set_up, ~Exists(_live_timer()))
    for order in waiting.order_by("pk").iterator():
        yield Breach(f"order {order.pk}", f"CREATED until {order.accept_by:%Y-%m-%d %H:%M:%S}, no timer is scheduled")


def not_cancelled() -> Iterator[Breach]:
    for order in Order.objects.past_acceptance(grace=LATE).order_by("accept_by").iterator():
        yield Breach(f"order {order.pk}", f"still CREATED, its window closed at {order.accept_by:%Y-%m-%d %H:%M:%S}")


def timed_out_wrongly() -> Iterator[Breach]:
    timed_out = Order.objects.filter(status=OrderStatus.CANCELLED, reason_code=REASON_CODE, cancelled_by=SYSTEM)
    for order in timed_out.filter(Q(updated_at__lt=F("accept_by")) | ~Q(runner="")).order_by("pk").iterator():
        who = f"accepted by {order.runner}" if order.runner else f"open until {order.accept_by}"
        yield Breach(f"order {order.pk}", f"timed out at {order.updated_at} although {who}")


_ADMIN = "look at the order and its saga in the admin"
_CANCEL = "release it through the payments API, with the order's id as the reason"
INVARIANTS = (
    Invariant(
        "I1", "a created or accepted order has one authorization of its total", "orders",
        Order.objects.filter(status__in=PLACED), without_authorization,
        "Nobody pays for this order: stop the delivery, cancel the order, then `manage.py reconcile --no-heal`.",
    ),
    Invariant(
        "I1", "a created or accepted order has its total in escrow", "orders",
        Order.objects.filter(status__in=PLACED), without_escrow,
        f"Restaurant and runner could not be paid: {_ADMIN}; cancel the order if nobody carries it yet.",
    ),
    Invariant(
        "I2", "a cancelled or failed order keeps no money", "orders",
        Order.objects.filter(status__in=OVER), money_left,
        f"`manage.py reconcile` voids what the provider still holds; otherwise {_CANCEL}.",
    ),
    Invariant(
        "I2", "a cancelled or failed order keeps no escrow", "orders",
        Order.objects.filter(status__in=OVER), escrow_left,
        f"{_ADMIN.capitalize()}; then cancel its escrow through the payments API.",
    ),
    Invariant(
        "I2", "a cancelled or failed order keeps no food", "orders",
        Order.objects.filter(status__in=OVER), food_left,
        "`manage.py shell -c \"from django.db import transaction; from orders import inventory; "
        "transaction.atomic(inventory.release_inventory)(order_id='ORDER_ID')\"` gives it back.",
    ),
    Invariant(
        "I2", "a cancelled or failed order keeps no timer", "orders",
        Order.objects.filter(status__in=OVER), timer_left,
        "It will fire and find nothing to do. Cancel it through the timers API, and find out who started it.",
    ),
    Invariant(
        "I6", "reserved stock is on hand, and is the sum of the reservations", "items",
        MenuItem.objects.all(), stock_that_differs,
        "Too much reserved: food is not sold. Too little: it is sold twice. Take the item off the menu, then count.",
    ),
    Invariant(
        "I6", "a created or accepted order has its food reserved", "orders",
        Order.objects.filter(status__in=PLACED), placed_without_food,
        "The restaurant may not have it any more: ask, then cancel the order or correct the reservation.",
    ),
    Invariant(
        "I9", "every order has the status its saga gave it", "orders",
        Order.objects.all(), orders_unlike_their_saga,
        f"A status was changed outside the engine: {_ADMIN}; the saga's history says what it should be.",
    ),
    Invariant(
        "I9", "every saga that placed an order has it", "sagas",
        saga_rows().filter(name="create_order"), deleted_orders,
        "An order was deleted. Restore it from a backup: its money and food are still there.",
    ),
    Invariant(
        "I13", "every stored answer names the order its request made", "keys",
        IdempotencyKey.objects.all(), answers_with_a_wrong_order,
        "A customer who repeats the request is shown the wrong order. Delete the key; its order stays.",
    ),
    Invariant(
        "I13", "one key has one answer, one order one key", "keys",
        IdempotencyKey.objects.all(), keys_that_clash,
        "Ask the customer which order was wanted; cancel the others.",
    ),
    Invariant(
        "I14", "an order that waits for a runner has its timer", "orders",
        Order.objects.filter(status=OrderStatus.CREATED), without_timer,
        "The order sweep will cancel it in time, with or without a timer. Find out who cancelled the timer.",
    ),
    Invariant(
        "I14", f"no order waits {LATE.seconds // 60} minutes past its window", "orders",
        Order.objects.filter(status=OrderStatus.CREATED), not_cancelled,
        "Neither the timers nor the order sweep run: check that beat and the workers are up.",
    ),
    Invariant(
        "I14", "no order timed out early, or after a runner had it", "orders",
        Order.objects.filter(reason_code=REASON_CODE), timed_out_wrongly,
        "The database's clock was wrong, or rows were changed by hand. The customer has the money back.",
    ),
)  # fmt: skip
register_invariants(*INVARIANTS)
