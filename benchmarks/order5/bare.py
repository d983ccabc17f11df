"""The same work as a plain Celery chain in its fastest form: classic queue, early acknowledgement, no confirms.

It keeps its database connection open and writes plain SQL. When a worker dies, steps are lost or done twice.
"""

from __future__ import annotations

import os
from typing import Any

import psycopg2
from celery import Celery, chain, signals
from kombu import Queue

from benchmarks.order5 import work

app = Celery("bare", broker=os.environ["BROKER_URL"])
app.conf.update(
    task_queues=[Queue("bare")], task_default_queue="bare", task_ignore_result=True, result_backend=None,
    broker_connection_retry_on_startup=True, worker_prefetch_multiplier=4,
)  # fmt: skip
_connections: dict[int, Any] = {}


@signals.worker_process_init.connect
def _forget(**_: Any) -> None:
    _connections.clear()


def _connection() -> Any:
    pid = os.getpid()
    if pid not in _connections:
        _connections[pid] = psycopg2.connect(os.environ["DATABASE_URL"])
    return _connections[pid]


@app.task(name="bare.do", throws=(work.Refused,))
def do(order_id: str, step: int, is_refused: bool) -> None:
    if is_refused and step == work.STEPS - 1:
        raise work.Refused
    with _connection() as connection, connection.cursor() as cursor:
        work.do(cursor, order_id, step)


@app.task(name="bare.undo")
def undo(order_id: str, step: int) -> None:
    with _connection() as connection, connection.cursor() as cursor:
        work.undo(cursor, order_id, step)


@app.task(name="bare.compensate", bind=True)
def compensate(self: Any, order_id: str) -> None:
    chain(*[undo.si(order_id, step) for step in (3, 2, 1)]).apply_async()


def start(order_id: str, *, is_refused: bool) -> None:
    steps = [do.si(order_id, step, is_refused) for step in range(1, work.STEPS + 1)]
    chain(*steps).apply_async(link_error=compensate.si(order_id))
