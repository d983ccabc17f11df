"""Cancellations by the customer, by an operator and by the timer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orders import services
from orders.models import Order
from orders.use_cases import expire
from sagas.models import SagaEvent
from sagas.testing import undone
from tests.orders.builders import BY_USER, assert_nothing_left, assert_stock_adds_up, client, code, placed
from timers import services as timers
from timers.models import ScheduledEvent

pytestmark = pytest.mark.django_db(transaction=True)

ALL_UNDOS = ["cancel_timer", "cancel_escrow", "revert_payment", "release_inventory", "cancel_order"]


def test_a_created_order_is_cancelled_and_everything_comes_back(alice, laptop, runner) -> None:
    order, saga = placed(alice, BY_USER)
    runner.run_to_end()
    response = alice.post(f"/api/orders/{order.pk}/cancel")
    assert response.status_code == 202
    assert response.json() == {
        "success": True,
        "saga_id": str(saga.pk),
        "order_id": str(order.pk),
        "status": "CANCELLING",
        "reason_code": "customer_request",
        "reason": "Manual cancellation requested by user",
    }
    order.refresh_from_db()
    assert order.status == "CANCELLING"
    runner.run_to_end()
    order.refresh_from_db()
    saga.refresh_from_db()
    assert (saga.status, order.status) == ("CANCELLED", "CANCELLED")
    assert undone(saga.pk) == ALL_UNDOS
    assert (order.reason_code, order.cancelled_by) == ("customer_request", "customer")
    assert order.reason == "Manual cancellation requested by user"
    assert_nothing_left(order.pk)
    assert_stock_adds_up()


@pytest.mark.parametrize("messages", range(9))
def test_a_customer_may_change_their_mind_after_every_step(alice, laptop, runner, messages) -> None:
    runner.run_inline = False
    order, saga = placed(alice, BY_USER)
    for _ in range(messages):
        runner.deliver()
    assert alice.post(f"/api/orders/{order.pk}/cancel").status_code == 202
    runner.run_to_end()
    order.refresh_from_db()
    saga.refresh_from_db()
    assert (saga.status, order.status) == ("CANCELLED", "CANCELLED")
    assert_nothing_left(order.pk)
    assert_stock_adds_up()


def test_a_cancellation_by_the_sagas_own_address_names_its_author(alice, runner) -> None:
    for api, expected in ((alice, "customer"), (client("olga", is_staff=True), "operator")):
        order, saga = placed(alice)
        assert api.post(f"/api/sagas/{saga.pk}/cancel").status_code == 202
        runner.run_to_end()
        order.refresh_from_db()
        assert (order.status, order.cancelled_by) == ("CANCELLED", expected)


def test_a_second_cancellation_is_refused_while_the_first_is_running(alice, runner) -> None:
    order, _ = placed(alice)
    assert alice.post(f"/api/orders/{order.pk}/cancel").status_code == 202
    response = alice.post(f"/api/orders/{order.pk}/cancel/")
    assert response.status_code == 409
    assert code(response) == "saga.already_cancelling"


def test_the_same_cancellation_again_gets_the_same_answer(alice, runner) -> None:
    order, _ = placed(alice)
    headers = {"Idempotency-Key": "cancel-1"}
    first, again = (alice.post(f"/api/orders/{order.pk}/cancel", headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("status", ["CANCELLED", "FAILED", "ACCEPTED", "COMPLETED"])
def test_an_accepted_or_ended_order_is_not_cancelled(alice, runner, status) -> None:
    order, saga = placed(alice)
    runner.run_to_end()
    Order.objects.filter(pk=order.pk).update(status=status, runner="rita")
    response = alice.post(f"/api/orders/{order.pk}/cancel")
    assert response.status_code == 409
    assert code(response) == "order.not_cancellable"
    assert response.json()["order_status"] == status
    saga.refresh_from_db()
    assert saga.status == "COMPLETED"


def test_a_finished_cancellation_cannot_be_repeated(alice, runner) -> None:
    order, _ = placed(alice)
    alice.post(f"/api/orders/{order.pk}/cancel")
    runner.run_to_end()
    response = alice.post(f"/api/orders/{order.pk}/cancel")
    assert response.status_code == 409
    assert code(response) == "order.not_cancellable"
    assert response.json()["order_status"] == "CANCELLED"


def test_somebody_elses_order_cannot_be_cancelled(alice, bob, runner) -> None:
    order, _ = placed(alice)
    response = bob.post(f"/api/orders/{order.pk}/cancel")
    assert response.status_code == 404
    order.refresh_from_db()
    assert order.status == "pendingPayment"


def test_the_reason_and_who_gave_it_are_kept(alice, runner) -> None:
    order, _ = placed(alice)
    operator = client("olga", role="operator")
    operator.post(f"/api/orders/{order.pk}/cancel", {"reason_code": "restaurant_closed"}, format="json")
    runner.run_to_end()
    order.refresh_from_db()
    assert order.reason_code == "restaurant_closed"
    assert order.reason == "The restaurant has closed"
    assert order.cancelled_by == "operator"


@pytest.mark.parametrize(
    "given",
    [
        {"reason_code": "because"},
        {"reason_code": "order_timed_out"},
        {"reason_code": "other"},
        {"reason": ""},
        {"reason": "x" * 501},
        {"reason": 5},
        {"status": "CREATED"},
        ["customer_request"],
    ],
    ids=str,
)
def test_an_invalid_reason_is_refused(alice, runner, given) -> None:
    order, _ = placed(alice)
    response = alice.post(f"/api/orders/{order.pk}/cancel", given, format="json")
    assert response.status_code == 400
    assert code(response) == "request.invalid"
    order.refresh_from_db()
    assert order.status == "pendingPayment"


class TestNoRunnerAccepts:
    """The acceptance window passes without a runner."""

    def test_the_timer_cancels_the_order_once(self, alice, laptop, runner, settings) -> None:
        order, saga = placed(alice, BY_USER)
        runner.run_to_end()
        assert timers.fire_due() == 0
        runner.let_pass(settings.ORDER_ACCEPTANCE_WINDOW + timedelta(seconds=1))
        assert [timers.fire_due(), timers.fire_due()] == [1, 0]
        runner.run_to_end()
        order.refresh_from_db()
        saga.refresh_from_db()
        assert (saga.status, order.status) == ("CANCELLED", "CANCELLED")
        assert (order.reason_code, order.reason) == ("order_timed_out", "Order timed out (30 minutes)")
        assert order.cancelled_by == "system"
        assert undone(saga.pk) == ALL_UNDOS
        assert SagaEvent.objects.filter(saga_id=saga.pk, action="cancellation_started").count() == 1
        assert_nothing_left(order.pk)

    def test_an_accepted_order_is_left_alone(self, alice, runner, settings) -> None:
        order, saga = placed(alice)
        runner.run_to_end()
        services.claim_for_acceptance(order_id=str(order.pk), runner="rita")
        runner.let_pass(settings.ORDER_ACCEPTANCE_WINDOW + timedelta(seconds=1))
        assert timers.fire_due() == 1
        order.refresh_from_db()
        saga.refresh_from_db()
        assert (saga.status, order.status) == ("COMPLETED", "ACCEPTED")

    def test_an_order_without_a_timer_is_found_all_the_same(self, alice, runner, settings) -> None:
        order, _ = placed(alice)
        runner.run_to_end()
        ScheduledEvent.objects.all().delete()
        assert expire.sweep_unattended() == 0
        runner.let_pass(settings.ORDER_ACCEPTANCE_WINDOW + expire.UNATTENDED_GRACE + timedelta(seconds=1))
        assert [expire.sweep_unattended(), expire.sweep_unattended()] == [1, 0]
        runner.run_to_end()
        order.refresh_from_db()
        assert order.status == "CANCELLED"

    def test_an_order_with_a_timer_is_left_to_it(self, alice, runner, settings) -> None:
        placed(alice)
        runner.run_to_end()
        runner.let_pass(settings.ORDER_ACCEPTANCE_WINDOW + expire.UNATTENDED_GRACE + timedelta(seconds=1))
        assert expire.sweep_unattended() == 0

    def test_a_runner_who_comes_too_late_gets_nothing(self, alice, runner, settings) -> None:
        order, _ = placed(alice)
        runner.run_to_end()
        runner.let_pass(settings.ORDER_ACCEPTANCE_WINDOW + timedelta(seconds=1))
        with pytest.raises(services.CannotAccept):
            services.claim_for_acceptance(order_id=str(order.pk), runner="rita")
