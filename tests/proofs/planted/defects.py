"""The planted defects: what is wrong, in which guarantee, where it is planted, and which check must notice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import F

from orders.models import StockReservationQuerySet
from payments.gateways.base import Intent, IntentStatus, PaymentGateway
from payments.models.payment import PaymentQuerySet
from sagas.definition.saga import Saga
from sagas.machine.state import Row
from sagas.machine.transitions import TRANSITIONS, last_to_undo
from sagas.models import SagaEvent
from sagas.statuses import Action
from sagas.storage.memory import MemoryStorage
from sagas.storage.sqlite import SqliteStorage
from tests.orders import test_inventory
from tests.orders.test_create_order_failures import test_a_failure_leaves_what_the_table_says
from tests.payments import test_captures_and_refunds
from tests.proofs.planted.checks import Check, model, simulator, suite
from tests.proofs.planted.planting import (
    Planting,
    afterwards,
    database,
    decision,
    definition,
    method,
    model_on,
    provider,
    transition,
)
from tests.sagas import test_cancelling, test_engine, test_outbox, test_recovery
from tests.sagas.toy import toy
from tests.timers import test_scheduling
from timers.models import ScheduledEventQuerySet


@dataclass(frozen=True)
class Defect:
    """`guarantee` is the one that it breaks, as `docs/explanation/guarantees.md` names such things."""

    guarantee: str
    name: str
    planting: Planting
    check: Check


# -- what the rows are changed to -----------------------------------------------------------------------------------
def keep_the_epoch(row: Row, _: Saga) -> None:
    row.epoch -= 1


def forget_the_call(row: Row, _: Saga) -> None:
    row.may_have_run = False


def count_one_try(row: Row, _: Saga) -> None:
    row.attempt = 1


def always_the_first_token(claim: Any) -> Any:
    def wrong(self: Any, row: Row) -> int:
        claim(self, row)
        row.lease_token = 1
        return 1

    return wrong


def wake_within_the_lease(claim: Any) -> Any:
    def wrong(self: Any, row: Row) -> Any:
        token = claim(self, row)
        row.wake_at = row.now + timedelta(seconds=2)
        return token

    return wrong


def leave_one_out(row: Row, saga: Saga) -> None:
    row.position = last_to_undo(saga, row.position - 1)


# -- storages -------------------------------------------------------------------------------------------------------
class MovesBlindly(MemoryStorage):
    def move(self, row: Row, *, epoch: int, position: int) -> bool:
        self.save(row)
        return True


class SeesNoLease(MemoryStorage):
    """Reads every lease as one that has run out."""

    def lock(self, saga_id: UUID) -> Row | None:
        row = super().lock(saga_id)
        return replace(row, lease_until=row.now) if row is not None and row.lease_until is not None else row


class NumbersEachSaga(SqliteStorage):
    def number_events(self, limit: int) -> None:
        unnumbered = SagaEvent.objects.filter(subject_sequence=None, published_at=None).exclude(type="")
        unnumbered.update(subject_sequence=F("seq"))


# -- money ----------------------------------------------------------------------------------------------------------
class BelievesItsRequest:
    """A gateway that takes an intent for canceled because that was asked for, whatever the provider would say."""

    def __init__(self, gateway: PaymentGateway) -> None:
        self._gateway = gateway
        self._cancelled: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def cancel_intent(self, intent_id: str, *, key: str) -> Intent:
        self._cancelled.add(intent_id)
        return self._gateway.cancel_intent(intent_id, key=key)

    def retrieve_intent(self, intent_id: str) -> Intent:
        intent = self._gateway.retrieve_intent(intent_id)
        return replace(intent, status=IntentStatus.CANCELED) if intent_id in self._cancelled else intent


def without_a_limit(_: Any) -> Any:
    def claim_refund(self: Any, payment_id: Any, amount_cents: int) -> int:
        return int(self.filter(pk=payment_id).update(refund_claimed_cents=amount_cents))

    return claim_refund


def of_any_status(_: Any) -> Any:
    return lambda self: self.all()


DEFECTS = [
    Defect(
        "fence by epoch",
        "a cancellation does not void what was under way before it",
        transition(Action.CANCELLATION_STARTED, wrong=afterwards(keep_the_epoch)),
        model("create"),
    ),
    Defect(
        "fence by lease",
        "two claims of one saga have the same token",
        decision("claim", always_the_first_token),
        model("create"),
    ),
    Defect(
        "a stale message does nothing",
        "a message takes over a call that still has its lease",
        model_on(SeesNoLease, "a `MemoryStorage` whose `lock` reads each lease as run out"),
        simulator(1, 60),
    ),
    Defect(
        "compare-and-set of an inline step",
        "an inline step does not look whether its saga moved on",
        model_on(MovesBlindly, "a `MemoryStorage` whose `move` compares nothing"),
        model("create"),
    ),
    Defect(
        "unknown is not failed",
        "a call without an answer is taken for a call that never ran",
        transition(Action.STEP_RETRYING, Action.STEP_FAILED, Action.STEP_TIMED_OUT, wrong=afterwards(forget_the_call)),
        model("create"),
    ),
    Defect(
        "a refusal is an answer",
        "a refused call is taken for one of unknown outcome",
        transition(Action.STEP_REFUSED, wrong=lambda _: TRANSITIONS[Action.STEP_FAILED]),
        suite(test_a_failure_leaves_what_the_table_says, step="authorize_payment", kind="refusal", run_inline=True),
    ),
    Defect(
        "undo in reverse order, all of it",
        "each compensation leaves out the one before it",
        transition(Action.UNDO_COMPLETED, wrong=afterwards(leave_one_out)),
        suite(test_engine.test_a_refused_step_undoes_everything_before_it_in_reverse),
    ),
    Defect(
        "a best effort stops nothing",
        "a best effort that failed is tried for ever",
        transition(Action.UNDO_FAILED, wrong=lambda _: TRANSITIONS[Action.UNDO_TIMED_OUT]),
        suite(test_engine.test_a_best_effort_compensation_does_not_stop_the_undo),
    ),
    Defect(
        "cancelling has one winner",
        "a cancellation does not ask whose the order is",
        definition(toy, "with an `on_cancel` that claims nothing", on_cancel=lambda _: None),
        suite(test_cancelling.test_losing_the_race_for_the_subject_changes_nothing),
    ),
    Defect(
        "tries are counted before the work",
        "only the first try of a call is counted when it begins",
        transition(Action.STEP_CLAIMED, wrong=afterwards(count_one_try)),
        suite(test_recovery.test_a_call_that_kills_its_worker_every_time_ends_and_is_undone),
    ),
    Defect(
        "the sweep waits for a lease",
        "a saga is looked at while its call has its lease",
        decision("claim", wake_within_the_lease),
        model("create"),
    ),
    Defect(
        "no authorization is left behind",
        "an authorization is taken for void without reading it back",
        provider(BelievesItsRequest, "a gateway that answers what was asked for"),
        suite(
            test_captures_and_refunds.test_an_undo_after_a_dead_capture_leaves_the_customer_nothing_to_pay,
            after_effect=True,
        ),
    ),
    Defect(
        "never more than was captured",
        "a refund may be claimed beyond what was captured",
        method(PaymentQuerySet, "claim_refund", without_a_limit),
        suite(test_captures_and_refunds.test_partial_refunds_add_up_and_never_exceed_what_was_captured),
    ),
    Defect(
        "stock adds up",
        "stock is given back twice",
        method(StockReservationQuerySet, "held", of_any_status),
        suite(test_inventory.test_releasing_gives_everything_back_once),
    ),
    Defect(
        "a timer fires once",
        "a timer that was settled meanwhile is fired all the same",
        method(ScheduledEventQuerySet, "live", of_any_status),
        suite(test_scheduling.test_a_timer_settled_while_its_handler_runs_has_no_effect),
    ),
    Defect(
        "events in the order of their subject",
        "events are numbered in their saga and not in their subject",
        database(NumbersEachSaga, "a `SqliteStorage` with another `number_events`"),
        suite(test_outbox.test_the_events_of_a_subject_are_numbered_over_all_its_sagas),
    ),
]
