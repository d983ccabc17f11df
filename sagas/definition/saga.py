"""How a saga is written down: a table with one line a step, forward on the left, its undo beside it.

Only the standard library is imported here, so a definition can be read, checked and printed anywhere.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import random
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

type_hints = typing.get_type_hints

StepFunction = Callable[..., Any]

#: Names the engine offers to every step function, with their types.
OFFERED: Mapping[str, type] = {"saga_id": str, "idempotency_key": str, "attempt": int, "timeout": float}
#: Names it offers to compensations only.
OFFERED_TO_COMPENSATIONS: Mapping[str, type] = {"reason": str, "reason_code": str, "actor": str}


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def minutes(value: float) -> timedelta:
    return timedelta(minutes=value)


class Kind(enum.StrEnum):
    """What a step may do, and so how the engine runs it."""

    STEP = "step"  # local: effect and record commit in one transaction
    CALL = "call"  # remote: claimed, then called without a transaction, then recorded
    READ = "read"  # changes nothing, so it has nothing to undo


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with jitter: `retries` more attempts after the first, delays `first`, 2·`first`, 4·`first` …

    A delay is drawn from [delay, delay · (1 + `jitter`)] so that sagas that failed together do not return together.
    """

    retries: int = 3
    first: timedelta = timedelta(seconds=5)
    longest: timedelta = timedelta(minutes=5)
    jitter: float = 0.2

    @property
    def attempts(self) -> int:
        return self.retries + 1

    def delay(self, attempt: int) -> timedelta:
        """How long to wait after failed attempt number `attempt` (1 is the first)."""
        exact: timedelta = min(self.first * 2 ** min(attempt - 1, 30), self.longest)
        return exact * (1 + random.uniform(0, self.jitter))  # noqa: S311 - spreads load; no secret depends on it


#: The type of an event, or its type followed by further routing keys under which the same event is published.
EventNames = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compensation:
    """The undo of one step. A best effort may fail: when its retries run out that is recorded and the undo goes on.

    `done` and `failed` name the events stated when it is done, or has failed for good; empty states none.
    """

    function: StepFunction
    is_best_effort: bool = False
    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def task_name(self) -> str:
        return task_name(self.function)


def undo(function: StepFunction, *, done: EventNames = "", failed: EventNames = "") -> Compensation:
    """A compensation that states events."""
    return Compensation(function, done=_names(done), failed=_names(failed))


def best_effort(function: StepFunction, *, done: EventNames = "", failed: EventNames = "") -> Compensation:
    """A compensation that may fail."""
    return Compensation(function, is_best_effort=True, done=_names(done), failed=_names(failed))


