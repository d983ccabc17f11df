"""Judges the system from outside: it compares the rows of every app and the payment provider's own ledger.

It only reads. Of the code under test it uses the saga definitions, and the replay of histories. Each rule yields the
breaches it finds; `judge` applies all rules to a system at rest.
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from orders.models import OrderStatus
from sagas.definition import registry
from sagas.definition.saga import Saga, Step
from sagas.outbox.relay import event_id
from sagas.statuses import Action, Status
from sagas.verification import saga_invariants
from tests.harness import books
from tests.harness.snapshot import Breach, Fact, Snapshot, snapshot

__all__ = ["Breach", "Received", "Snapshot", "events_arrived", "judge", "snapshot", "statuses"]

LIVE_ORDER = ("CREATED",)
#: Orders whose food is reserved.
COOKING_ORDER = ("CREATED", "ACCEPTED")
ENDED_ORDER = ("CANCELLED", "FAILED")
PAID_ORDER = ("ACCEPTED", "COMPLETED")
FINAL_ORDER = (*ENDED_ORDER, *LIVE_ORDER, *PAID_ORDER)
FINISHED = ("COMPLETED", "COMPENSATED", "CANCELLED", "FAILED")
#: The statuses an order may have after a saga of this name and status. A refund may change them later.
ORDER_AFTER = {
    ("create_order", "COMPLETED"): {"CREATED", "ACCEPTED", "COMPLETED"},
    ("create_order", "COMPENSATED"): {"FAILED"},
    ("create_order", "CANCELLED"): {"CANCELLED"},
    ("create_order", "FAILED"): {"FAILED"},
    ("accept_order", "COMPLETED"): {"ACCEPTED", "COMPLETED"},
    ("complete_order", "COMPLETED"): {"COMPLETED"},
    ("refund_order", "COMPLETED"): {"CANCELLED"},
}


def judge(seen: Snapshot | None = None) -> list[Breach]:
    """Every breach in a system at rest: no message is on its way, no call is running."""
    seen = seen or snapshot()
    return [breach for rule in RULES for breach in rule(seen)]


# -- sagas ----------------------------------------------------------------------------------------------------------
def every_saga_is_finished(seen: Snapshot) -> Iterator[Breach]:
    for saga in seen.sagas:
        if saga.status not in FINISHED:
            detail = f"{saga.status}, {saga.phase} at {saga.position}, attempt {saga.attempt}: {saga.error}"
            yield Breach("saga not finished", str(saga.pk), detail)
        if saga.lease_token is not None:
            yield Breach("lease left behind", str(saga.pk), f"until {saga.lease_until}")


def the_history_leads_to_the_row(seen: Snapshot) -> Iterator[Breach]:
    """The history has no gaps, and the engine's state machine replays it to the row."""
    for found in saga_invariants.histories_that_differ():
        yield Breach("history and row differ", found.subject.removeprefix("saga "), found.detail)


def the_epoch_never_goes_down(seen: Snapshot) -> Iterator[Breach]:
    for saga in seen.sagas:
        for before, event in itertools.pairwise(seen.events.get(saga.pk, [])):
            if event.epoch < before.epoch:
                yield Breach("epoch went down", str(saga.pk), f"#{event.seq} from {before.epoch} to {event.epoch}")


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


def _is_undo_over(event: Fact, definition: Saga) -> bool:
    """The compensation ran, or it failed and is best effort."""
    best_effort = {s.compensation.name for s in definition.steps if s.compensation and s.compensation.is_best_effort}
    is_given_up = event.action == Action.UNDO_FAILED and event.step in best_effort
    return event.action == Action.UNDO_COMPLETED or is_given_up


def _undos(definition: Saga, events: list[Fact], done: int) -> list[str]:
    """The compensations, last first, of every step that completed or may have run."""
    last = done - 1
    if done < len(definition.steps) and _may_have_run(definition.steps[done], events):
        last = done
    return [step.compensation.name for step in definition.steps[last::-1] if step.compensation] if last >= 0 else []


def _may_have_run(step: Step, events: list[Fact]) -> bool:
    """A call was claimed, and its first attempt was not refused."""
    of_step = [event for event in events if event.step == step.name]
    is_claimed = any(event.action == Action.STEP_CLAIMED for event in of_step)
    return is_claimed and not any(_is_certain_refusal(event) for event in of_step)


