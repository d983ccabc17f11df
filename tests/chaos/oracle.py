"""Judges the system from outside: the rows of every app beside the payment provider's own ledger.

Nothing here changes anything, and nothing here asks the code under test for its opinion; what is read are rows. Each
function returns the breaches it sees, none when all is well. `judge` is all of them, for a system at rest.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orders.models import MenuItem, Order, OrderLine, StockReservation
from payments.gateways.sandbox.tables import SandboxIntent
from payments.models import EscrowTransaction, Payment
from sagas import registry
from sagas.definition import Saga, Step
from sagas.models import Action, SagaEvent, SagaInstance, Status
from sagas.outbox import event_id
from timers.models import ScheduledEvent

LIVE_ORDER = ("CREATED",)
ENDED_ORDER = ("CANCELLED", "FAILED")
FINISHED = ("COMPLETED", "COMPENSATED", "CANCELLED", "FAILED")
GOING_BACK = ("COMPENSATING", "CANCELLING")
#: The order a finished create-order saga leaves behind.
ORDER_AFTER = {
    "COMPLETED": {"CREATED", "ACCEPTED", "COMPLETED"},
    "COMPENSATED": {"FAILED"},
    "CANCELLED": {"CANCELLED"},
    "FAILED": {"FAILED"},
}
#: What a saga's status may change to; staying is always allowed.
ARROWS = {
    "STARTED": {"COMPLETED", "COMPENSATING", "CANCELLING", "NEEDS_ATTENTION", "FAILED", "CANCELLED"},
    "COMPLETED": {"CANCELLING"},
    "COMPENSATING": {"COMPENSATED", "CANCELLING", "NEEDS_ATTENTION"},
    "CANCELLING": {"CANCELLED", "NEEDS_ATTENTION"},
    "NEEDS_ATTENTION": {"STARTED", "COMPENSATING", "CANCELLING"},
    "COMPENSATED": set(),
    "CANCELLED": set(),
    "FAILED": set(),
}


@dataclass(frozen=True)
class Breach:
    """One thing that must never be."""

    rule: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.detail}"


@dataclass
class Snapshot:
    """All rows, read once."""

    sagas: list[SagaInstance]
    events: Mapping[uuid.UUID, list[SagaEvent]]
    orders: Mapping[uuid.UUID, Order]
    lines: Mapping[uuid.UUID, list[OrderLine]]
    intents: Mapping[str, list[SandboxIntent]]
    payments: Mapping[uuid.UUID, list[Payment]]
    escrow: Mapping[uuid.UUID, list[EscrowTransaction]]
    reservations: Mapping[uuid.UUID, list[StockReservation]]
    timers: Mapping[str, list[ScheduledEvent]]
    items: list[MenuItem] = field(default_factory=list)


def snapshot() -> Snapshot:
    return Snapshot(
        sagas=list(SagaInstance.objects.all()),
        events=_grouped(SagaEvent.objects.order_by("saga_id", "seq"), lambda event: event.saga_id),
        orders={order.pk: order for order in Order.objects.all()},
        lines=_grouped(OrderLine.objects.all(), lambda line: line.order_id),
        intents=_grouped(SandboxIntent.objects.all(), lambda intent: intent.metadata.get("order_id", "")),
        payments=_grouped(Payment.objects.all(), lambda payment: payment.order_id),
        escrow=_grouped(EscrowTransaction.objects.filter(type="HOLD"), lambda hold: hold.order_id),
        reservations=_grouped(StockReservation.objects.all(), lambda reservation: reservation.order_id),
        timers=_grouped(ScheduledEvent.objects.all(), lambda timer: timer.entity_id),
        items=list(MenuItem.objects.all()),
    )


def _grouped(rows: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def judge(seen: Snapshot | None = None) -> list[Breach]:
    """Every breach in a system at rest: no message under way, no call in flight."""
    seen = seen or snapshot()
    return [breach for rule in RULES for breach in rule(seen)]


# -- sagas ----------------------------------------------------------------------------------------------------------
def every_saga_is_finished(seen: Snapshot) -> Iterator[Breach]:
    for saga in seen.sagas:
        if saga.status not in FINISHED:
            detail = f"{saga.status} at {saga.position}, attempt {saga.attempt}, drives {saga.drives}: {saga.error}"
            yield Breach("saga not finished", str(saga.pk), detail)
        if saga.lease_token is not None:
            yield Breach("lease left behind", str(saga.pk), f"until {saga.lease_until}")


def history_is_gap_free_and_is_the_row(seen: Snapshot) -> Iterator[Breach]:
    for saga in seen.sagas:
        events = seen.events.get(saga.pk, [])
        numbers = [event.seq for event in events]
        if numbers != list(range(1, saga.seq + 1)):
            yield Breach("history has gaps", str(saga.pk), f"{numbers} for a row at {saga.seq}")
        elif events:
            last = events[-1]
            folded = (last.saga_status, last.position, last.epoch)
            row = (saga.status, saga.position, saga.epoch)
            if folded != row:
                yield Breach("history differs from the row", str(saga.pk), f"{folded} is not {row}")
    for orphan in seen.events.keys() - {saga.pk for saga in seen.sagas}:
        yield Breach("history without a saga", str(orphan), f"{len(seen.events[orphan])} events")


def statuses_follow_the_arrows(seen: Snapshot) -> Iterator[Breach]:
    for saga in seen.sagas:
        before, epoch = "STARTED", 0
        for event in seen.events.get(saga.pk, []):
            if event.saga_status != before and event.saga_status not in ARROWS[before]:
                yield Breach("illegal transition", str(saga.pk), f"#{event.seq} {before} to {event.saga_status}")
            if event.epoch < epoch:
                yield Breach("epoch went down", str(saga.pk), f"#{event.seq} from {epoch} to {event.epoch}")
            before, epoch = event.saga_status, event.epoch


def no_step_completes_twice(seen: Snapshot) -> Iterator[Breach]:
    for saga in seen.sagas:
        events = seen.events.get(saga.pk, [])
        for action in (Action.STEP_COMPLETED, Action.UNDO_COMPLETED):
            counts = Counter(event.step for event in events if event.action == action)
            for step, count in counts.items():
                if count > 1:
                    yield Breach("done twice", str(saga.pk), f"{action} {step} {count} times")


def steps_are_done_in_order_and_undone_in_reverse(seen: Snapshot) -> Iterator[Breach]:
    for saga in seen.sagas:
        definition = registry.get(saga.name, saga.version)
        events = seen.events.get(saga.pk, [])
        done = [event.step for event in events if event.action == Action.STEP_COMPLETED]
        if done != [step.name for step in definition.steps[: len(done)]]:
            yield Breach("steps out of order", str(saga.pk), ", ".join(done))
            continue
        if saga.status == "COMPLETED" and len(done) != len(definition.steps):
            yield Breach("completed with steps left out", str(saga.pk), ", ".join(done))
        undone = [event.step for event in events if _is_undo_over(event, definition)]
        expected = _undos(definition, events, len(done)) if saga.status not in ("COMPLETED", "STARTED") else []
        if undone != expected and saga.status in FINISHED:
            yield Breach("undone wrongly", str(saga.pk), f"{undone} instead of {expected}")


def _is_undo_over(event: SagaEvent, definition: Saga) -> bool:
    """Undone, or given up where giving up is allowed."""
    best_effort = {s.compensation.name for s in definition.steps if s.compensation and s.compensation.is_best_effort}
    is_let_go = event.action == Action.UNDO_FAILED and event.step in best_effort
    return event.action == Action.UNDO_COMPLETED or is_let_go


def _undos(definition: Saga, events: list[SagaEvent], done: int) -> list[str]:
    """The compensations, last first, of every step that completed or may have had its effect."""
    last = done - 1
    if done < len(definition.steps) and _may_have_run(definition.steps[done], events):
        last = done
    return [step.compensation.name for step in definition.steps[last::-1] if step.compensation] if last >= 0 else []


def _may_have_run(step: Step, events: list[SagaEvent]) -> bool:
    """A call was claimed, and it was not refused at its very first try."""
    of_step = [event for event in events if event.step == step.name]
    is_claimed = any(event.action == Action.STEP_CLAIMED for event in of_step)
    return is_claimed and not any(_is_certain_refusal(event) for event in of_step)


def _is_certain_refusal(event: SagaEvent) -> bool:
    return event.action == Action.STEP_FAILED and event.attempt == 1


# -- orders and what they hold --------------------------------------------------------------------------------------
def order_and_saga_agree(seen: Snapshot) -> Iterator[Breach]:
    for saga in seen.sagas:
        if saga.name != "create_order" or saga.status not in ORDER_AFTER:
            continue
        order = seen.orders.get(uuid.UUID(saga.subject))
        if order is None:
            yield Breach("order lost", saga.subject, f"its saga {saga.pk} is {saga.status}")
        elif order.status not in ORDER_AFTER[saga.status]:
            yield Breach("order and saga differ", saga.subject, f"{order.status}, saga {saga.status}")
    started = {uuid.UUID(saga.subject) for saga in seen.sagas}
    for order_id in seen.orders.keys() - started:
        yield Breach("order without a saga", str(order_id), seen.orders[order_id].status)


def a_live_order_has_one_authorization(seen: Snapshot) -> Iterator[Breach]:
    for order in seen.orders.values():
        intents = seen.intents.get(str(order.pk), [])
        live = [intent.amount_capturable for intent in intents if intent.status == "requires_capture"]
        total = int(order.total_amount * 100)
        if order.status in LIVE_ORDER and live != [total]:
            yield Breach("live order without its authorization", str(order.pk), f"{live} held, {total} wanted")
        if order.status in ENDED_ORDER and live:
            yield Breach("leaked authorization", str(order.pk), f"{order.status}, {live} held")
        ever = sum(intent.authorizations for intent in intents)
        if ever > 1:
            yield Breach("authorized twice", str(order.pk), f"{ever} authorizations ever")
    for order_id in seen.intents.keys() - {str(pk) for pk in seen.orders}:
        live = [intent.id for intent in seen.intents[order_id] if intent.status == "requires_capture"]
        if live:
            yield Breach("leaked authorization", order_id, f"no such order, {live} held")


def payment_and_provider_agree(seen: Snapshot) -> Iterator[Breach]:
    for payments in seen.payments.values():
        for payment in payments:
            intents = seen.intents.get(str(payment.order_id), [])
            is_live = any(i.status == "requires_capture" and i.id == payment.intent_id for i in intents)
            if is_live != (payment.status == "AUTHORIZED"):
                shown = [f"{intent.id} {intent.status}" for intent in intents]
                yield Breach("payment and provider differ", str(payment.pk), f"{payment.status}, provider {shown}")


def escrow_is_held_for_live_orders_only(seen: Snapshot) -> Iterator[Breach]:
    for order in seen.orders.values():
        held = [hold.amount_cents for hold in seen.escrow.get(order.pk, []) if hold.status == "HELD"]
        total = int(order.total_amount * 100)
        if order.status in LIVE_ORDER and held != [total]:
            yield Breach("live order without its escrow", str(order.pk), f"{held} held, {total} wanted")
        if order.status in ENDED_ORDER and held:
            yield Breach("leaked escrow", str(order.pk), f"{order.status}, {held} held")


def food_is_reserved_for_live_orders_only(seen: Snapshot) -> Iterator[Breach]:
    for order in seen.orders.values():
        reservations = seen.reservations.get(order.pk, [])
        held: Counter[str] = Counter()
        for reservation in reservations:
            held[reservation.item_id] += reservation.quantity if reservation.status == "HELD" else 0
        wanted: Counter[str] = Counter()
        for line in seen.lines.get(order.pk, []):
            if line.sku is not None:
                wanted[line.sku] += line.quantity
        if order.status in LIVE_ORDER and +held != wanted:
            yield Breach("live order without its food", str(order.pk), f"{dict(+held)} held, {dict(wanted)} wanted")
        if order.status in ENDED_ORDER and +held:
            yield Breach("leaked reservation", str(order.pk), f"{order.status}, {dict(+held)} held")


def stock_adds_up(seen: Snapshot) -> Iterator[Breach]:
    promised: Counter[str] = Counter()
    for reservations in seen.reservations.values():
        for reservation in reservations:
            promised[reservation.item_id] += reservation.quantity if reservation.status == "HELD" else 0
    for item in seen.items:
        if item.reserved != promised[item.pk] or not 0 <= item.reserved <= item.stock:
            yield Breach("stock does not add up", item.pk, f"{item.reserved} reserved, {promised[item.pk]} promised")


def a_live_order_has_one_timer(seen: Snapshot) -> Iterator[Breach]:
    for order in seen.orders.values():
        timers = [timer for timer in seen.timers.get(str(order.pk), []) if timer.status in ("SCHEDULED", "EXPIRED")]
        if order.status in LIVE_ORDER and len(timers) != 1:
            yield Breach("live order without its timer", str(order.pk), f"{len(timers)} timers")
        if order.status in ENDED_ORDER and timers:
            yield Breach("leaked timer", str(order.pk), f"{order.status}, {len(timers)} timers")


# -- events ---------------------------------------------------------------------------------------------------------
def every_fact_has_its_event(seen: Snapshot) -> Iterator[Breach]:
    """A step or compensation that is done states the fact that its definition names, and it went out."""
    for saga in seen.sagas:
        definition = registry.get(saga.name, saga.version)
        for event in seen.events.get(saga.pk, []):
            named = (
                definition.event(event.step) if event.action in (Action.STEP_COMPLETED, Action.UNDO_COMPLETED) else None
            )
            if named is not None and event.type != named:
                yield Breach("event missing", str(saga.pk), f"#{event.seq} {event.step} states {event.type!r}")
            if event.type and event.published_at is None:
                yield Breach("event not published", str(saga.pk), f"#{event.seq} {event.type}")


RULES: tuple[Callable[[Snapshot], Iterator[Breach]], ...] = (
    every_saga_is_finished,
    history_is_gap_free_and_is_the_row,
    statuses_follow_the_arrows,
    no_step_completes_twice,
    steps_are_done_in_order_and_undone_in_reverse,
    order_and_saga_agree,
    a_live_order_has_one_authorization,
    payment_and_provider_agree,
    escrow_is_held_for_live_orders_only,
    food_is_reserved_for_live_orders_only,
    stock_adds_up,
    a_live_order_has_one_timer,
    every_fact_has_its_event,
)


@dataclass(frozen=True)
class Received:
    """An event as a subscriber got it."""

    id: str
    saga_id: str
    sequence: int


def events_arrived(seen: Snapshot, received: list[Received]) -> list[Breach]:
    """Every committed event arrived, none that was not committed, first seen in order per saga. Copies are legal."""
    sent = {
        str(event_id(event.saga_id, event.seq)): event
        for events in seen.events.values()
        for event in events
        if event.type
    }
    ids = {event.id for event in received}
    breaches = [Breach("event lost", str(sent[i].saga_id), f"#{sent[i].seq} {sent[i].type}") for i in sent.keys() - ids]
    breaches += [Breach("event of nothing committed", i, "") for i in ids - sent.keys()]
    newest: dict[str, int] = {}
    known: set[str] = set()
    for event in received:
        if event.id in known:
            continue
        known.add(event.id)
        if event.sequence < newest.get(event.saga_id, 0):
            breaches.append(
                Breach("events out of order", event.saga_id, f"#{event.sequence} after #{newest[event.saga_id]}")
            )
        newest[event.saga_id] = max(event.sequence, newest.get(event.saga_id, 0))
    return breaches


def statuses(seen: Snapshot) -> tuple[Counter[str], Counter[str]]:
    """How many orders and sagas are in which status."""
    return (
        Counter(order.status for order in seen.orders.values()),
        Counter(str(Status(saga.status).value) for saga in seen.sagas),
    )