def _names(given: EventNames) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else given
    return tuple(name for name in names if name)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the table. `position` counts from 0; `timeout` bounds a call and sizes its lease.

    `uses` names what a call depends on ("stripe"): while that is on hold neither the call nor its undo is made. `done`
    and `failed` name the events stated when the step is done, or has failed for good; the first is the event's type.
    """

    position: int
    kind: Kind
    function: StepFunction
    compensation: Compensation | None
    retry: Retry | None
    timeout: timedelta
    uses: str = ""
    is_pivot: bool = False
    is_after_pivot: bool = False
    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def task_name(self) -> str:
        return task_name(self.function)

    @property
    def is_remote(self) -> bool:
        return self.kind is Kind.CALL


def task_name(function: StepFunction) -> str:
    """The Celery task of a step function: its app and its name, `payments.authorize_payment`."""
    return f"{function.__module__.split('.')[0]}.{function.__name__}"


DEFAULT_TIMEOUT = timedelta(seconds=30)


@dataclass(eq=False)
class Saga:
    """A saga definition, built by chaining its lines.

    `takes` is a dataclass: the input, stored with the saga as JSON. `deadline` bounds the time until the pivot.
    `on_cancel(subject)` is called inside the cancelling transaction and claims the subject or raises. `publishes` lists
    the input fields that travel in every published event. `aliases` gives the events that the engine itself states
    (`saga.completed`, …) further routing keys; a step's are on its line: `done=("order.created", "OrderCreated")`.
    """

    name: str
    takes: type
    deadline: timedelta = timedelta(minutes=5)
    on_cancel: Callable[[str], None] | None = None
    publishes: tuple[str, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    version: int = 1
    steps: list[Step] = field(default_factory=list, init=False)

    def step(
        self,
        function: StepFunction,
        *,
        compensate: StepFunction | Compensation | None = None,
        retry: Retry | None = None,
        done: EventNames = "",
        failed: EventNames = "",
    ) -> Saga:
        """A local step: its effect and the engine's record commit in one transaction."""
        return self._add(Kind.STEP, function, compensate=compensate, retry=retry, done=done, failed=failed)

    def call(
        self,
        function: StepFunction,
        *,
        compensate: StepFunction | Compensation | None = None,
        retry: Retry | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
        uses: str = "",
        done: EventNames = "",
        failed: EventNames = "",
    ) -> Saga:
        """A remote step: never inside a transaction; it gets an idempotency key and a timeout."""
        return self._add(
            Kind.CALL,
            function,
            compensate=compensate,
            retry=retry,
            timeout=timeout,
            uses=uses,
            done=done,
            failed=failed,
        )

    def read(
        self, function: StepFunction, *, retry: Retry | None = None, done: EventNames = "", failed: EventNames = ""
    ) -> Saga:
        """A step that changes nothing and so has nothing to undo."""
        return self._add(Kind.READ, function, retry=retry, done=done, failed=failed)

    def pivot(
        self,
        function: StepFunction,
        *,
        remote: bool = False,
        compensate: StepFunction | Compensation | None = None,
        retry: Retry | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
        uses: str = "",
        done: EventNames = "",
        failed: EventNames = "",
    ) -> Saga:
        """The point of no return for failures: once it is done the saga only goes forward."""
        kind = Kind.CALL if remote else Kind.STEP
        return self._add(
            kind, function, compensate=compensate, retry=retry, timeout=timeout, uses=uses, is_pivot=True, done=done,
            failed=failed,
        )  # fmt: skip

    def then(
        self,
        function: StepFunction,
        *,
        compensate: StepFunction | Compensation | None = None,
        retry: Retry | None = None,
        remote: bool = False,
        timeout: timedelta = DEFAULT_TIMEOUT,
        uses: str = "",
        done: EventNames = "",
        failed: EventNames = "",
    ) -> Saga:
        """A step after the pivot: retried until it works, parked as NEEDS_ATTENTION if it never does."""
        kind = Kind.CALL if remote else Kind.STEP
        return self._add(
            kind, function, compensate=compensate, retry=retry, timeout=timeout, uses=uses, done=done, failed=failed
        )

    def _add(
        self,
        kind: Kind,
        function: StepFunction,
        *,
        compensate: StepFunction | Compensation | None = None,
        retry: Retry | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
        uses: str = "",
        is_pivot: bool = False,
        done: EventNames = "",
        failed: EventNames = "",
    ) -> Saga:
        self.steps.append(
            Step(
                position=len(self.steps),
                kind=kind,
                function=function,
                compensation=_compensation(compensate),
                retry=retry,
                timeout=timeout,
                uses=uses,
                is_pivot=is_pivot,
                is_after_pivot=self.pivot_position is not None,
                done=_names(done),
                failed=_names(failed),
            )
        )
        return self

    # -- reading it ---------------------------------------------------------------------------------------------
    @property
    def pivot_position(self) -> int | None:
        return next((step.position for step in self.steps if step.is_pivot), None)

    @property
    def functions(self) -> Iterator[StepFunction]:
        """Every function that becomes a task: the steps and their compensations."""
        for step in self.steps:
            yield step.function
            if step.compensation is not None:
                yield step.compensation.function

    @property
    def input_types(self) -> dict[str, Any]:
        hints = type_hints(self.takes)
        return {f.name: hints[f.name] for f in dataclasses.fields(self.takes)}

    @property
    def lines(self) -> Iterator[Step | Compensation]:
        """Everything that may state an event: the steps and their compensations."""
        for step in self.steps:
            yield step
            if step.compensation is not None:
                yield step.compensation

    def event(self, name: str, *, failed: bool = False) -> str:
        """The event stated when the step or compensation `name` is done, or has failed for good; empty for none."""
        line = next((line for line in self.lines if line.name == name), None)
        names = () if line is None else line.failed if failed else line.done
        return names[0] if names else ""

    def aliases_of(self, event_type: str) -> tuple[str, ...]:
        """The further routing keys of an event of this saga."""
        stated = (names for line in self.lines for names in (line.done, line.failed) if names)
        return next((names[1:] for names in stated if names[0] == event_type), self.aliases.get(event_type, ()))

    def __str__(self) -> str:
        return render(self)


def _compensation(compensate: StepFunction | Compensation | None) -> Compensation | None:
    if compensate is None or isinstance(compensate, Compensation):
        return compensate
    return Compensation(compensate)


@functools.cache
def result_types(function: StepFunction) -> dict[str, Any]:
    """What a step returns by name: the keys of the TypedDict it is annotated with, none for `None`."""
    returned = type_hints(function).get("return")
    return type_hints(returned) if typing.is_typeddict(returned) else {}


def parameter_types(function: StepFunction) -> dict[str, Any]:
    """The keyword-only parameters of a step function with their annotations."""
    hints = type_hints(function)
    return {name: hints.get(name, Any) for name in inspect.signature(function).parameters}


def render(saga: Saga) -> str:
    """The saga as a table: what runs, in which order, and what undoes it."""
    rows = [("", "step", "kind", "undone by", "policy"), *(_row(step) for step in saga.steps)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    title = f"{saga.name} v{saga.version}: {_takes(saga)}, {_duration(saga.deadline)} until the pivot"
    return "\n".join([title, lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _takes(saga: Saga) -> str:
    return f"takes {saga.takes.__name__}"


def _row(step: Step) -> tuple[str, str, str, str, str]:
    kind = "pivot" if step.is_pivot else "then" if step.is_after_pivot else step.kind.value
    if step.is_remote and kind != "call":
        kind += " (remote)"
    undone_by = step.compensation.task_name if step.compensation else "-"
    if step.compensation and step.compensation.is_best_effort:
        undone_by += " (best effort)"
    return str(step.position + 1), step.task_name, kind, undone_by, _policy(step)


def _policy(step: Step) -> str:
    parts = [f"timeout {_duration(step.timeout)}"] if step.is_remote else []
    if step.retry is not None:
        parts.append(f"{step.retry.retries} retries from {_duration(step.retry.first)}")
    if step.uses:
        parts.append(f"uses {step.uses}")
    return ", ".join(parts) or "default"


def _duration(value: timedelta) -> str:
    total = value.total_seconds()
    return f"{total / 60:g} min" if total >= 60 else f"{total:g} s"
