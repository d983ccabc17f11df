"""Reads the statuses of the orders once a second, directly from the database, and makes timers of orders due."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Generator
from datetime import timedelta

from amqp.exceptions import AMQPError
from django.db import DatabaseError, InterfaceError, connections, transaction
from kombu import Connection
from kombu.exceptions import OperationalError

from benchmarks.soak.cluster import PLAIN_QUEUE
from orders.models import Order
from sagas.models import SagaInstance
from sagas.statuses import FINAL, OPEN
from timers.clock import database_now
from timers.models import ScheduledEvent

REFRESH_SECONDS = 1.0
#: An order of the plain chain that has not changed for this long is lost and no longer under way.
PLAIN_WORK = timedelta(seconds=15)
PATIENCE_SECONDS = 180.0
#: An order in one of these can never become CREATED or ACCEPTED.
ENDED = ("CANCELLED", "CANCELLING", "FAILED")


class Monitor:
    """The status of each order that somebody waits for; `paid` is an accepted order whose money is captured."""

    def __init__(self, *, plain_broker_url: str = "") -> None:
        self.plain_broker_url = plain_broker_url
        self._messages = 0
        self.under_way = 0
        self.finished = 0
        self._statuses: dict[str, str] = {}
        self._wanted: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def until(self, order_id: str, status: str) -> Generator[float, None, bool]:
        """Wait until the order has this status. False: it ended before that, or it took too long."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        self._wanted.add(order_id)
        while time.monotonic() < give_up_at:
            yield REFRESH_SECONDS
            found = self._statuses.get(order_id, "")
            if found == status or found in ENDED:
                break
        self._wanted.discard(order_id)
        return self._statuses.pop(order_id, "") == status

    def make_due(self, order_id: str) -> Generator[float, None, bool]:
        """Wait for the order's timer to start, and make it due. False: the order was cancelled or accepted before."""
        while True:
            try:
                is_waiting, is_due = _make_due(uuid.UUID(order_id))
            except (DatabaseError, InterfaceError):
                connections.close_all()  # the database crashed
            else:
                if is_due or not is_waiting:
                    return is_due
            yield REFRESH_SECONDS

    def _run(self) -> None:
        while not self._over.wait(REFRESH_SECONDS):
            try:
                self._read()
            except (DatabaseError, InterfaceError):
                connections.close_all()  # the database crashed
        connections.close_all()

    def _read(self) -> None:
        rows = Order.objects.filter(pk__in=list(self._wanted)).values_list("pk", "status", "accepted_at")
        for pk, status, accepted_at in rows:
            self._statuses[str(pk)] = "paid" if status == "ACCEPTED" and accepted_at else status
        self.under_way, self.finished = self._counts()

    def _counts(self) -> tuple[int, int]:
        """How many sagas are under way, and how many are finished.

        Of the plain chain: under way are the messages in its queue, or the orders that changed within `PLAIN_WORK` if
        those are more; finished are the orders that have left their first status.
        """
        if not self.plain_broker_url:
            finished = SagaInstance.objects.filter(status__in=FINAL).count()
            return SagaInstance.objects.filter(status__in=OPEN).count(), finished
        pending = Order.objects.filter(status="pendingPayment")
        at_work = pending.filter(updated_at__gt=database_now(-PLAIN_WORK)).count()
        return max(at_work, self._queued()), Order.objects.count() - pending.count()

    def _queued(self) -> int:
        """How many messages of the plain chain wait for a worker. While the broker is down: the last known number."""
        try:
            with Connection(self.plain_broker_url, connect_timeout=2) as connection, connection.channel() as channel:
                self._messages = channel.queue_declare(PLAIN_QUEUE, passive=True).message_count
        except (OperationalError, AMQPError, OSError):
            pass
        return self._messages


def _make_due(order_id: uuid.UUID) -> tuple[bool, bool]:
    """Whether the order still waits for a runner, and whether its timer is due now."""
    with transaction.atomic():
        is_waiting = Order.objects.select_for_update().filter(pk=order_id, status="CREATED").exists()
        timer = ScheduledEvent.objects.live().filter(entity_id=str(order_id))
        is_due = is_waiting and timer.update(scheduled_at=database_now(), due_at=database_now()) > 0
        if is_due:
            Order.objects.filter(pk=order_id).update(accept_by=database_now())
    return is_waiting, is_due
