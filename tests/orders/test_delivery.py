"""From CREATED to COMPLETED: a runner accepts, the customer pays, everybody gets their share; and each failure."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from orders import services
from orders.errors import CannotCancel, UnknownOrder, WrongStatus
from orders.models import MenuItem, Order
from orders.sagas import accept_order, complete_order, refund_order
from orders.use_cases import expire
from payments.models import EscrowTransaction, Payment
from sagas.definition.saga import Saga
from sagas.models import SagaInstance
from sagas.testing import Runner, undone
from tests.orders.builders import (
    BY_USER,
    assert_nothing_left,
    assert_stock_adds_up,
    client,
    code,
    laptop,
    live_authorizations,
    placed,
)
from tests.orders.failing import KINDS, failing, run_until_the_saga_ends
from tests.threads import at_once
from timers import services as timers
from timers.models import ScheduledEvent

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = {"accept_order": accept_order, "complete_order": complete_order, "refund_order": refund_order}


@pytest.fixture
def rita(db: None) -> APIClient:
    return client("rita", role="runner")


@pytest.fixture
def olga(db: None) -> APIClient:
    return client("olga", role="operator")


def created(runner: Runner) -> Order:
    """An order of Alice that waits for a runner."""
    if not MenuItem.objects.exists():
        laptop()
    order, _ = placed(client("alice"), BY_USER)
    runner.run_to_end()
    order.refresh_from_db()
    assert order.status == "CREATED"
    return order


def accept(api: APIClient, order: Order) -> SagaInstance:
    response = api.post(f"/api/orders/{order.pk}/accept")
    assert response.status_code == 200, response.json()
    return SagaInstance.objects.get(pk=response.json()["saga_id"])


def complete(api: APIClient, order: Order) -> SagaInstance:
    response = api.post(f"/api/orders/{order.pk}/complete")
    assert response.status_code == 200, response.json()
    return SagaInstance.objects.get(pk=response.json()["saga_id"])


def payment(order: Order) -> Payment:
    return Payment.objects.get(order_id=order.pk)


def test_the_first_runner_gets_the_order_and_the_customer_pays(rita: APIClient, runner: Runner) -> None:
    order = created(runner)
    saga = accept(rita, order)
    runner.run_to_end()
    order.refresh_from_db()
    saga.refresh_from_db()
    assert (saga.status, order.status, order.runner) == ("COMPLETED", "ACCEPTED", "rita")
    assert order.accepted_at is not None
    assert payment(order).status == "CAPTURED"
    assert not ScheduledEvent.objects.live().filter(entity_id=str(order.pk)).exists()
    assert live_authorizations(order.pk) == 0


def test_a_delivered_order_pays_everybody(rita: APIClient, runner: Runner, settings: object) -> None:
    order = created(runner)
    accept(rita, order)
    runner.run_to_end()
    saga = complete(rita, order)
    runner.run_to_end()
    order.refresh_from_db()
    saga.refresh_from_db()
    assert (saga.status, order.status) == ("COMPLETED", "COMPLETED")
    assert order.completed_at is not None
    held = EscrowTransaction.objects.get(order_id=order.pk, type="HOLD")
    assert held.status == "RELEASED"
    item = MenuItem.objects.get()
    assert (item.stock, item.reserved) == (9, 0)
    assert_stock_adds_up()


def test_an_order_of_free_lines_only_is_delivered_too(rita: APIClient, runner: Runner) -> None:
    order, _ = placed(client("alice"))
    runner.run_to_end()
    accept(rita, order)
    runner.run_to_end()
    saga = complete(rita, order)
    runner.run_to_end()
    saga.refresh_from_db()
    assert saga.status == "COMPLETED"


def test_the_second_runner_gets_the_status_of_the_order(rita: APIClient, runner: Runner) -> None:
    order = created(runner)
    other = client("rob", role="runner")
    accept(rita, order)
    response = other.post(f"/api/orders/{order.pk}/accept")
    assert response.status_code == 409
    assert code(response) == "order.not_acceptable"
    assert response.json()["order_status"] == "ACCEPTED"
    assert other.get(f"/api/orders/{order.pk}").status_code == 404, "other runners do not see an accepted order"


def test_a_conflict_names_the_order_and_where_it_is(rita: APIClient, runner: Runner) -> None:
    order = created(runner)
    accept(rita, order)
    problem = client("rob", role="runner").post(f"/api/orders/{order.pk}/accept").json()
    assert (problem["order_id"], problem["order_status"]) == (str(order.pk), "ACCEPTED")
    assert problem["detail"] == "The order is ACCEPTED and can't be accepted."


def test_a_refund_that_comes_too_early_names_the_order_and_where_it_is(olga: APIClient, runner: Runner) -> None:
    order = created(runner)
    with pytest.raises(CannotCancel, match="The order is CREATED and can't be cancelled") as conflict:
        services.claim_for_refund(order_id=str(order.pk))
    assert conflict.value.extra["order_id"] == str(order.pk)


def test_an_order_that_is_confirmed_already_is_named(runner: Runner) -> None:
    order = created(runner)
    with pytest.raises(WrongStatus, match="The order is CREATED and can't be confirmed"):
        services.confirm_order(order_id=str(order.pk))


def test_who_cancelled_is_stored_for_their_own_order(runner: Runner) -> None:
    """Of a user that is no more only the order says that it was theirs."""
    before = created(runner)
    order, _ = placed(client("bob"), BY_USER)
    after = created(runner)
    User.objects.filter(username="bob").delete()
    services.record_cancelled_by(order_id=str(order.pk), actor="bob")
    services.record_cancelled_by(order_id=str(order.pk), actor="system")
    for each in (before, order, after):
        each.refresh_from_db()
    assert (before.cancelled_by, order.cancelled_by, after.cancelled_by) == ("", "customer", "")


def test_an_order_that_does_not_exist_is_named(db: None) -> None:
    order_id = "6f1d6a0e-3c55-5f3f-9d0b-0c4a2b6f9e11"
    with pytest.raises(UnknownOrder, match=f"There is no order {order_id}"):
        services.claim_for_acceptance(order_id=order_id, runner="rita")


def test_accepting_again_with_the_same_key_is_one_acceptance(rita: APIClient, runner: Runner) -> None:
    order = created(runner)
    first, second = (rita.post(f"/api/orders/{order.pk}/accept", headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json() == second.json()
    again = rita.post(f"/api/orders/{order.pk}/accept")
    assert again.status_code == 409
    assert code(again) == "order.not_acceptable"
    assert again.json()["order_status"] == "ACCEPTED"


def test_one_key_at_two_addresses_is_two_requests(rita: APIClient, runner: Runner) -> None:
    order = created(runner)
    key = {"Idempotency-Key": "k"}
    accepted = rita.post(f"/api/orders/{order.pk}/accept", headers=key)
    runner.run_to_end()
    completed = rita.post(f"/api/orders/{order.pk}/complete", headers=key)
    assert (accepted.status_code, completed.status_code) == (200, 200)
    assert "Idempotent-Replayed" not in completed.headers
    assert completed.json()["saga_id"] != accepted.json()["saga_id"]
    runner.run_to_end()
    order.refresh_from_db()
    assert order.status == "COMPLETED"


def test_completing_again_with_the_same_key_is_one_completion(rita: APIClient, runner: Runner) -> None:
    order = created(runner)
    accept(rita, order)
    runner.run_to_end()
    path, key = f"/api/orders/{order.pk}/complete", {"Idempotency-Key": "k"}
    first, again = rita.post(path, headers=key), rita.post(f"{path}/", headers=key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert SagaInstance.objects.filter(name="complete_order").count() == 1


def test_only_runners_accept(alice: APIClient, olga: APIClient, runner: Runner) -> None:
    order = created(runner)
    for api in (alice, olga):
        assert api.post(f"/api/orders/{order.pk}/accept").status_code == 403


def test_only_the_runner_of_an_order_completes_it(rita: APIClient, alice: APIClient, runner: Runner) -> None:
    order = created(runner)
    accept(rita, order)
    runner.run_to_end()
    assert alice.post(f"/api/orders/{order.pk}/complete").status_code == 403
    assert client("rob", role="runner").post(f"/api/orders/{order.pk}/complete").status_code == 404


def test_an_order_is_not_completed_before_it_is_paid(rita: APIClient, runner: Runner) -> None:
    order = created(runner)
    accept(rita, order)
    response = rita.post(f"/api/orders/{order.pk}/complete")
    assert response.status_code == 409
    assert code(response) == "order.not_completable"


def test_an_order_is_completed_once(rita: APIClient, runner: Runner) -> None:
    order = created(runner)
    accept(rita, order)
    runner.run_to_end()
    complete(rita, order)
    runner.run_to_end()
    assert rita.post(f"/api/orders/{order.pk}/complete").status_code == 409


def test_runners_see_what_waits_and_nothing_else(rita: APIClient, alice: APIClient, runner: Runner) -> None:
    order = created(runner)
    assert [each["id"] for each in rita.get("/api/orders/available").json()] == [str(order.pk)]
    assert alice.get("/api/orders/available").status_code == 403
    accept(rita, order)
    assert rita.get("/api/orders/available").json() == []


def test_a_runner_cancels_nothing(rita: APIClient, runner: Runner) -> None:
    order = created(runner)
    assert rita.post(f"/api/orders/{order.pk}/cancel").status_code == 403
    order.refresh_from_db()
    assert order.status == "CREATED"


def test_an_accepted_order_is_never_timed_out(rita: APIClient, runner: Runner, settings: object) -> None:
    order = created(runner)
    accept(rita, order)
    runner.run_to_end()
    runner.let_pass(timedelta(days=1))
    assert timers.fire_due() == 0
    assert expire.sweep_unattended() == 0
    order.refresh_from_db()
    assert order.status == "ACCEPTED"


def test_the_customer_cannot_cancel_what_is_accepted(rita: APIClient, alice: APIClient, runner: Runner) -> None:
    order = created(runner)
    accept(rita, order)
    runner.run_to_end()
    response = alice.post(f"/api/orders/{order.pk}/cancel")
    assert response.status_code == 409
    assert response.json()["order_status"] == "ACCEPTED"


@pytest.mark.parametrize("is_delivered", [False, True], ids=["accepted", "delivered"])
def test_an_operator_gives_the_money_back(rita, olga, runner, is_delivered) -> None:
    order = created(runner)
    accept(rita, order)
    runner.run_to_end()
    if is_delivered:
        complete(rita, order)
        runner.run_to_end()
    payload = {"reason_code": "restaurant_closed"}
    response = olga.post(f"/api/orders/{order.pk}/cancel", payload, format="json")
    assert response.status_code == 202
    runner.run_to_end()
    order.refresh_from_db()
    assert SagaInstance.objects.get(pk=response.json()["saga_id"]).status == "COMPLETED"
    assert (order.status, order.reason, order.cancelled_by) == ("CANCELLED", "The restaurant has closed", "operator")
    paid = payment(order)
    assert paid.refunded_cents == paid.captured_cents == 129_999
    assert MenuItem.objects.get().stock == (9 if is_delivered else 10)
    assert_nothing_left(order.pk)
    assert_stock_adds_up()


def test_a_refund_waits_until_the_payment_is_settled(rita: APIClient, olga: APIClient, runner: Runner) -> None:
    order = created(runner)
    accept(rita, order)
    response = olga.post(f"/api/orders/{order.pk}/cancel")
    assert response.status_code == 409
    assert code(response) == "order.not_cancellable"


@pytest.mark.parametrize(
    ("saga", "step"),
    [(accept_order, "capture_payment"), (complete_order, "release_escrow")],
    ids=["acceptance", "completion"],
)
def test_a_refund_waits_while_the_saga_before_it_needs_attention(
    rita: APIClient, olga: APIClient, runner: Runner, saga: Saga, step: str
) -> None:
    order = created(runner)
    with failing(saga, step, "error"):
        before = start(saga, rita, olga, order, runner)
        run_until_the_saga_ends(runner)
    before.refresh_from_db()
    assert before.status == "NEEDS_ATTENTION"
    response = olga.post(f"/api/orders/{order.pk}/cancel")
    assert (response.status_code, code(response)) == (409, "order.not_cancellable")
    assert response.json()["order_id"] == str(order.pk)
    order.refresh_from_db()
    assert order.status in ("ACCEPTED", "COMPLETED")
    assert payment(order).refunded_cents == 0


def test_an_order_accepted_before_its_timer_was_set_has_none(rita: APIClient) -> None:
    laptop()
    with Runner(run_inline=False) as runner:
        order, _ = placed(client("alice"), BY_USER)
        while order.status != "CREATED":
            assert runner.deliver()
            order.refresh_from_db()
        later = runner.chains.popleft()  # the step that starts the timer
        accept(rita, order)
        runner.run()
        runner.chains.append(later)
        runner.run_to_end()
    order.refresh_from_db()
    assert order.status == "ACCEPTED"
    assert not ScheduledEvent.objects.live().exists()


def test_an_acceptance_is_not_cancelled_through_its_saga(rita: APIClient, runner: Runner) -> None:
    order = created(runner)
    saga = accept(rita, order)
    response = rita.post(f"/api/sagas/{saga.pk}/cancel")
    assert response.status_code == 409
    runner.run_to_end()
    order.refresh_from_db()
    assert order.status == "ACCEPTED"


class Expected(NamedTuple):
    undone: list[str]
    saga: str
    order: str


RETURNED = Expected(["restore_timer", "return_to_created"], "COMPENSATED", "CREATED")
TABLE: dict[tuple[str, str, str], Expected | None] = {
    ("accept_order", "claim_for_acceptance", "refusal"): None,
    ("accept_order", "claim_for_acceptance", "error"): None,
    ("accept_order", "claim_for_acceptance", "timeout"): None,
    ("accept_order", "cancel_timer", "refusal"): Expected(["return_to_created"], "COMPENSATED", "CREATED"),
    ("accept_order", "cancel_timer", "error"): Expected(["return_to_created"], "COMPENSATED", "CREATED"),
    ("accept_order", "cancel_timer", "timeout"): Expected(["return_to_created"], "COMPENSATED", "CREATED"),
    ("accept_order", "capture_payment", "refusal"): RETURNED,
    # It is unknown whether the money was captured. Neither direction is safe, so an operator decides.
    ("accept_order", "capture_payment", "error"): Expected([], "NEEDS_ATTENTION", "ACCEPTED"),
    ("accept_order", "capture_payment", "timeout"): Expected([], "NEEDS_ATTENTION", "ACCEPTED"),
    ("accept_order", "confirm_acceptance", "refusal"): Expected([], "NEEDS_ATTENTION", "ACCEPTED"),
    ("accept_order", "confirm_acceptance", "error"): Expected([], "NEEDS_ATTENTION", "ACCEPTED"),
    ("accept_order", "confirm_acceptance", "timeout"): Expected([], "NEEDS_ATTENTION", "ACCEPTED"),
    ("complete_order", "complete_order", "refusal"): None,
    ("complete_order", "complete_order", "error"): None,
    ("complete_order", "complete_order", "timeout"): None,
    ("complete_order", "consume_inventory", "refusal"): Expected([], "NEEDS_ATTENTION", "COMPLETED"),
    ("complete_order", "consume_inventory", "error"): Expected([], "NEEDS_ATTENTION", "COMPLETED"),
    ("complete_order", "consume_inventory", "timeout"): Expected([], "NEEDS_ATTENTION", "COMPLETED"),
    ("complete_order", "release_escrow", "refusal"): Expected([], "NEEDS_ATTENTION", "COMPLETED"),
    ("complete_order", "release_escrow", "error"): Expected([], "NEEDS_ATTENTION", "COMPLETED"),
    ("complete_order", "release_escrow", "timeout"): Expected([], "NEEDS_ATTENTION", "COMPLETED"),
    **{
        ("refund_order", step.name, kind): Expected([], "NEEDS_ATTENTION", "CANCELLING") if step.position else None
        for step in refund_order.steps
        for kind in KINDS
    },
}


def test_every_step_of_every_saga_has_its_rows() -> None:
    assert set(TABLE) == {
        (name, step.name, kind) for name, saga in TABLES.items() for step in saga.steps for kind in KINDS
    }


@pytest.mark.parametrize("at", [at for at, row in TABLE.items() if row], ids="-".join)
def test_a_failure_leaves_what_the_table_says(rita, olga, runner, at: tuple[str, str, str]) -> None:
    name, step, kind = at
    expected = TABLE[at]
    assert expected is not None
    order = created(runner)
    timer = ScheduledEvent.objects.get(entity_id=str(order.pk))
    with failing(TABLES[name], step, kind):
        saga = start(TABLES[name], rita, olga, order, runner)
        run_until_the_saga_ends(runner)
    order.refresh_from_db()
    saga.refresh_from_db()
    assert (undone(saga.pk), saga.status, order.status) == expected
    assert_stock_adds_up()
    if order.status == "CREATED":
        again = ScheduledEvent.objects.get(entity_id=str(order.pk))
        assert (again.status, again.scheduled_at, again.due_at) == ("SCHEDULED", timer.scheduled_at, timer.due_at)
        assert order.runner == ""
        assert live_authorizations(order.pk) == 1


def start(saga: Saga, rita: APIClient, olga: APIClient, order: Order, runner: Runner) -> SagaInstance:
    accepted = accept(rita, order)
    if saga is accept_order:
        return accepted
    runner.run_to_end()
    if saga is complete_order:
        return complete(rita, order)
    response = olga.post(f"/api/orders/{order.pk}/cancel")
    return SagaInstance.objects.get(pk=response.json()["saga_id"])


def test_a_returned_order_can_be_accepted_by_the_next_runner(rita: APIClient, runner: Runner) -> None:
    order = created(runner)
    with failing(accept_order, "capture_payment", "refusal"):
        accept(rita, order)
        runner.run_to_end()
    accept(client("rob", role="runner"), order)
    runner.run_to_end()
    order.refresh_from_db()
    assert (order.status, order.runner) == ("ACCEPTED", "rob")


@pytest.mark.postgres
def test_many_runners_and_one_order(runner: Runner) -> None:
    order = created(runner)
    apis = [client(f"runner-{number}", role="runner") for number in range(20)]
    statuses = at_once([lambda api=api: api.post(f"/api/orders/{order.pk}/accept").status_code for api in apis])
    assert statuses.count(200) == 1
    assert statuses.count(409) == 19
    assert SagaInstance.objects.filter(name="accept_order").count() == 1


@pytest.mark.postgres
def test_a_runner_and_the_timer_race_and_one_wins(rita: APIClient, runner: Runner) -> None:
    for _ in range(10):
        order = created(runner)
        ScheduledEvent.objects.filter(entity_id=str(order.pk)).update(due_at="2020-01-01T00:00:00Z")
        path = f"/api/orders/{order.pk}/accept"
        accepted, _ = at_once([lambda path=path: rita.post(path).status_code, timers.fire_due])
        order.refresh_from_db()
        assert (accepted, order.status) in {(200, "ACCEPTED"), (409, "CANCELLING")}
