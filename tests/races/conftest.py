from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.test import override_settings
from kombu import Connection, Exchange, Queue

from sagas.testing import Runner
from tests.harness import customers


@pytest.fixture
def runner(transactional_db: None) -> Iterator[Runner]:
    """Messages are delivered when a test says so, one step each, so that every race starts where it should."""
    customers.stock_the_kitchen()
    with Runner(run_inline=False) as runner:
        yield runner


@pytest.fixture
def events() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was published since one last asked, on an exchange of this test's own."""
    name = f"test-{uuid.uuid4().hex}"
    with Connection(current_app.conf.broker_url) as connection:
        exchange = Exchange(name, type="topic", channel=connection.default_channel)
        queue = Queue(name, exchange, "#", channel=connection.default_channel)
        queue.declare()

        def read() -> list[dict[str, Any]]:
            return [message.payload for message in iter(lambda: queue.get(no_ack=True), None)]

        with override_settings(SAGAS=settings.SAGAS | {"EVENT_EXCHANGE": name}):
            yield read
        queue.delete()
        exchange.delete()
