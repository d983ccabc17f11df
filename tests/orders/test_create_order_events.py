"""The events of the create-order saga, and their older names."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from orders.models import MenuItem
from orders.sagas.create_order import create_order
from sagas.models import SagaEvent, SagaInstance
from sagas.outbox import relay
from sagas.testing import Runner
from tests.orders import builders

pytestmark = pytest.mark.django_db(transaction=True)

FACTS = [
    "saga.started", "order.created", "inventory.validated", "inventory.reserved", "user.payment_info_retrieved",
    "payment.authorized", "escrow.held", "order.status_updated", "timer.started", "saga.completed",
]  # fmt: skip


def test_a_good_order_states_each_fact_once_and_in_order(alice: APIClient, laptop: MenuItem, runner: Runner) -> None:
    _, saga = builders.placed(alice)
    runner.run()
    events = SagaEvent.objects.filter(saga_id=saga.pk).exclude(type="").order_by("seq")
    assert [event.type for event in events] == FACTS


def test_every_event_says_whose_order_it_is_about(alice: APIClient, laptop: MenuItem, runner: Runner) -> None:
    order, saga = builders.placed(alice)
    event = SagaEvent.objects.filter(saga_id=saga.pk).exclude(type="").first()
    payload = relay.envelope(event, SagaInstance.objects.get(pk=saga.pk))["payload"]
    assert payload["order_id"] == str(order.pk)
    assert payload["customer_id"] == order.customer_id


def test_older_names_are_published_beside_ours() -> None:
    assert create_order.aliases_of("order.created")[0] == "domain.order.OrderCreated"
    assert create_order.aliases_of("order.status_updated") == ("domain.order.OrderCompleted",)
    assert create_order.aliases_of("saga.compensated") == ("domain.order.OrderFailed",)
