"""A state of the search, equal to others that behave alike: row, effects, messages in flight, workers in mid-call."""

from __future__ import annotations

from typing import NamedTuple

from sagas.definition.saga import Saga
from tests.proofs.model.machine import FINAL, Key, Result

UNDONE = tuple(status for status in FINAL if status != "COMPLETED")
UNDO_OF = {"give_back": "charge", "untell": "tell"}


class Violation(AssertionError):
    """Something that must never be, was."""


class Message(NamedTuple):
    """A step message or a link_error; `behind` says by how many epochs, two meaning "long ago"."""

    kind: str
    position: int = 0
    behind: int = 0
    is_redelivered: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.position}-{self.behind}{' again' * self.is_redelivered}"

    def older(self, rise: int) -> Message:
        if self.kind == "error":
            return self._replace(behind=min(self.behind + rise, 2))
        return Message("step", 0, 1) if self.behind + rise else self  # a stale message does nothing, whatever it says


class Worker(NamedTuple):
    """`calling`: claimed, the provider has not heard of it; `answered`; `knowing`: may run the next step inline.

    `owns` says whether the row's lease is its own, or, of one that knows the row, whether nobody wrote it since.
    """

    phase: str
    position: int
    back: bool
    behind: int
    owns: bool
    answer: str = ""

    def __str__(self) -> str:
        return f"{self.phase}@{self.position}{'<' if self.back else '>'}{'-' * self.behind}"

    def answered(self, answer: str) -> Worker:
        return self._replace(phase="answered", answer=answer)


class World(NamedTuple):
    """What was done for good: local effects by name, and each remote thing "live" or "void"."""

    local: frozenset[str]
    remote: frozenset[tuple[str, str]]

    @classmethod
    def at_start(cls) -> World:
        return cls(frozenset({"open_tab"}), frozenset())

    def is_live(self, name: str) -> bool:
        return (name, "live") in self.remote

    def called(self, name: str) -> tuple[World, str]:
        """What the provider makes of a call, and what it answers; behind a tombstone nothing comes alive."""
        if (thing := UNDO_OF.get(name)) is not None:
            return self._replace(remote=self.remote - {(thing, "live")} | {(thing, "void")}), "ok"
        if (name, "void") in self.remote:
            return self, "refuse"
        return self._replace(remote=self.remote | {(name, "live")}), "ok"

    def locally(self, name: str, saga: Saga) -> World:
        if name in self.local:
            raise Violation(f"{name} was done twice")
        for step in saga.steps:
            if step.compensation is not None and step.compensation.name == name:
                self._check_undo(step.position, saga)
        return self._replace(local=self.local | {name})

    def _check_undo(self, position: int, saga: Saga) -> None:
        """Only what was done is undone, and only after everything that came later."""
        if saga.steps[position].name not in self.local:
            raise Violation(f"{saga.steps[position].name} was undone without having been done")
        for later in saga.steps[position + 1 :]:
            if self._is_left(later.position, saga):
                raise Violation(f"{later.name} is undone after {saga.steps[position].name}")

    def _is_left(self, position: int, saga: Saga) -> bool:
        step = saga.steps[position]
        if step.compensation is None or step.compensation.is_best_effort:
            return False
        if step.is_remote:
            return self.is_live(step.name)
        return step.name in self.local and step.compensation.name not in self.local

    def check(self, key: Key, saga: Saga) -> None:
        """An ended saga is ended as a whole."""
        if key.status in UNDONE:
            for step in saga.steps:
                if self._is_left(step.position, saga):
                    raise Violation(f"{key.status}, but {step.name} was not undone")
        if key.status == "COMPLETED":
            for step in saga.steps:
                if not (self.is_live(step.name) if step.is_remote else step.name in self.local):
                    raise Violation(f"COMPLETED without {step.name}")


class State(NamedTuple):
    key: Key
    world: World
    messages: tuple[Message, ...]
    workers: tuple[Worker, ...]

    def with_message(self, message: Message) -> State:
        return self._replace(messages=tuple(sorted((*self.messages, message.older(0)))))

    def without_message(self, message: Message) -> State:
        rest = list(self.messages)
        rest.remove(message)
        return self._replace(messages=tuple(rest))

    def with_worker(self, worker: Worker) -> State:
        return self._replace(workers=tuple(sorted((*self.workers, worker))))

    def without_worker(self, worker: Worker) -> State:
        rest = list(self.workers)
        rest.remove(worker)
        return self._replace(workers=tuple(rest))


def after(state: State, result: Result) -> State:
    """Others grow older with each epoch, lose a lease that changes hands, know too little once the row was saved."""
    if not (result.saved or result.rise):
        return state
    messages = tuple(sorted(message.older(result.rise) for message in state.messages))
    workers = tuple(sorted(_older(worker, result) for worker in state.workers))
    return state._replace(messages=messages, workers=workers)


def _older(worker: Worker, result: Result) -> Worker:
    owns = worker.owns and result.lease == "kept"
    if worker.phase == "knowing":
        owns = worker.owns and not result.saved
    return worker._replace(behind=min(worker.behind + result.rise, 1), owns=owns)
