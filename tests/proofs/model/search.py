"""Exhaustive breadth-first search over the protocol: a row, a provider, messages in flight and workers in mid-call.

Every order of everything is tried: deliver, double, lose, redeliver, crash at each boundary, leases and times running
out, link_error at any time, sweeps, cancellation, the deadline, an operator's retry, holds and releases, and workers
that come back long after their lease. Safety is checked on every step; at the end, that from every state reached the
saga can still end when nothing fails any more.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.proofs.model.machine import FINAL, Key, Machine, Result, at_the_next_moment, stopped
from tests.proofs.model.protocols import OPTIONS
from tests.proofs.model.worlds import Message, State, Violation, Worker, World, after

MOST_MESSAGES = 2


class Move(NamedTuple):
    label: str
    state: State
    is_fault: bool


@dataclass
class Search:
    machine: Machine
    workers: int = 2
    messages: int = MOST_MESSAGES
    limit: int = 10**9
    stops_at_once: bool = False
    ids: dict[State, int] = field(default_factory=dict)
    parents: array[int] = field(default_factory=lambda: array("l"))
    labels: list[str] = field(default_factory=list)
    sources: array[int] = field(default_factory=lambda: array("l"))
    targets: array[int] = field(default_factory=lambda: array("l"))
    violations: dict[str, int] = field(default_factory=dict)
    transitions: int = 0
    expanded: int = 0

    # -- the search ---------------------------------------------------------------------------------------------
    def run(self) -> Search:
        first = State(self.machine.first(), World.at_start(), (Message("step", 1),), ())
        self._add(first, -1, "start")
        queue = [first]
        for state in queue:  # grows while it is read
            if len(self.ids) >= self.limit or (self.stops_at_once and self.violations):
                break
            self._expand(state, queue)
        return self

    def _expand(self, state: State, queue: list[State]) -> None:
        here = self.ids[state]
        self.expanded += 1
        try:
            for move in self.moves(state):
                self.transitions += 1
                if move.state not in self.ids:
                    self._add(move.state, here, move.label)
                    queue.append(move.state)
                if not move.is_fault:
                    self.sources.append(here)
                    self.targets.append(self.ids[move.state])
        except Violation as violation:
            self.violations.setdefault(str(violation), here)

    def _add(self, state: State, parent: int, label: str) -> None:
        self.ids[state] = len(self.ids)
        self.parents.append(parent)
        self.labels.append(sys.intern(label))

    def trace(self, number: int) -> list[str]:
        lines = []
        while number >= 0:
            lines.append(self.labels[number])
            number = self.parents[number]
        return lines[::-1]

    def stuck(self) -> list[int]:
        """States from which no faultless way leads to an end. States at the limit were not looked at and pass."""
        good = bytearray(len(self.ids))
        incoming = _incoming(self.sources, self.targets, len(self.ids))
        todo = [number for state, number in self.ids.items() if stopped(state.key) or number >= self.expanded]
        for number in todo:
            good[number] = 1
        while todo:
            for source in incoming.of(todo.pop()):
                if not good[source]:
                    good[source] = 1
                    todo.append(source)
        return [number for number in range(len(good)) if not good[number]]

    # -- what can happen ----------------------------------------------------------------------------------------
    def moves(self, state: State) -> Iterator[Move]:
        yield from self._environment(state)
        for message in dict.fromkeys(state.messages):
            yield from self._message(state, message)
        for worker in dict.fromkeys(state.workers):
            yield from self._worker(state, worker)

    def _environment(self, state: State) -> Iterator[Move]:
        key = state.key
        if (later := at_the_next_moment(key)) is not None:
            yield Move("time passes", state._replace(key=later), False)
        if key.wake == "due":
            yield self._act("sweep", state, state, False, "sweep")
        if key.held:
            yield self._act("resume held", state, state, False, "resume_held")
        if key.status == "STARTED" and key.deadline == "ahead" and not key.held:  # it does not run meanwhile
            yield Move("deadline passes", state._replace(key=key._replace(deadline="past")), True)
        yield self._act("cancel", state, state, True, "cancel")
        if key.status == "NEEDS_ATTENTION":
            yield self._act("retry", state, state, True, "retry")
        if key.status not in FINAL and len(state.messages) < self.messages:
            yield Move("link_error", state.with_message(Message("error")), True)

    def _message(self, state: State, message: Message) -> Iterator[Move]:
        rest = state.without_message(message)
        yield Move(f"lose {message}", rest, True)
        if len(state.messages) < self.messages and state.messages.count(message) < 2:
            yield Move(f"double {message}", state.with_message(message), True)
        if message.kind == "error":
            yield self._act(f"deliver {message}", state, rest, False, "decide", message.behind)
            return
        yield from self._dead(f"die on {message}", rest, message)
        for choice in self._choices(state.key.position, state):
            yield from self._run(f"deliver {message} {choice}", state, rest, message, choice)

    def _choices(self, position: int, state: State) -> tuple[str, ...]:
        key = state.key
        if not 0 <= position < len(self.machine.saga.steps):
            return ("ok",)
        if self.machine.saga.steps[position].is_remote and key.status not in FINAL:
            held = ("held",) if self.machine.saga.steps[position].uses else ()
            return ("suspend", *held) if len(state.workers) < self.workers else held
        return ("ok", "refuse", "error")

    def _run(self, label: str, state: State, rest: State, message: Message, choice: str) -> Iterator[Move]:
        args = (message.position, message.behind, message.is_redelivered, choice)
        result = self.machine.step(state.key, "deliver", *args)
        require(message.behind == 0 or not result.saved, "a stale message moved its saga")
        if result.lease == "new" and state.key.lease == "future":
            require(message.is_redelivered, "a message took over a call that had its lease")
        if result.done and state.key.lease == "future":
            require(message.is_redelivered, "a step ran beside a call that had its lease")
        yield from self._finish(label, state, rest, result, message)

    def _worker(self, state: State, worker: Worker) -> Iterator[Move]:
        rest = state.without_worker(worker)
        stands_for = Message("step", worker.position, worker.behind, is_redelivered=True)
        yield from self._dead(f"{worker} dies", rest, stands_for)
        if worker.phase == "calling":
            yield from self._effects(state, rest, worker)
        elif worker.phase == "answered":
            may_probe = self.machine.saga.steps[worker.position].uses and worker.answer == "error"
            for answer in (worker.answer, "probe") if may_probe else (worker.answer,):
                yield from self._record(state, rest, worker.answered(answer), stands_for)
        else:
            yield Move(f"{worker} sends on", self._publish(rest, [(worker.position, worker.behind)]), False)
            for choice in self._choices(worker.position, rest):
                args = (worker.position, worker.back, worker.behind, worker.owns)
                result = self.machine.step(state.key, "ahead", *args, choice)
                yield from self._finish(f"{worker} runs inline {choice}", state, rest, result, stands_for)

    def _record(self, state: State, rest: State, worker: Worker, stands_for: Message) -> Iterator[Move]:
        args = (worker.position, worker.back, worker.behind, worker.owns, worker.answer)
        result = self.machine.step(state.key, "record", *args)
        if worker.behind or not worker.owns:
            require(_place(result.key) == _place(state.key) and not result.rise, "a stale answer moved its saga")
        if not worker.owns:
            require(result.key.lease == state.key.lease, "a stale answer freed the lease of another call")
        yield from self._finish(f"{worker} records {worker.answer}", state, rest, result, stands_for)

    def _effects(self, state: State, rest: State, worker: Worker) -> Iterator[Move]:
        """The call reaches the provider or not, and its answer comes back or not."""
        name = self._name(worker)
        world, answer = state.world.called(name)
        done = rest._replace(world=world)
        yield Move(f"{worker} {answer}", done.with_worker(worker.answered(answer)), answer == "refuse")
        yield Move(f"{worker} done, no answer", done.with_worker(worker.answered("error")), True)
        yield Move(f"{worker} lost", rest.with_worker(worker.answered("error")), True)
        if not state.world.is_live(name):
            yield Move(f"{worker} refused", rest.with_worker(worker.answered("refuse")), True)

    def _name(self, worker: Worker) -> str:
        step = self.machine.saga.steps[worker.position]
        return step.compensation.name if worker.back and step.compensation else step.name

    def _dead(self, label: str, rest: State, message: Message) -> Iterator[Move]:
        """A dead worker's message is gone, delivered again, or becomes a link_error."""
        yield Move(f"{label}, gone", rest, True)
        again = message._replace(is_redelivered=True)
        yield Move(f"{label}, again", self._sent(rest, again), True)
        yield Move(f"{label}, link_error", self._sent(rest, Message("error", behind=message.behind)), True)

    # -- what comes of it ---------------------------------------------------------------------------------------
    def _act(self, label: str, state: State, rest: State, is_fault: bool, act: str, *args: int) -> Move:
        result = self.machine.step(state.key, act, *args)
        if state.key.held and act not in ("resume_held", "cancel"):
            require(_place(result.key) == _place(state.key), f"a {act} moved a saga that is held")
        if act == "sweep" and state.key.lease == "future":
            require(not result.saved, "the sweep took a saga whose call had its lease")
        return Move(label, self._settled(state, rest, result, ""), is_fault)

    def _finish(self, label: str, state: State, rest: State, result: Result, message: Message) -> Iterator[Move]:
        choice = label.rpartition(" ")[2]
        is_fault = choice in ("refuse", "error", "probe", "held")
        require(not state.key.held or _place(result.key) == _place(state.key), "a message moved a saga that is held")
        settled = self._settled(state, rest, result, choice)
        if result.ended == "suspended":
            require(result.lease == "new", "a claim has the token of an older one")
            back = state.key.status in ("COMPENSATING", "CANCELLING")
            yield Move(label, settled.with_worker(Worker("calling", result.key.position, back, 0, True)), is_fault)
        elif result.ended == "failed":
            behind = min(message.behind + result.rise, 2)
            yield Move(label, self._sent(settled, Message("error", behind=behind)), is_fault)
        elif result.held is not None:
            position, back, behind = result.held
            yield Move(label, self._publish(settled, [(position, behind)]), is_fault)
            if len(settled.workers) < self.workers:
                yield Move(label, settled.with_worker(Worker("knowing", position, back, behind, True)), True)
            yield from self._dead(
                f"{label}, dies", settled, message._replace(behind=min(message.behind + result.rise, 2))
            )
        else:
            yield Move(label, settled, is_fault)

    def _settled(self, state: State, rest: State, result: Result, choice: str) -> State:
        """The state after a step: effects applied, everything else one epoch older, messages sent."""
        check_row(result.key)
        check_turn(state.key, result, choice)
        world = rest.world
        for name in result.done:
            world = world.locally(name, self.machine.saga)
        settled = after(rest._replace(key=result.key, world=world), result)
        world.check(result.key, self.machine.saga)
        return self._publish(settled, result.published)

    def _publish(self, state: State, published: object) -> State:
        for position, behind in published:  # type: ignore[attr-defined]
            state = self._sent(state, Message("step", position, min(behind, 1)))
        return state

    def _sent(self, state: State, message: Message) -> State:
        """A broker that is full loses what comes."""
        return state.with_message(message) if len(state.messages) < self.messages else state


