"""Test sagas without a broker and without waiting: the real engine, with messages and time in your hands.

    with Runner() as runner:
        saga = start_my_saga()
        runner.run_to_end()

A `Runner` does with published chains what Celery does: it delivers the first link, sends the next one when that
succeeded, and calls the compensation task when it failed. Time passes only when the runner lets it. Sagas are kept in
Django's database, or in memory: `Runner(storage=MemoryStorage())` needs no database at all.
"""

from __future__ import annotations

import uuid
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self

from sagas.engine import sweep
from sagas.engine.dispatch import Link, dispatch, next_message, published_by
from sagas.engine.execution import Stale, StepFailed, process_message
from sagas.holds import holds
from sagas.statuses import Action
from sagas.storage import Storage, clock, storage, use
from sagas.storage.memory import MemoryStorage

__all__ = ["MemoryStorage", "Runner", "done", "history", "undone"]

Chain = list[Link]
#: More deliveries than any right saga needs; reaching it means that a saga runs in circles.
MOST_DELIVERIES = 10_000
#: The sweep comes this much after a saga is due.
SWEEP_DELAY = timedelta(milliseconds=5)


@dataclass
class Runner:
    """Delivers step messages in this process. `run_inline=False` delivers every step as a message of its own."""

    run_inline: bool = True
    storage: Storage | None = None
    chains: deque[Chain] = field(default_factory=deque)
    errbacks: deque[tuple[uuid.UUID, int]] = field(default_factory=deque)
    delivered: list[str] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        if self.storage is not None:
            self._stack.enter_context(use(self.storage))
        self._stack.enter_context(clock.moved())
        holds.forget()
        self._stack.callback(holds.forget)
        self._stack.enter_context(published_by(self._publish))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _publish(self, links: Chain) -> None:
        self.chains.append(list(links))

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

        A saga that waits for what an operator has put on hold has nothing to do until it is released.
        """
        held = [hold.dependency for hold in storage().active_holds() if not hold.is_automatic]
        wake_at = storage().next_wake_at(except_held_by=held)
        if wake_at is None:
            return False
        self.let_pass(max(wake_at - storage().now(), timedelta(0)) + SWEEP_DELAY)
        return True

    def let_pass(self, duration: timedelta) -> None:
        """Move the clock and sweep."""
        clock.advance(duration)
        sweep.sweep()

    # -- delivery -----------------------------------------------------------------------------------------------
    def _deliver_link(self, chain: Chain) -> None:
        name, message = chain.pop(0)
        self.delivered.append(name)
        try:
            row = process_message(message, may_run=lambda _: self.run_inline)
        except Stale:
            return
        except StepFailed:
            self.errbacks.append((message.saga_id, message.epoch))
            return
        while chain and (row.is_waiting or not row.is_open or chain[0][1] != next_message(row)):
            chain.pop(0)
        if chain:
            self.chains.append(chain)

    def _compensate(self, saga_id: uuid.UUID, epoch: int) -> None:
        row = sweep.decide(saga_id, epoch)
        if row is not None:
            dispatch(row)


def history(saga_id: uuid.UUID) -> list[str]:
    """The saga's history as `action step` lines, in order."""
    return [f"{fact.event.action} {fact.event.step}".strip() for fact in storage().events_of(saga_id)]


def undone(saga_id: uuid.UUID) -> list[str]:
    """The compensations that ran, in order."""
    return _steps(saga_id, Action.UNDO_COMPLETED)


def done(saga_id: uuid.UUID) -> list[str]:
    """The steps that completed, in order."""
    return _steps(saga_id, Action.STEP_COMPLETED)


def _steps(saga_id: uuid.UUID, action: Action) -> list[str]:
    return [fact.event.step for fact in storage().events_of(saga_id) if fact.event.action is action]