def _is_certain_refusal(event: Fact) -> bool:
    return event.action in (Action.STEP_REFUSED, Action.STEP_FAILED) and event.attempt == 1


# -- orders, stock and timers ---------------------------------------------------------------------------------------
def order_and_saga_agree(seen: Snapshot) -> Iterator[Breach]:
    refunded = {saga.subject for saga in seen.sagas if (saga.name, saga.status) == ("refund_order", "COMPLETED")}
    for saga in seen.sagas:
        wanted = ORDER_AFTER.get((saga.name, saga.status))
        if wanted is None:
            continue
        if saga.status == "COMPLETED" and saga.subject in refunded:
            wanted = {"CANCELLED"}
        order = seen.orders.get(uuid.UUID(saga.subject))
        if order is None:
            yield Breach("order lost", saga.subject, f"its saga {saga.pk} is {saga.status}")
        elif order.status not in wanted:
            yield Breach("order and saga differ", saga.subject, f"{order.status}, {saga.name} {saga.status}")
    started = {uuid.UUID(saga.subject) for saga in seen.sagas if saga.name == "create_order"}
    for order_id in seen.orders.keys() - started:
        yield Breach("order without a saga", str(order_id), seen.orders[order_id].status)


def every_order_has_come_to_rest(seen: Snapshot) -> Iterator[Breach]:
    """No order stays in a status between two sagas."""
    for order in seen.orders.values():
        if order.status not in FINAL_ORDER:
            yield Breach("order not at rest", str(order.pk), order.status)


def one_saga_wins_an_order(seen: Snapshot) -> Iterator[Breach]:
    """At most one acceptance, one delivery and one refund completed; a paid order has those that its status needs."""
    won: dict[str, Counter[str]] = defaultdict(Counter)
    for saga in seen.sagas:
        won[saga.subject][saga.name] += saga.status == "COMPLETED"
    for order in seen.orders.values():
        count = won[str(order.pk)]
        for name in ("accept_order", "complete_order", "refund_order"):
            if count[name] > 1:
                yield Breach("won twice", str(order.pk), f"{name} completed {count[name]} times")
        needed = {"ACCEPTED": ["accept_order"], "COMPLETED": ["accept_order", "complete_order"]}
        for name in needed.get(order.status, []):
            if not count[name]:
                yield Breach("won by nobody", str(order.pk), f"{order.status} without a completed {name}")


def food_is_where_it_belongs(seen: Snapshot) -> Iterator[Breach]:
    for order in seen.orders.values():
        reserved = {"HELD": Counter[str](), "CONSUMED": Counter[str](), "RELEASED": Counter[str]()}
        for reservation in seen.reservations.get(order.pk, []):
            reserved[reservation.status][reservation.item_id] += reservation.quantity
        wanted: Counter[str] = Counter()
        for line in seen.lines.get(order.pk, []):
            if line.sku is not None:
                wanted[line.sku] += line.quantity
        held, eaten = +reserved["HELD"], +reserved["CONSUMED"]
        if order.status in COOKING_ORDER and held != wanted:
            yield Breach("live order without its food", str(order.pk), f"{dict(held)} held, {dict(wanted)} wanted")
        if order.status == OrderStatus.COMPLETED and eaten != wanted:
            yield Breach("food not handed over", str(order.pk), f"{dict(eaten)} consumed, {dict(wanted)} wanted")
        if order.status not in COOKING_ORDER and held:
            yield Breach("leaked reservation", str(order.pk), f"{order.status}, {dict(held)} held")


def stock_adds_up(seen: Snapshot) -> Iterator[Breach]:
    promised: Counter[str] = Counter()
    for reservations in seen.reservations.values():
        for reservation in reservations:
            promised[reservation.item_id] += reservation.quantity if reservation.status == "HELD" else 0
    for item in seen.items:
        if item.reserved != promised[item.pk] or not 0 <= item.reserved <= item.stock:
            yield Breach("stock does not add up", item.pk, f"{item.reserved} reserved, {promised[item.pk]} promised")