def _place(key: Key) -> tuple[object, ...]:
    return key.status, key.position, key.attempt, key.dispatches, key.held


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)


def check_row(key: Key) -> None:
    is_open = key.status in ("STARTED", "COMPENSATING", "CANCELLING")
    require(is_open == bool(key.wake), f"{key.status} with wake {key.wake!r}")
    require(is_open or not key.lease, f"{key.status} with a lease")
    require(not key.held or (is_open and not key.lease), f"{key.status} held with a lease or after its end")
    require(key.status != "NEEDS_ATTENTION" or key.has_error, "parked without a reason")
    require((key.phase == "RUNNING") == bool(key.lease), f"{key.phase} with lease {key.lease!r}")
    require((key.phase == "PARKED") == (key.status == "NEEDS_ATTENTION"), f"{key.status} is {key.phase}")
    require((key.phase == "DONE") == (key.status in FINAL), f"{key.status} is {key.phase}")


def check_turn(before: Key, result: Result, choice: str) -> None:
    """Nobody goes back without a refusal, a spent budget or a missed deadline."""
    if before.status != "STARTED" or result.key.status not in ("COMPENSATING", "COMPENSATED", "FAILED"):
        return
    is_spent = before.attempt + 1 >= OPTIONS.retry.attempts or before.dispatches >= OPTIONS.max_dispatches
    require(choice == "refuse" or before.deadline == "past" or is_spent, "went back without a cause")


@dataclass
class Incoming:
    starts: array[int]
    sources: array[int]

    def of(self, target: int) -> array[int]:
        return self.sources[self.starts[target] : self.starts[target + 1]]


def _incoming(sources: array[int], targets: array[int], count: int) -> Incoming:
    """The edges by their target, with the source of each."""
    starts = array("l", bytes(8 * (count + 1)))
    for target in targets:
        starts[target + 1] += 1
    for number in range(count):
        starts[number + 1] += starts[number]
    places, grouped = array("l", starts), array("l", bytes(8 * len(sources)))
    for source, target in zip(sources, targets, strict=True):
        grouped[places[target]] = source
        places[target] += 1
    return Incoming(starts, grouped)
