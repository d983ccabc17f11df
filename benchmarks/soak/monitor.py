"""What becomes of the orders, read once a second past everything that is under test; and the one hand on the clock."""

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
#: An order of the plain chain that is older than this is not under way but lost.
PLAIN_WORK = timedelta(seconds=15)
PATIENCE_SECONDS = 180.0
#: Statuses that nothing leads out of to CREATED or ACCEPTED.
ENDED = ("CANCELLED", "CANCELLING", "FAILED")


class Board:
    """Order statuses by id: `carried` is an accepted order whose money is captured."""

    def __init__(self, *, plain_broker_url: str = "") -> None:
        self.plain_broker_url = plain_broker_url
        self._messages = 0
        self.under_way = 0
        self.finished = 0
        self._statuses: dict[str, str] = {}
        self._wanted: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="board", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def until(self, order_id: str, status: str) -> Generator[float, None, bool]:
        """Wait until the order is in this status; False if it has ended before, or after much patience."""
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
        """Let the order's 30 minutes be over once its alarm is set; False if somebody decided its fate before."""
        while True:
            try:
                is_waiting, is_due = _make_due(uuid.UUID(order_id))
            except (DatabaseError, InterfaceError):
                connections.close_all()  # it was crashed
            else:
                if is_due or not is_waiting:
                    return is_due
            yield REFRESH_SECONDS

    def _run(self) -> None:
        while not self._over.wait(REFRESH_SECONDS):
            try:
                self._read()
            except (DatabaseError, InterfaceError):
                connections.close_all()  # it was crashed
        connections.close_all()

    def _read(self) -> None:
        rows = Order.objects.filter(pk__in=list(self._wanted)).values_list("pk", "status", "accepted_at")
        for pk, status, accepted_at in rows:
            self._statuses[str(pk)] = "carried" if status == "ACCEPTED" and accepted_at else status
        self.under_way, self.finished = self._counts()

    def _counts(self) -> tuple[int, int]:
        """Sagas under way and sagas finished; of the plain chain, messages in its queue and orders at work, and orders
        that came further."""
        if not self.plain_broker_url:
            finished = SagaInstance.objects.filter(status__in=FINAL).count()
            return SagaInstance.objects.filter(status__in=OPEN).count(), finished
        pending = Order.objects.filter(status="pendingPayment")
        at_work = pending.filter(updated_at__gt=database_now(-PLAIN_WORK)).count()
        return max(at_work, self._queued()), Order.objects.count() - pending.count()

    def _queued(self) -> int:
        """Messages of the plain chain that wait for a worker. What was read last while the broker is down."""
        try:
            with Connection(self.plain_broker_url, connect_timeout=2) as connection, connection.channel() as channel:
                self._messages = channel.queue_declare(PLAIN_QUEUE, passive=True).message_count
        except (OperationalError, AMQPError, OSError):
            pass
        return self._messages


def _make_due(order_id: uuid.UUID) -> tuple[bool, bool]:
    """Whether the order still waits for a runner, and whether its alarm now rings."""
    with transaction.atomic():
        is_waiting = Order.objects.select_for_update().filter(pk=order_id, status="CREATED").exists()
        timer = ScheduledEvent.objects.live().filter(entity_id=str(order_id))
        is_due = is_waiting and timer.update(scheduled_at=database_now(), due_at=database_now()) > 0
        if is_due:
            Order.objects.filter(pk=order_id).update(accept_by=database_now())
    return is_waiting, is_due
