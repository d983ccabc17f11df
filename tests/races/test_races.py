"""Every race of two, through every interleaving of two stops: exactly one wins, and what is left is whole."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from orders import services
from orders.models import MenuItem, Order
from orders.use_cases import expire as acceptance
from payments.flows import authorize
from payments.models import Payment, Refund
from payments.sandbox.models import SandboxIntent
from sagas.engine import commands, sweep
from sagas.engine.execution import StepFailed, machine_of
from sagas.models import SagaEvent, SagaInstance
from sagas.outbox import relay
from sagas.storage import storage
from sagas.testing import Runner
from tests.orders import builders
from tests.payments.builders import Case
from tests.races.interleaving import Interleaving, interleavings
from tests.races.scenes import Scene, at_position, created, new_id, process, settle
from timers import services as timers
from timers.models import ScheduledEvent

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(180)]

RESERVE, AUTHORIZE, CONFIRM = 2, 4, 6
Action = Callable[[], Any]
#: A race in which the sides can stop at fewer places is no race.
FEWEST = 6
#: A call has so many statements that two stops take minutes; one stop is what CI can afford.
ALL_PAIRS = os.environ.get("RACES_ALL_PAIRS") == "1"


def played(
    runner: Runner,
    prepare: Callable[[], tuple[Action, Action]],
    check: Callable[[Interleaving], None],
    *,
    two_stops: bool = True,
    fewest: int = FEWEST,
) -> None:
    """Play every interleaving, check each, and judge what is left of all of them."""
    count = 0
    for seen in interleavings(prepare, two_stops=two_stops):
        check(seen)
        count += 1
    breaches = settle(runner)
    assert breaches == [], [str(breach) for breach in breaches[:10]]
    print(f"{count} interleavings")  # noqa: T201 - shown with -s
    assert count >= fewest


class Scenes:
    """The scene of the interleaving being played."""

    def __init__(self, make: Callable[[], Scene], *sides: Callable[[Scene], Any]) -> None:
        self.make, self.sides = make, sides
        self.now: Scene

    def __call__(self) -> tuple[Action, Action]:
        self.now = scene = self.make()
        first, second = self.sides
        return lambda: first(scene), lambda: second(scene)


def accept(scene: Scene) -> None:
    with transaction.atomic():
        services.claim_for_acceptance(order_id=scene.order_id, runner="runner")


def expire(scene: Scene) -> bool:
    return acceptance.time_out(scene.order)


def cancel(scene: Scene) -> str:
    return scene.cancel()


def work(scene: Scene) -> bool:
    """A worker gets the message for the step that is next when the race begins."""
    return process(scene.message) is not None


# -- cancel x a step completing -------------------------------------------------------------------------------------
@pytest.mark.parametrize("position", [RESERVE, AUTHORIZE, CONFIRM])
@pytest.mark.parametrize("sides", [(cancel, work), (work, cancel)], ids=["cancel-first", "step-first"])
def test_cancel_and_a_step(runner: Runner, position: int, sides: tuple[Any, Any]) -> None:
    scenes = Scenes(lambda: at_position(runner, position), *sides)
    cancelled = sides.index(cancel)

    def check(seen: Interleaving) -> None:
        outcome = (seen.first, seen.second)[cancelled]
        assert outcome.error is None, seen
        runner.run_to_end()
        assert scenes.now.order.status == "CANCELLED", seen
        assert scenes.now.count("undo_completed", "cancel_order") == 1

    played(runner, scenes, check, two_stops=position != AUTHORIZE or ALL_PAIRS)


# -- who gets the order ---------------------------------------------------------------------------------------------
def test_cancel_and_expiry(runner: Runner) -> None:
    scenes = Scenes(lambda: created(runner), cancel, expire)

    def check(seen: Interleaving) -> None:
        assert seen.winners == 1, seen
        assert scenes.now.count("cancellation_started") == 1
        assert scenes.now.saga.reason_code == ("customer_request" if seen.first.is_won else "order_timed_out")

    played(runner, scenes, check)


def test_two_expiries(runner: Runner) -> None:
    scenes = Scenes(lambda: created(runner), expire, expire)

    def check(seen: Interleaving) -> None:
        assert seen.winners == 1, seen
        assert scenes.now.count("cancellation_started") == 1

    played(runner, scenes, check)


def test_two_sweeps_of_the_timers(runner: Runner) -> None:
    """Both sweeps see the same due timer; it fires once."""

    def due() -> Scene:
        scene = created(runner)
        ScheduledEvent.objects.filter(entity_id=scene.order_id).update(due_at=clock_now() - timedelta(seconds=1))
        return scene

    scenes = Scenes(due, lambda _: timers.fire_due(), lambda _: timers.fire_due())

    def check(seen: Interleaving) -> None:
        assert seen.first.value + seen.second.value == 1, seen
        assert scenes.now.count("cancellation_started") == 1

    played(runner, scenes, check)


@pytest.mark.parametrize("sides", [(accept, expire), (expire, accept)], ids=["accept-first", "expiry-first"])
def test_accept_and_expiry(runner: Runner, sides: tuple[Any, Any]) -> None:
    _one_gets_it(runner, sides)


@pytest.mark.parametrize("sides", [(accept, cancel), (cancel, accept)], ids=["accept-first", "cancel-first"])
def test_accept_and_cancel(runner: Runner, sides: tuple[Any, Any]) -> None:
    _one_gets_it(runner, sides)


def _one_gets_it(runner: Runner, sides: tuple[Any, Any]) -> None:
    scenes = Scenes(lambda: created(runner), *sides)
    accepted = sides.index(accept)

    def check(seen: Interleaving) -> None:
        assert seen.winners == 1, seen
        is_accepted = (seen.first, seen.second)[accepted].is_won
        assert scenes.now.order.status == ("ACCEPTED" if is_accepted else "CANCELLING"), seen
        # The claim alone is no whole acceptance; put the order back, so that the oracle can judge the rest.
        Order.objects.filter(pk=scenes.now.order_id, status="ACCEPTED").update(status="CREATED", runner="")

    played(runner, scenes, check)


def test_two_runners(runner: Runner) -> None:
    scenes = Scenes(lambda: created(runner), accept, accept)

    def check(seen: Interleaving) -> None:
        assert seen.winners == 1, seen
        Order.objects.filter(pk=scenes.now.order_id, status="ACCEPTED").update(status="CREATED", runner="")

    played(runner, scenes, check)


# -- one message twice, and a second process ---------------------------------------------------------------------
@pytest.mark.parametrize("position", [RESERVE, AUTHORIZE, CONFIRM])
def test_two_workers_with_one_message(runner: Runner, position: int) -> None:
    held: dict[str, Any] = {}

    def make() -> Scene:
        made = at_position(runner, position)
        held["message"] = made.message
        return made

    scenes = Scenes(
        make, lambda _: process(held["message"]) is not None, lambda _: process(held["message"]) is not None
    )
    step = {RESERVE: "reserve_inventory", AUTHORIZE: "authorize_payment", CONFIRM: "confirm_order"}[position]

    def check(seen: Interleaving) -> None:
        """The second may find the step done and do the next one: its message stands for whatever comes next."""
        assert (seen.first.error, seen.second.error) == (None, None), seen
        runner.run_to_end()
        assert scenes.now.count("step_completed", step) == 1
        assert scenes.now.order.status == "CREATED"

    played(runner, scenes, check, two_stops=position != AUTHORIZE or ALL_PAIRS)


@pytest.mark.parametrize("position", [RESERVE, AUTHORIZE, CONFIRM])
@pytest.mark.parametrize("rescuer", ["sweep", "errback"])
def test_a_rescue_and_a_step(runner: Runner, position: int, rescuer: str) -> None:
    """The sweep or `link_error` takes a saga for stuck whose worker is only slow."""
    held: dict[str, Any] = {}

    def make() -> Scene:
        made = at_position(runner, position)
        held["message"] = made.message
        SagaInstance.objects.filter(pk=made.saga.pk).update(wake_at=clock_now() - timedelta(seconds=1))
        return made

    rescues: dict[str, Callable[[Scene], Any]] = {
        "sweep": lambda _: sweep.sweep(),
        "errback": lambda _: sweep.decide(held["message"].saga_id, held["message"].epoch),
    }
    scenes = Scenes(make, lambda _: process(held["message"]) is not None, rescues[rescuer])

    def check(seen: Interleaving) -> None:
        assert seen.second.error is None, seen
        runner.run_to_end()
        assert scenes.now.order.status == "CREATED", seen

    played(runner, scenes, check, two_stops=position != AUTHORIZE or ALL_PAIRS)


def test_two_sweeps(runner: Runner) -> None:
    """Both see the same overdue saga; it is dispatched once."""

    def overdue() -> Scene:
        scene = at_position(runner, CONFIRM)
        SagaInstance.objects.filter(pk=scene.saga.pk).update(wake_at=clock_now() - timedelta(seconds=1))
        return scene

    scenes = Scenes(overdue, lambda _: sweep.sweep(), lambda _: sweep.sweep())

    def check(seen: Interleaving) -> None:
        assert seen.first.value + seen.second.value == 1, seen
        assert scenes.now.count("redriven", "confirm_order") == 1
        runner.run_to_end()
        assert scenes.now.order.status == "CREATED"

    played(runner, scenes, check)


def test_two_relays(runner: Runner, events: Callable[[], list[dict[str, Any]]]) -> None:
    """Each event goes out once; its number is given once, and first seen in its order."""
    scene = created(runner)
    unpublished = SagaEvent.objects.filter(saga_id=scene.saga.pk).exclude(type="")
    SagaEvent.objects.exclude(saga_id=scene.saga.pk).update(published_at=clock_now())

    def make() -> tuple[Action, Action]:
        unpublished.update(published_at=None, subject_sequence=None)
        return relay.relay, relay.relay

    def check(seen: Interleaving) -> None:
        assert seen.first.value + seen.second.value == unpublished.count(), seen
        assert [event["subject_sequence"] for event in events()] == list(range(1, unpublished.count() + 1)), seen

    played(runner, make, check)


def test_an_operators_retry_and_a_worker_with_an_old_message(runner: Runner) -> None:
    """The message is from before the saga was parked; the worker may not act on it, nor the operator be kept out."""
    held: dict[str, Any] = {}

    def parked() -> Scene:
        scene = _parked(runner)
        held["message"] = scene.message
        return scene

    scenes = Scenes(parked, _retry, lambda _: process(held["message"]) is not None)

    def check(seen: Interleaving) -> None:
        assert seen.first.error is None, seen
        assert seen.second.value is False, seen
        runner.run_to_end()
        assert scenes.now.count("retried", "cancel_order") == 1
        assert scenes.now.count("undo_completed", "cancel_order") == 1

    played(runner, scenes, check)


def test_two_operators(runner: Runner) -> None:
    """Both retry a parked saga; one gets the answer that it is not parked any more."""
    scenes = Scenes(lambda: _parked(runner), _retry, _retry)

    def check(seen: Interleaving) -> None:
        assert seen.winners == 1, seen
        assert scenes.now.count("retried", "cancel_order") == 1

    played(runner, scenes, check)


def _parked(runner: Runner) -> Scene:
    """Its last undo would not go through, by hand: the rows say what the engine writes when retries run out."""
    scene = at_position(runner, RESERVE)
    row = scene.saga
    scene.cancel()
    runner.lose_messages()
    with transaction.atomic():
        locked = storage().lock(row.pk)
        assert locked is not None
        locked.error = "No answer."
        machine_of(locked)._park(locked, may_help=True)
        storage().save(locked)
    return scene


def _retry(scene: Scene) -> None:
    commands.retry(scene.saga.pk, reason="again", actor="operator")


# -- one of something -----------------------------------------------------------------------------------------------
def test_the_last_portion(runner: Runner) -> None:
    """Two orders for what is left: one gets it, the other is refused as sold out."""
    held: dict[str, Any] = {}

    def make() -> tuple[Action, Action]:
        MenuItem.objects.filter(sku="special").update(stock=MenuItem.objects.get(sku="special").reserved + 1)
        pair = [_before_reserving(runner) for _ in range(2)]
        held["pair"] = pair
        return (lambda: process(pair[0].message), lambda: process(pair[1].message))

    def check(seen: Interleaving) -> None:
        assert seen.winners == 1, seen
        assert isinstance(seen.first.error or seen.second.error, StepFailed)
        runner.run_to_end()
        assert Counter(scene.order.status for scene in held["pair"]) == {"CREATED": 1, "FAILED": 1}

    played(runner, make, check)


def _before_reserving(runner: Runner) -> Scene:
    return at_position(runner, RESERVE, sku="special")


def test_one_request_sent_twice(runner: Runner) -> None:
    held: dict[str, str] = {}

    def make() -> tuple[Action, Action]:
        held["key"] = new_id()
        builders.client("alice")
        return _post(held["key"]), _post(held["key"])

    def check(seen: Interleaving) -> None:
        answers = [seen.first.value, seen.second.value]
        assert all(answer is not None for answer in answers), seen
        orders = {answer["order_id"] for status, answer in answers if status == 202}
        assert len(orders) == 1, seen
        assert all(status in (202, 409) for status, _ in answers), seen
        assert Order.objects.count() == len(seen_orders | orders)
        seen_orders.update(orders)

    seen_orders: set[str] = set()
    played(runner, make, check)


def _post(key: str) -> Action:
    def post() -> tuple[int, dict[str, Any]]:
        answer = builders.place(builders.client("alice"), **{"Idempotency-Key": key})
        return answer.status_code, answer.json()

    return post


@pytest.mark.parametrize("is_undo_first", [False, True], ids=["authorization-first", "undo-first"])
def test_a_late_authorization_and_its_undo(runner: Runner, is_undo_first: bool) -> None:
    """Whatever the order of their statements, no hold is left once both have ended."""
    held: dict[str, str] = {}

    def void() -> Payment:
        return authorize.void_authorization(held["payment"], held["order"], reason="r", idempotency_key=held["payment"])

    def make() -> tuple[Action, Action]:
        held["payment"], held["order"] = new_id(), new_id()
        terms = authorize.Terms(
            payment_id=held["payment"], order_id=held["order"], owner="c", amount_cents=1299, currency="USD",
            payment_method_id="pm_card_visa", idempotency_key=held["payment"],
        )  # fmt: skip
        sides: tuple[Action, Action] = (lambda: authorize.authorize(terms), void)
        return sides[::-1] if is_undo_first else sides

    def check(seen: Interleaving) -> None:
        undo = seen.first if is_undo_first else seen.second
        if undo.error is not None:  # it could not see to it, said so, and is run again
            void()
        intents = SandboxIntent.objects.filter(metadata__order_id=held["order"])
        assert [intent.id for intent in intents if intent.status == "requires_capture"] == [], seen
        assert sum(intent.authorizations for intent in intents) <= 1, seen
        assert Payment.objects.get(pk=held["payment"]).status in ("VOIDED", "DECLINED"), seen

    # An undo that comes first finds no payment: it puts up its tombstone and is done, in few statements.
    played(runner, make, check, two_stops=ALL_PAIRS, fewest=5 if is_undo_first else FEWEST)


# -- whose the money is ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_undo_first", [False, True], ids=["capture-first", "undo-first"])
def test_a_cancellation_and_a_capture(runner: Runner, is_undo_first: bool) -> None:
    """The capture is refused, or it wins and the undo gives all of it back: the customer pays nothing either way."""
    held: dict[str, Case] = {}

    def make() -> tuple[Action, Action]:
        case = held["case"] = Case()
        case.authorize()
        case.hold()
        sides: tuple[Action, Action] = (case.capture, case.revert)
        return sides[::-1] if is_undo_first else sides

    def check(seen: Interleaving) -> None:
        capture, undo = (seen.second, seen.first) if is_undo_first else (seen.first, seen.second)
        if undo.error is not None:  # it could not see to it, said so, and is run again
            held["case"].revert()
        payment = held["case"].row
        assert payment.captured_cents == payment.refunded_cents, seen
        assert payment.status == ("REFUNDED" if payment.captured_cents else "VOIDED"), seen
        assert capture.is_won <= (payment.captured_cents == payment.amount_cents), seen

    played(runner, make, check, two_stops=ALL_PAIRS)


@pytest.mark.parametrize("is_same_key", [False, True], ids=["two-refunds", "one-refund-twice"])
def test_two_refunds(runner: Runner, is_same_key: bool) -> None:
    """Two of more than half: one is given. The same one twice: given once, with the same answer for both."""
    held: dict[str, Case] = {}

    def make() -> tuple[Action, Action]:
        case = held["case"] = Case()
        case.authorize()
        case.hold()
        case.capture()
        keys = ("a", "a" if is_same_key else "b")
        return tuple(lambda key=key: case.refund(800, key=key) for key in keys)  # type: ignore[return-value]

    def check(seen: Interleaving) -> None:
        payment = held["case"].row
        assert seen.winners == (2 if is_same_key else 1), seen
        assert (payment.refund_claimed_cents, payment.refunded_cents) == (800, 800), seen
        assert Refund.objects.filter(payment_id=payment.pk).count() == 1
        held["case"].refund(payment.captured_cents - 800, key="rest")

    played(runner, make, check, two_stops=ALL_PAIRS)


def clock_now() -> datetime:
    return storage().now()
