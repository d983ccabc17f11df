"""What can go wrong with a step message. Each function publishes one chain of messages with one such fault."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from celery import chain
from celery.canvas import Signature

from campusg.celery import app
from campusg.topology import COMMANDS_EXCHANGE
from sagas.engine import dispatch
from sagas.engine.dispatch import StepMessage

Chain = list[tuple[str, StepMessage]]


def _signatures(tail: Chain) -> list[Signature]:
    return [app.tasks[name].si(str(step.saga_id), step.position, step.epoch) for name, step in tail]


def _publish(steps: list[Signature], tail: Chain, **options: object) -> None:
    saga_id, _, epoch = tail[0][1]
    chain(*steps).apply_async(link_error=app.tasks[dispatch.COMPENSATE_TASK].si(str(saga_id), epoch), **options)


def three_times(tail: Chain) -> None:
    for _ in range(3):
        _publish(_signatures(tail), tail)


def every_step_alone_and_backwards(tail: Chain) -> None:
    """Each message comes twice, and the one of the last step comes first."""
    for step in reversed(_signatures(tail)):
        step.apply_async()
    _publish(_signatures(tail), tail)


def revoked(tail: Chain) -> None:
    steps = _signatures(tail)
    steps[0].set(task_id=str(uuid.uuid4()))
    app.control.revoke(steps[0].options["task_id"], reply=True, timeout=1)
    _publish(steps, tail)


def expired(tail: Chain) -> None:
    _publish(_signatures(tail), tail, expires=datetime.now(UTC) - timedelta(minutes=1))


def unregistered(tail: Chain) -> None:
    app.send_task("orders.unknown_task", args=list(map(str, tail[0][1])), queue="order_commands")


def no_json(tail: Chain) -> None:
    _raw(b'[["' + str(tail[0][1].saga_id).encode(), tail, content_type="application/json")


def forbidden_format(tail: Chain) -> None:
    _raw(b"cos\nsystem\n(S'true'\ntR.", tail, content_type="application/x-python-serialize")


def wrong_arguments(tail: Chain) -> None:
    body = [
        [str(tail[0][1].saga_id), "one", None, "too many"],
        {},
        {"chain": None, "errbacks": None, "callbacks": None},
    ]
    _raw(json.dumps(body).encode(), tail, content_type="application/json")


def _raw(body: bytes, tail: Chain, *, content_type: str) -> None:
    headers = {"lang": "py", "task": tail[0][0], "id": str(uuid.uuid4()), "root_id": None, "parent_id": None}
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(
            body, exchange=COMMANDS_EXCHANGE, routing_key="order_commands", headers=headers,
            content_type=content_type, content_encoding="utf-8", serializer=None,
        )  # fmt: skip


def lost(tail: Chain) -> None:
    """The broker lost the messages."""


FAULTS: dict[str, Callable[[Chain], None]] = {
    "delivered three times": three_times,
    "delivered backwards and doubled": every_step_alone_and_backwards,
    "revoked": revoked,
    "expired": expired,
    "unregistered task": unregistered,
    "decode error": no_json,
    "forbidden format": forbidden_format,
    "wrong arguments": wrong_arguments,
    "lost": lost,
}
#: The faults with which messages still arrive. After each of the others the sweep has to dispatch the saga again.
DELIVERED = ("delivered three times", "delivered backwards and doubled")


class FaultyOnce:
    """A publisher that sends the next chain with a fault and all others without."""

    def __init__(self, fault: Callable[[Chain], None]) -> None:
        self.fault: Callable[[Chain], None] | None = fault
        self.publisher = dispatch.CeleryPublisher()

    def __call__(self, tail: Chain) -> None:
        fault, self.fault = self.fault, None
        (fault or self.publisher)(tail)

    @property
    def is_used(self) -> bool:
        return self.fault is None
