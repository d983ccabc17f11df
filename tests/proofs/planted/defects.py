"""The table of planted defects: what is wrong, what exactly is changed, and which check must notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orders.models import OrderQuerySet, StockReservationQuerySet
from orders.sagas import create_order
from payments.flows import authorize
from sagas.engine import commands, execution, sweep
from sagas.machine import transitions, wiring
from sagas.storage import rows
from tests.orders import test_inventory
from tests.payments import test_authorize, test_captures_and_refunds
from tests.proofs.planted.checks import OWN_CHECKS, Check, model, simulator, table_row
from tests.proofs.planted.checks import test as suite
from tests.proofs.planted.planting import Change, Edit, Without
from tests.proofs.simulation import test_resumed_sagas
from tests.sagas import test_engine
from tests.timers import test_alarm_clock
from timers.models import ScheduledEventQuerySet


@dataclass(frozen=True)
class Defect:
    name: str
    changes: tuple[Change, ...]
    check: Check


def defect(name: str, check: Check, *changes: Change) -> Defect:
    return Defect(name, changes, check)


def edit(owner: Any, name: str, old: str, new: str) -> Edit:
    return Edit(owner, name, old, new)


IS_OURS = "row.epoch == claimed.epoch and row.lease_token == token"

DEFECTS = [
    # -- fences and leases ------------------------------------------------------------------------------------------
    defect(
        "a late answer is recorded as if nothing had happened",
        model("create"),
        edit(execution, "_record_call", IS_OURS, "True"),
    ),
    defect(
        "an answer is fenced by its lease only, not by the epoch",
        suite(test_engine.test_a_call_in_flight_is_waited_for_and_then_undone),
        edit(execution, "_record_call", IS_OURS, "row.lease_token == token"),
    ),
    defect(
        "an answer is fenced by the epoch only, not by its lease",
        model("create"),
        edit(execution, "_record_call", IS_OURS, "row.epoch == claimed.epoch"),
    ),
    defect(
        "a hint of an older epoch is obeyed",
        model("create"),
        edit(execution, "_match", " or row.epoch != hint.epoch", ""),
    ),
    defect(
        "a hint takes a call over that has its lease",
        model("create"),
        edit(execution, "_match", "row.is_leased and not is_redelivered", "False"),
    ),
    defect(
        "the sweep does not wait for a lease",
        simulator(1, 60),
        edit(transitions, "claim", "row.wake_at = row.lease_until", "row.wake_at = row.now + timedelta(seconds=2)"),
    ),
    defect(
        "a late answer frees the lease of another call",
        model("create"),
        edit(transitions, "keep_fenced", "held = row.lease_token == token", "held = True"),
    ),
    defect(
        "a saga cancelled in mid-call is undone at once",
        simulator(1, 60),
        edit(transitions, "turn_back", "was_leased = row.is_leased", "was_leased = False"),
    ),
    defect(
        "running ahead does not look whether the saga moved on",
        OWN_CHECKS["a_cancellation_just_before_running_ahead_is_not_overrun"],
        edit(
            rows,
            "move",
            "cursor.execute(_UPDATE_IF, update)",
            'cursor.execute(_UPDATE_IF.partition(" AND epoch")[0] + " AND %s AND %s AND %s", update)',
        ),
    ),
    # -- turning round ----------------------------------------------------------------------------------------------
    defect(
        "a call without an answer is taken for a call that never ran",
        suite(test_engine.test_retries_that_run_out_turn_the_saga_round),
        edit(transitions, "_may_have_run", "return row.attempt > 0 or _was_tried_before_parking(row)", "return False"),
    ),
    defect(
        "an operator's retry forgets that the call may have run",
        suite(test_resumed_sagas.test_a_saga_cancelled_right_after_it_was_sent_on_gives_the_charge_back),
        edit(transitions, "_may_have_run", " or _was_tried_before_parking(row)", ""),
    ),
    defect(
        "a saga goes back because link_error was called",
        simulator(1, 60),
        edit(
            sweep,
            "_is_ours_to_drive",
            'return row.epoch == epoch and not row.is_waiting and _redrive(row, "a worker died")',
            'if row.epoch == epoch and row.status == "STARTED":\n'
            "        transitions.turn_back(row, registry.get(row.name, row.version), transitions.Status.COMPENSATING,\n"
            '                              start=row.position - 1, reason_code="x", reason="x")\n'
            "        rows.save(row)\n"
            "    return row.is_open",
        ),
    ),
    defect(
        "compensations run in forward order",
        suite(test_engine.test_a_refused_step_undoes_everything_before_it_in_reverse),
        edit(
            transitions,
            "turn_back",
            "row.position = _last_to_undo(saga, start)",
            'row.data["start"], row.position = start, _last_to_undo(saga, min(start, 0))',
        ),
        edit(
            transitions,
            "_undo_next",
            "row.position = _last_to_undo(saga, row.position - 1)",
            'later = range(row.position + 1, row.data["start"] + 1)\n'
            "    row.position = next((at for at in later if saga.steps[at].compensation), -1)",
        ),
    ),
    defect(
        "a best effort is treated as required",
        suite(test_engine.test_a_best_effort_compensation_does_not_stop_the_undo),
        edit(transitions, "fail_undo", "if compensation.is_best_effort:", "if False:"),
    ),
    defect(
        "a required compensation is treated as a best effort",
        suite(test_engine.test_a_compensation_that_never_works_is_parked_and_can_be_retried),
        edit(transitions, "fail_undo", "if compensation.is_best_effort:", "if True:"),
    ),
    defect(
        "a failure after the pivot goes back",
        suite(test_engine.test_a_step_after_the_pivot_is_parked_when_it_never_works),
        edit(transitions, "give_up", "if step.is_after_pivot or", "if"),
    ),
    defect(
        "a cancellation does not ask who has the order",
        suite(test_engine.test_losing_the_race_for_the_subject_changes_nothing),
        edit(commands, "cancel", "if saga.on_cancel is not None:", "if False:"),
    ),
    # -- retries, deadlines and the sweep ---------------------------------------------------------------------------
    defect(
        "an attempt is counted after the work and not before it",
        suite(test_engine.test_a_call_that_kills_its_worker_every_time_ends_and_is_undone),
        edit(transitions, "claim", "row.attempt += 1", "pass"),
        edit(execution, "_record", "return _fail(", "row.attempt += 1\n    return _fail("),
    ),
    defect(
        "a refusal is retried",
        suite(test_engine.test_a_refused_step_undoes_everything_before_it_in_reverse),
        edit(transitions, "fail_step", "not isinstance(trouble, Refusal) and ", ""),
    ),
    defect(
        "a local step is retried inside its transaction",
        simulator(1, 60),
        edit(
            execution,
            "_run_local",
            "result = function(**wiring.arguments(row, saga, function))",
            "given = wiring.arguments(row, saga, function)\n"
            "        try:\n            result = function(**given)\n"
            "        except Exception:\n            result = function(**given)",
        ),
    ),
    defect(
        "a call is made inside a transaction",
        suite(test_engine.test_every_step_runs_once_and_in_order),
        edit(
            execution,
            "_call",
            "result = function(**wiring.arguments(row, saga, function))",
            "with transaction.atomic():\n            result = function(**wiring.arguments(row, saga, function))",
        ),
    ),
    defect(
        "a failure is not recorded before Celery hears of it",
        suite(test_engine.test_a_refused_step_undoes_everything_before_it_in_reverse),
        edit(execution, "_record_failure", "rows.save(row)", "row.news.clear()"),
    ),
    defect(
        "re-drives are not counted",
        OWN_CHECKS["a_step_after_the_pivot_that_kills_every_worker_is_parked"],
        edit(transitions, "redrive", "row.drives += 1", "pass"),
    ),
    defect(
        "the deadline is ignored",
        suite(test_engine.test_a_saga_past_its_deadline_goes_back),
        edit(transitions, "is_past_deadline", "return row.status is Status.STARTED", "return False"),
    ),
    defect(
        "the deadline goes on after the pivot",
        suite(test_engine.test_the_deadline_ends_at_the_pivot),
        edit(transitions, "is_past_deadline", "row.position <= pivot", "True"),
    ),
    defect(
        "a message moves a saga that is held",
        model("create"),
        edit(execution, "_match", "if row.is_held:", "if False:"),
        edit(transitions, "hold", "row.epoch += 1", "pass"),
    ),
    defect(
        "a probe that failed is forgotten",
        model("create"),
        edit(transitions, "fail_probe", "max(row.attempt - 1, 1)", "row.attempt - 1"),
    ),
    defect(
        "nobody asks whether what a call uses is on hold",
        simulator(1, 60),
        edit(execution, "_stop_before", "holds.blocks(saga.steps[row.position].uses, row.id)", "False"),
    ),
    defect(
        "the deadline runs on while a saga is held",
        simulator(1, 60),
        edit(transitions, "let_go", "row.deadline_at += row.now - row.held_since", "pass"),
    ),
    defect(
        "nobody is told when to look again",
        simulator(1, 60),
        edit(transitions, "_sleep", "row.wake_at = row.now + delay", "row.wake_at = row.now + timedelta(days=1)"),
    ),
    defect(
        "a finished saga is still looked at",
        model("create"),
        edit(transitions, "_finish", "row.wake_at = None", "pass"),
    ),
    defect(
        "a parked saga has no reason",
        model("create"),
        edit(transitions, "park", 'row.error = row.error or "The engine gave up after its retries."', 'row.error = ""'),
    ),
    # -- messages, keys and history ---------------------------------------------------------------------------------
    defect(
        "a message goes out before its commit",
        OWN_CHECKS["nothing_is_sent_for_a_saga_that_was_rolled_back"],
        edit(commands, "_drive_on_commit", "transaction.on_commit(drive, robust=True)", "drive()"),
    ),
    defect(
        "an idempotency key is random",
        suite(test_engine.test_a_lost_reply_is_retried_with_the_same_key),
        edit(wiring, "idempotency_key", "saga:{row.id}", "saga:{__import__('uuid').uuid4()}"),
    ),
    defect(
        "a compensation leaves no trace in the history",
        simulator(1, 60),
        edit(transitions, "complete_undo", "row.note(", "bool("),
    ),
    defect(
        "a status is written without an event",
        simulator(1, 60),
        edit(transitions, "_finish", "row.note(", "bool("),
    ),
    defect(
        "a re-drive is not numbered in the history",
        simulator(1, 60),
        edit(rows, "save", "row.seq += len(row.news)", "row.seq += max(len(row.news), 2)"),
    ),
    # -- the seeds' own mistakes ------------------------------------------------------------------------------------
    defect(
        "a failed payment never ends its order",
        table_row("authorize_payment", "refusal"),
        Without(create_order, "create_order"),
    ),
    defect(
        "a payment is reverted only if its authorization is known",
        table_row("authorize_payment", "trouble"),
        edit(
            transitions,
            "_may_have_run",
            "return row.attempt > 0 or",
            "return bool(row.results.get('authorize_payment')) or",
        ),
    ),
    defect(
        "a saga that is CANCELLING is never looked at again",
        simulator(1, 60),
        edit(sweep, "sweep_batch", "for row in overdue if", 'for row in overdue if row.status != "CANCELLING" and'),
    ),
    defect(
        "stock is given back twice",
        suite(test_inventory.test_releasing_gives_everything_back_once),
        edit(StockReservationQuerySet, "held", "self.filter(status=ReservationStatus.HELD)", "self.all()"),
    ),
    # -- orders, timers and money -----------------------------------------------------------------------------------
    defect(
        "two runners may accept one order",
        OWN_CHECKS["two_runners_cannot_have_one_order"],
        edit(OrderQuerySet, "transition", "self.filter(status__in=list(allowed_from)).update", "self.update"),
    ),
    defect(
        "an alarm is settled without looking at what it was",
        suite(test_alarm_clock.test_an_alarm_settled_while_it_rings_has_no_effect),
        edit(ScheduledEventQuerySet, "mark_fired", "self.live().update", "self.update"),
    ),
    defect(
        "an authorization is taken for void without reading it back",
        suite(
            test_captures_and_refunds.test_an_undo_after_a_dead_capture_leaves_the_customer_nothing_to_pay,
            after_effect=True,
        ),
        edit(
            authorize,
            "_finish_void",
            "_cancel_until_read_back(payment)",
            "_request_cancel(payment)\n    Payment.objects.record_voided(payment.pk)",
        ),
    ),
    defect(
        "the provider is asked with a new key each time",
        suite(test_authorize.test_a_lost_reply_is_replayed_and_not_done_twice),
        edit(
            authorize,
            "_create_intent",
            "_request_intent(payment, key)",
            "_request_intent(payment, key + uuid.uuid4().hex)",
        ),
    ),
]
