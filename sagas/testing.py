"""Test sagas without a broker and without waiting: the real engine, with messages and time in your hands.

    with Runner() as runner:
        saga = start_my_saga()
        runner.run_to_end()

A `Runner` does with published chains what Celery does: it delivers the first link, sends the next one when that
succeeded, and calls the compensation task when it failed. Time passes only when the runner lets it.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections import deque
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self

from sagas.engine import dispatch as messages
from sagas.engine import execution, sweep
from sagas.engine.dispatch import Hint
from sagas.engine.execution import Stale, StepFailed
from sagas.holds import holds
from sagas.models import OPEN, SagaEvent, SagaHold, SagaInstance
from sagas.storage import clock, rows

Chain = list[tuple[str, Hint]]
#: More deliveries than any right saga needs; reaching it means that a saga runs in circles.
MOST_DELIVERIES = 10_000


@dataclasses.dataclass
class Runner:
    """Delivers hints in this process. `run_ahead=False` delivers every step as a message of its own."""

    run_ahead: bool = True
    chains: deque[Chain] = dataclasses.field(default_factory=deque)
    errbacks: deque[tuple[uuid.UUID, int]] = dataclasses.field(default_factory=deque)
    delivered: list[str] = dataclasses.field(default_factory=list)
    _stack: ExitStack = dataclasses.field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        self._stack.enter_context(clock.moved())
        holds.forget()
        self._stack.callback(holds.forget)
        before = messages.set_publisher(self._publish)
        self._stack.callback(messages.set_publisher, before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _publish(self, hints: Chain) -> None:
        self.chains.append(list(hints))

    # -- messages -----------------------------------------------------------------------------------------------
    def lose_messages(self) -> None:
        """What a purged broker does."""
        self.chains.clear()
        self.errbacks.clear()

    def deliver(self) -> bool:
        """Deliver one message; False if there is none."""
        if self.errbacks:
            self._compensate(*self.errbacks.popleft())
        elif self.chains:
            self._deliver_link(self.chains.popleft())
        else:
            return False
        return True

    def run(self) -> None:
        """Deliver until no message is left. Retries that wait stay waiting."""
        for _ in range(MOST_DELIVERIES):
            if not self.deliver():
                return
        raise AssertionError(f"more than {MOST_DELIVERIES} messages: a saga runs in circles")

    def run_to_end(self) -> None:
        """Deliver, let time pass and sweep until no saga has anything left to do."""
        for _ in range(MOST_DELIVERIES):
            self.run()
            if not self.wait_for_next():
                return
        raise AssertionError("the sagas never end")

    # -- time ---------------------------------------------------------------------------------------------------
    def wait_for_next(self) -> bool:
        """Move the clock to the next moment the sweep has something to do, and sweep. False if there is none.

        A saga that waits for what a person has put on hold has nothing to do until it is released.
        """
        held = SagaHold.objects.filter(released_at=None, is_automatic=False).values("dependency")
        waiting = SagaInstance.objects.filter(status__in=OPEN).exclude(held_by__in=held)
        wake_at = waiting.order_by("wake_at").values_list("wake_at", flat=True).first()
        if wake_at is None:
            return False
        self.let_pass(max(wake_at - rows.now(), timedelta(0)) + timedelta(milliseconds=5))
        return True

    def let_pass(self, duration: timedelta) -> None:
        """Move the clock and sweep."""
        clock.advance(duration)
        sweep.sweep()

    # -- delivery -----------------------------------------------------------------------------------------------
    def _deliver_link(self, chain: Chain) -> None:
        name, hint = chain.pop(0)
        self.delivered.append(name)
        try:
            row = execution.follow(hint, may_run=lambda _: self.run_ahead)
        except Stale:
            return
        except StepFailed:
            self.errbacks.append((hint.saga_id, hint.epoch))
            return
        while chain and (row.is_waiting or not row.is_open or chain[0][1] != Hint(row.id, row.position, row.epoch)):
            chain.pop(0)
        if chain:
            self.chains.append(chain)

    def _compensate(self, saga_id: uuid.UUID, epoch: int) -> None:
        row = sweep.decide(saga_id, epoch)
        if row is not None:
            messages.drive(row)


def history(saga_id: uuid.UUID) -> list[str]:
    """The saga's history as `action step` lines, in order."""
    events = SagaEvent.objects.filter(saga_id=saga_id).order_by("seq")
    return [f"{event.action} {event.step}".strip() for event in events]


def undone(saga_id: uuid.UUID) -> list[str]:
    """The compensations that ran, in order."""
    events = SagaEvent.objects.filter(saga_id=saga_id, action="undo_completed").order_by("seq")
    return [event.step for event in events]


def done(saga_id: uuid.UUID) -> list[str]:
    """The steps that completed, in order."""
    events = SagaEvent.objects.filter(saga_id=saga_id, action="step_completed").order_by("seq")
    return [event.step for event in events]
