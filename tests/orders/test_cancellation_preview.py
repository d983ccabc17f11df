"""The preview of a cancellation says what then happens, for every status of an order."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from orders.models import Order
from sagas.models import SagaInstance
from sagas.testing import Runner, done, undone
from tests.orders.builders import BY_USER, client, code, live_authorizations, placed

pytestmark = pytest.mark.django_db(transaction=True)


def preview_of(api: APIClient, order: Order) -> tuple[dict[str, Any], str]:
    response = api.get(f"/api/orders/{order.pk}/cancel")
    assert response.status_code == 200, response.json()
    return response.json(), response.headers["ETag"]


def cancel(api: APIClient, order: Order, tag: str) -> Any:
    return api.post(f"/api/orders/{order.pk}/cancel", headers={"If-Match": tag})


@pytest.mark.parametrize("messages", range(8))
def test_before_acceptance_the_preview_is_right(alice, laptop, runner: Runner, messages: int) -> None:
    runner.run_inline = False
    order, saga = placed(alice, BY_USER)
    for _ in range(messages):
        runner.deliver()
    held = live_authorizations(order.pk)
    shown, tag = preview_of(alice, order)
    assert cancel(alice, order, tag).status_code == 202
    runner.run_to_end()
    assert (shown["way"], shown["runs"]) == ("cancel", undone(saga.pk))
    moved = [(move["kind"], move["amount"]) for move in shown["money"]]
    assert moved == ([("release_authorization", "1299.99")] if held else [])


@pytest.mark.parametrize("is_delivered", [False, True], ids=["accepted", "delivered"])
def test_after_acceptance_the_preview_is_right(alice, laptop, runner: Runner, is_delivered: bool) -> None:
    order, _ = placed(alice, BY_USER)
    runner.run_to_end()
    rita, olga = client("rita", role="runner"), client("olga", role="operator")
    for step in ("accept", "complete") if is_delivered else ("accept",):
        assert rita.post(f"/api/orders/{order.pk}/{step}").status_code == 200
        runner.run_to_end()
    shown, tag = preview_of(olga, order)
    response = cancel(olga, order, tag)
    assert response.status_code == 202
    runner.run_to_end()
    saga = SagaInstance.objects.get(pk=response.json()["saga_id"])
    assert (shown["way"], shown["runs"]) == ("refund", done(saga.pk)[1:])
    kinds = [move["kind"] for move in shown["money"]]
    assert kinds == (["reverse_payout", "refund"] if is_delivered else ["refund"])
    assert shown["money"][-1] == {
        "kind": "refund", "from": "escrow", "to": "alice", "amount": "1299.99", "currency": "USD",
    }  # fmt: skip


def test_looking_changes_nothing(alice, laptop, runner: Runner) -> None:
    order, saga = placed(alice, BY_USER)
    runner.run_to_end()
    assert preview_of(alice, order) == preview_of(alice, order)
    saga.refresh_from_db()
    assert saga.status == "COMPLETED"


def test_an_order_that_changed_after_the_preview_is_not_cancelled(alice, laptop, runner: Runner) -> None:
    order, _ = placed(alice, BY_USER)
    _, tag = preview_of(alice, order)
    runner.run_to_end()
    response = cancel(alice, order, tag)
    assert response.status_code == 412
    assert code(response) == "order.changed"
    order.refresh_from_db()
    assert order.status == "CREATED"


def test_what_cannot_be_cancelled_has_no_preview(alice, bob, laptop, runner: Runner) -> None:
    order, _ = placed(alice, BY_USER)
    runner.run_to_end()
    assert bob.get(f"/api/orders/{order.pk}/cancel").status_code == 404
    rita = client("rita", role="runner")
    assert rita.get(f"/api/orders/{order.pk}/cancel").status_code == 403
    rita.post(f"/api/orders/{order.pk}/accept")
    runner.run_to_end()
    response = alice.get(f"/api/orders/{order.pk}/cancel")
    assert response.status_code == 409
    assert code(response) == "order.not_cancellable"
