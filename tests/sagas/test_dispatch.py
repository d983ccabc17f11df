"""The messages themselves: what is published for a saga, and what a broker that is down costs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from rest_framework.test import APIClient

from orders.sagas.create_order import create_order
from sagas.engine import dispatch
from sagas.engine.dispatch import COMPENSATE_TASK, CeleryPublisher, StepMessage, remaining
from sagas.machine.state import Row
from sagas.models import SagaInstance
from sagas.statuses import Direction, Status
from sagas.storage import storage
from sagas.testing import Runner
from tests.orders.builders import BY_USER, client, laptop, placed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.embedded]


@pytest.fixture
def alice(transactional_db: None) -> APIClient:
    return client("alice")


@pytest.fixture
def row(alice: APIClient) -> Iterator[Row]:
    """An order's saga after its first step."""
    laptop()
    with Runner():
        _, saga = placed(alice, BY_USER)
        found = storage().read(saga.pk)
        assert found is not None
        yield found


def queue_of(task: str) -> str:
    return str(current_app.amqp.router.route({}, task)["queue"].name)


def received(task: str) -> list[Any]:
    """The messages that wait in the queue of a task, with their headers."""
    with current_app.connection_for_read() as connection, connection.SimpleQueue(queue_of(task)) as queue:
        found = []
        while True:
            try:
                message = queue.get(block=False)
            except queue.Empty:
                return found
            message.ack()
            found.append(message)


def test_one_message_carries_the_rest_of_a_saga_and_whom_to_call_when_it_fails(row: Row) -> None:
    links = remaining(row, create_order)
    first, _ = links[0]
    received(first)  # what other tests left
    CeleryPublisher()(links)
    (message,) = received(first)
    body = message.payload if isinstance(message.payload, list) else json.loads(message.body)
    arguments, _, options = body
    assert arguments == [str(row.id), 1, 1]
    assert message.headers["root_id"] == str(row.id)
    chained = [(link["task"], link["args"]) for link in reversed(options["chain"])]
    assert chained == [(name, [str(row.id), step.position, step.epoch]) for name, step in links[1:]]
    (error_callback,) = options["errbacks"]
    assert (error_callback["task"], error_callback["args"]) == (COMPENSATE_TASK, [str(row.id), 1])


def test_the_last_step_is_published_too(row: Row) -> None:
    last = remaining(row, create_order)[-1:]
    received(last[0][0])
    CeleryPublisher()(last)
    (message,) = received(last[0][0])
    assert message.headers["root_id"] == str(row.id)


def test_a_broker_that_is_down_is_left_alone_for_five_seconds(
    row: Row, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    steady = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: steady[0])
    attempts = []

    def refuse(*_: Any, **__: Any) -> None:
        attempts.append(steady[0])
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr("celery.canvas._chain.apply_async", refuse)
    publish, links = CeleryPublisher(), remaining(row, create_order)
    for steady[0] in (1000.0, 1004.9, 1005.1):
        publish(links)
    assert attempts == [1000.0, 1005.1]
    assert [record.saga_id for record in caplog.records if record.action == "message_lost"] == [str(row.id)] * 2


def test_what_remains_of_a_saga_are_its_steps_or_its_compensations_in_reverse(row: Row) -> None:
    forward = remaining(row, create_order)
    assert [name.rpartition(".")[2] for name, _ in forward] == [step.name for step in create_order.steps[1:]]
    assert {(message.saga_id, message.epoch) for _, message in forward} == {(row.id, 1)}
    row.direction, row.status, row.position, row.epoch = Direction.BACK, Status.COMPENSATING, 4, 2
    back = remaining(row, create_order)
    assert [name.rpartition(".")[2] for name, _ in back] == ["revert_payment", "release_inventory", "cancel_order"]
    assert [message for _, message in back] == [StepMessage(row.id, position, 2) for position in (4, 2, 0)]
    row.status = Status.NEEDS_ATTENTION
    assert remaining(row, create_order) == []


def test_the_next_task_of_a_saga_is_the_first_of_what_remains(row: Row) -> None:
    assert dispatch.next_task(row, create_order) == remaining(row, create_order)[0][0]
    assert dispatch.next_message(row) == StepMessage(row.id, 1, 1)
    row.status = Status.COMPLETED
    assert dispatch.next_task(row, create_order) is None
    assert SagaInstance.objects.get(pk=row.id).status == Status.STARTED
