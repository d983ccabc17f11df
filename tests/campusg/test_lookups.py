"""A caller cannot distinguish a row of another user, an unknown id and a text that is no id."""

from __future__ import annotations

import uuid

import pytest
from rest_framework.test import APIClient

from payments.models import EscrowTransaction, Payment
from sagas.testing import Runner
from tests.orders.builders import client, placed
from timers.models import ScheduledEvent

pytestmark = pytest.mark.django_db(transaction=True)

PLACES = {
    "/api/orders/{}": "order.not_found", "/api/orders/{}/saga": "order.not_found", "/api/sagas/{}": "saga.unknown",
    "/api/payments/{}": "payment.unknown", "/api/escrow/{}": "escrow.unknown", "/api/events/{}": "timer.unknown_event",
}  # fmt: skip


@pytest.fixture
def alices(transactional_db: None) -> dict[str, str]:
    """The ids of an order of Alice and of its rows, by address."""
    with Runner() as runner:
        order, saga = placed(client("alice"))
        runner.run_to_end()
    payment, escrow = Payment.objects.get(order_id=order.pk), EscrowTransaction.objects.get(order_id=order.pk)
    event = ScheduledEvent.objects.get(entity_id=str(order.pk))
    ids = (order.pk, order.pk, saga.pk, payment.pk, escrow.pk, event.pk)
    return {place: str(pk) for place, pk in zip(PLACES, ids, strict=True)}


def shown(api: APIClient, place: str, pk: str) -> tuple[int, str]:
    response = api.get(place.format(pk))
    return response.status_code, response.content.decode().replace(pk, "ID")


def test_they_look_the_same(alices: dict[str, str]) -> None:
    alice, bob = client("alice"), client("bob")
    for place, pk in alices.items():
        assert shown(alice, place, pk)[0] == 200, place
        responses = {shown(bob, place, each) for each in (pk, str(uuid.uuid4()), "nonsense")}
        assert len(responses) == 1, place
        [(status, body)] = responses
        assert status == 404
        assert f'"code":"{PLACES[place]}"' in body
