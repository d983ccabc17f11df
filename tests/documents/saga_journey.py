"""Every move a saga can make, found by letting the real engine make it on the storage in memory.

The machine of the model in `tests.proofs` does everything that can happen to a few small sagas, wherever that leads.
Each commit is one move: where the saga stood, the facts that were recorded, and where it stands then. Answers that come
too late and change nothing are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from sagas.definition.saga import Saga, Step, best_effort, seconds
from sagas.engine import commands, sweep
from sagas.statuses import Action
from tests.proofs.model.machine import NOW, SAGA_ID, Key, Machine, at_the_next_moment, running, stopped
from tests.proofs.model.protocols import (
    BANK,
    ONCE_MORE,
    PROTOCOLS,
    Nothing,
    charge,
    claim,
    close_tab,
    give_back,
    mute_bell,
    open_tab,
    ring_bell,
    serve,
    tell,
    untell,
)

Facts = tuple[str, ...]
#: What the model's sagas lack: nothing to undo, local compensations in a row, and calls that may fail to be undone.
look = Saga("look", takes=Nothing, on_cancel=claim).read(open_tab).pivot(serve).then(ring_bell)
local = (
    Saga("local", takes=Nothing, on_cancel=claim)
    .step(open_tab, compensate=close_tab)
    .step(ring_bell, compensate=best_effort(mute_bell))
    .pivot(serve)
)
remote = (
    Saga("remote", takes=Nothing, on_cancel=claim)
    .read(open_tab)
    .call(tell, compensate=best_effort(untell), retry=ONCE_MORE, timeout=seconds(10), uses=BANK)
    .call(charge, compensate=best_effort(give_back), retry=ONCE_MORE, timeout=seconds(10), uses=BANK)
    .pivot(serve)
)
SAGAS = (*PROTOCOLS.values(), look, local, remote)


class Place(NamedTuple):
    """Where a saga stands, as far as the diagrams show it."""

    status: str
    direction: str
    phase: str


#: From one place to another, and the facts of each commit that leads there.
Moves = Mapping[tuple[Place, Place], set[Facts]]


class Operated(Machine):
    """The model's machine, with what else can happen to a parked saga."""

    def _skip(self) -> tuple[None, str]:
        commands.skip(SAGA_ID, reason="x", actor="x")
        return None, ""

    def _close(self) -> tuple[None, str]:
        commands.close(SAGA_ID, reason="x", actor="x")
        return None, ""

    def _auto_retry(self) -> tuple[None, str]:
        self.storage.rows[SAGA_ID].retry_at = NOW
        sweep.retry_parked()
        return None, ""


@cache
def moves() -> Moves:
    found: dict[tuple[Place, Place], set[Facts]] = defaultdict(set)
    for saga in SAGAS:
        with running(saga) as model:
            machine = Operated(saga, model.storage, model.memory, model.published)
            for before, after, facts in _explored(machine):
                found[before, after].add(facts)
    return found


def _explored(machine: Operated) -> Iterator[tuple[Place, Place, Facts]]:
    """Everything that can happen, from everywhere it leads to."""
    todo = [machine.first()]
    seen = set(todo)
    while todo:
        before = todo.pop()
        results = [machine.step(before, *act) for act in _acts(before, machine.saga)]
        yield from ((_place(before), _place(result.key), result.events) for result in results if result.events)
        after = {*_later(before), *(result.key for result in results)} - seen
        todo += after
        seen |= after


def _later(key: Key) -> Iterator[Key]:
    """Time passes: until the saga is due, or its lease or its deadline is over."""
    if (later := at_the_next_moment(key)) is not None:
        yield later
    if key.status == "STARTED" and key.deadline == "ahead" and not key.held:
        yield key._replace(deadline="past")


def _acts(key: Key, saga: Saga) -> Iterator[tuple[Any, ...]]:
    """What can happen to a saga that stands there: the model's acts, with their arguments."""
    yield ("cancel",)
    if key.status == "NEEDS_ATTENTION":
        yield from (("retry",), ("skip",), ("close",), ("auto_retry",))
    if key.wake == "due":
        yield ("sweep",)
    if key.held:
        yield ("resume_held",)
    yield from (("decide", behind) for behind in (0, 1))
    if not stopped(key):
        yield from _work(key, saga.steps[key.position])


def _work(key: Key, step: Step) -> Iterator[tuple[Any, ...]]:
    """A message arrives, a worker goes on inline, a call in flight answers. Nothing is sent before a retry is due."""
    is_back = key.direction == "BACK"
    choices = ("suspend", *(("held",) if step.uses else ())) if step.is_remote else ("ok", "refuse", "error")
    for choice in choices if key.phase != "RETRYING" else ():
        yield from (("deliver", key.position, 0, is_again, choice) for is_again in (False, True))
        if key.phase == "READY":
            yield ("ahead", key.position, is_back, 0, True, choice)
    if key.phase == "RUNNING" and key.attempt:
        answers = ("ok", "refuse", "error", *(("probe",) if step.uses else ()))
        yield from (("record", key.position, is_back, 0, True, answer) for answer in answers)
    elif key.phase == "RUNNING":  # a call from before the saga went back, or from before it was cancelled
        yield from (("record", key.position, back, 1, True, "ok") for back in {False, key.status == "CANCELLING"})


def _place(key: Key) -> Place:
    return Place(key.status, key.direction, key.phase)


def by(what: Callable[[Place], Any]) -> dict[tuple[Any, Any], list[Facts]]:
    """The moves that change one aspect of the place, with the shortest lists of facts that do it.

    A commit may record what led to a move before the fact that makes it: `step_failed, compensation_started`. Where the
    last fact alone makes the same move elsewhere, only that is kept.
    """
    found: dict[tuple[Any, Any], set[Facts]] = defaultdict(set)
    for (before, after), facts in moves().items():
        if what(before) != what(after):
            found[what(before), what(after)] |= facts
    return {pair: shortest(facts) for pair, facts in found.items()}


def shortest(found: set[Facts]) -> list[Facts]:
    return ordered({facts for facts in found if not any(facts[n:] in found for n in range(1, len(facts)))})


def ordered(found: set[Facts]) -> list[Facts]:
    order = {action.value: number for number, action in enumerate(Action)}
    return sorted(found, key=lambda facts: [order[fact] for fact in facts])


def facts_met() -> set[str]:
    return {fact for commits in moves().values() for facts in commits for fact in facts}
