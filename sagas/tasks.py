"""The Celery tasks: one a step function, named after its participant, and the engine's own three.

Messages carry ids only. How a task ends means nothing to the engine; what happened is in the database. It is made to
end so that Celery's own log line is true: a step that is done has "succeeded", one that is tried again later or waits
for a dependency on hold says "retry", and one that failed for good "raised expected: StepFailed".
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import cache
from typing import Any

from celery import Task, current_app, shared_task
from celery.exceptions import Ignore, Retry
from django.db import close_old_connections

from sagas.definition import registry
from sagas.definition.saga import Saga, task_name
from sagas.engine import sweep as sweeping
from sagas.engine import versions
from sagas.engine.dispatch import COMPENSATE_TASK, StepMessage, dispatch, next_message, next_task
from sagas.engine.execution import Stale, StepFailed, process_message
from sagas.engine.logs import outlook
from sagas.machine.state import Row
from sagas.outbox import relay as relaying

#: Options of every task that moves a saga: acknowledged late, never stored, expected failures logged in one line.
TASK_OPTIONS: dict[str, Any] = {
    "bind": True, "acks_late": True, "ignore_result": True, "max_retries": None, "throws": (StepFailed,),
}  # fmt: skip


def register_step_tasks() -> None:
    """Make a task of every step function and compensation of every definition this process knows."""
    for saga in registry.all_definitions():
        for function in saga.functions:
            register_step_task(task_name(function))


def register_step_task(name: str) -> None:
    if name not in current_app.tasks:
        shared_task(name=name, **TASK_OPTIONS)(_run_step)  # type: ignore[no-untyped-call]


def _run_step(self: Task[Any, Any], saga_id: str, position: int, epoch: int) -> None:
    _report(run_step(self, StepMessage(uuid.UUID(saga_id), position, epoch), may_run=consumes))


def run_step(task: Task[Any, Any], message: StepMessage, *, may_run: Callable[[str], bool]) -> Row:
    """Process a step's message, and take off the rest of its chain what was done inline. Returns the row as last
    committed. Raises `Ignore` for a stale message, which acknowledges it and stops this copy of the chain, and
    `StepFailed` after a final failure."""
    redelivered = bool((task.request.delivery_info or {}).get("redelivered"))
    try:
        row = process_message(message, may_run=may_run, is_redelivered=redelivered)
    except Stale as stale:
        raise Ignore(str(stale)) from None
    _drop_done(task, row)
    return row


def _report(row: Row | None) -> None:
    """End as Celery's tasks end that are retried, which acknowledges the message and sends nothing on: the sweep sends
    the saga on when its time has come."""
    if row is not None and row.is_waiting:
        raise Retry(f"{outlook(row)}: {row.error}" if row.error else outlook(row))


def _drop_done(task: Task[Any, Any], row: Row) -> None:
    """Celery keeps the rest of the chain reversed, the next link last.

    If it does not fit the saga none of it is sent.
    """
    chain: list[dict[str, Any]] = task.request.chain  # type: ignore[assignment] # the stubs say str
    if not chain:
        return
    while chain and (not row.is_open or row.is_waiting or list(chain[-1]["args"])[1:] != [row.position, row.epoch]):
        chain.pop()


@shared_task(name=COMPENSATE_TASK, **TASK_OPTIONS)
def compensate(self: Task[Any, Any], saga_id: str, epoch: int) -> None:
    """What `link_error` calls.

    `bind=True` makes Celery send it as a message; otherwise it would run in the dying worker.
    """
    _report(run_compensation(uuid.UUID(saga_id), epoch, may_run=consumes))


def run_compensation(saga_id: uuid.UUID, epoch: int, *, may_run: Callable[[str], bool]) -> Row | None:
    """It does not compensate because it was called: it decides from recorded facts. Returns the row as last committed,
    None if there was nothing to do.

    Calls are left to a message of their own: nothing would tell if a worker died in one here, and its lease would have
    to run out.
    """
    row = sweeping.decide(saga_id, epoch)
    if row is None:
        return None
    saga = registry.get(row.name, row.version)
    calls, name = _calls_of(saga), next_task(row, saga)

    def may_run_here(name: str) -> bool:
        return name not in calls and may_run(name)

    if name is None or not may_run_here(name):
        dispatch(row)
        return row
    try:
        row = process_message(next_message(row), may_run=may_run_here)
    except Stale:
        return None
    if row.is_open and not row.is_waiting:
        dispatch(row)
    return row


def _calls_of(saga: Saga) -> set[str]:
    """The tasks that call others, forward or back."""
    calls = [step for step in saga.steps if step.is_remote]
    return {step.task_name for step in calls} | {step.compensation.task_name for step in calls if step.compensation}


@shared_task(name="sagas.sweep", ignore_result=True)
def sweep() -> None:
    close_old_connections()
    versions.record_once()
    sweeping.sweep()


@shared_task(name="sagas.relay", ignore_result=True)
def relay() -> None:
    close_old_connections()
    relaying.relay()


@cache
def consumes(task_name: str) -> bool:
    """Whether this worker also consumes the queue that `task_name` is routed to."""
    app = current_app
    queue = app.amqp.router.route({}, task_name)["queue"]
    return getattr(queue, "name", queue) in app.amqp.queues.consume_from