def a_waiting_order_has_one_timer(seen: Snapshot) -> Iterator[Breach]:
    for order in seen.orders.values():
        timers = [timer for timer in seen.timers.get(str(order.pk), []) if timer.status in ("SCHEDULED", "EXPIRED")]
        if order.status in LIVE_ORDER and len(timers) != 1:
            yield Breach("live order without its timer", str(order.pk), f"{len(timers)} timers")
        if order.status not in LIVE_ORDER and timers:
            yield Breach("leaked timer", str(order.pk), f"{order.status}, {len(timers)} timers")


# -- events ---------------------------------------------------------------------------------------------------------
def every_completed_step_has_its_event(seen: Snapshot) -> Iterator[Breach]:
    """A completed step or compensation has the event that its definition names, and the event was published."""
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


def events_of_a_subject_are_numbered_without_gaps(seen: Snapshot) -> Iterator[Breach]:
    """The events of all sagas of an order are numbered 1, 2, 3 …, so that a reader sees that none is missing."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for saga in seen.sagas:
        published = (event for event in seen.events.get(saga.pk, []) if event.type)
        numbers[saga.subject] += [event.subject_sequence or 0 for event in published]
    for subject, found in numbers.items():
        was_relayed = any(found)  # a test without a relay marks events as published, without a number
        if was_relayed and sorted(found) != list(range(1, len(found) + 1)):
            yield Breach("event numbers have gaps", subject, str(sorted(found)))


RULES: tuple[Callable[[Snapshot], Iterator[Breach]], ...] = (
    every_saga_is_finished,
    the_history_leads_to_the_row,
    the_epoch_never_goes_down,
    no_step_completes_twice,
    steps_are_done_in_order_and_undone_in_reverse,
    order_and_saga_agree,
    every_order_has_come_to_rest,
    one_saga_wins_an_order,
    food_is_where_it_belongs,
    stock_adds_up,
    a_waiting_order_has_one_timer,
    every_completed_step_has_its_event,
    events_of_a_subject_are_numbered_without_gaps,
    *books.RULES,
)


#: Events of one order, from any of its sagas, in the only order in which they can happen.
RANKS = {
    name: rank
    for rank, name in enumerate(
        (
            "order.created", "inventory.reserved", "payment.authorized", "order.status_updated",
            "order.acceptance_claimed", "payment.captured", "order.accepted", "order.completed",
            "order.refund_started",
        ),
        start=1,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Received:
    """An event as a subscriber received it."""

    id: str
    saga_id: str
    sequence: int


def events_arrived(seen: Snapshot, received: list[Received]) -> list[Breach]:
    """Every committed event arrived, and no other. Copies are legal.

    The first copies arrived in order: by number within each saga and each subject, and by `RANKS` within each order.
    """
    sent = {
        str(event_id(event.saga_id, event.seq)): event
        for events in seen.events.values()
        for event in events
        if event.type
    }
    ids = {event.id for event in received}
    breaches = [Breach("event lost", str(sent[i].saga_id), f"#{sent[i].seq} {sent[i].type}") for i in sent.keys() - ids]
    breaches += [Breach("event of nothing committed", i, "") for i in ids - sent.keys()]
    first_seen: dict[str, Received] = {}
    for event in received:
        first_seen.setdefault(event.id, event)
    in_order = [event for event in first_seen.values() if event.id in sent]
    subjects = {str(saga.pk): saga.subject for saga in seen.sagas}
    ranks = ((subjects.get(event.saga_id, ""), RANKS.get(sent[event.id].type)) for event in in_order)
    numbers = ((subjects.get(event.saga_id, ""), sent[event.id].subject_sequence or 0) for event in in_order)
    breaches += _inversions((event.saga_id, event.sequence) for event in in_order)
    breaches += _inversions(numbers)
    breaches += _inversions((order_id, rank) for order_id, rank in ranks if order_id and rank is not None)
    return breaches


def _inversions(numbered: Iterable[tuple[str, int]]) -> Iterator[Breach]:
    newest: dict[str, int] = {}
    for subject, number in numbered:
        if number < newest.get(subject, 0):
            yield Breach("events out of order", subject, f"#{number} after #{newest[subject]}")
        newest[subject] = max(number, newest.get(subject, 0))


def statuses(seen: Snapshot) -> tuple[Counter[str], Counter[str]]:
    """How many orders and how many sagas have each status."""
    return (
        Counter(order.status for order in seen.orders.values()),
        Counter(str(Status(saga.status).value) for saga in seen.sagas),
    )
