"""`manage.py check` proves every definition before anything runs. `sagas.checks` has what concerns the settings.

sagas.E001  a definition has no steps, or more than one pivot
sagas.E002  a step needs an argument that nothing before it offers
sagas.E003  an argument's annotation differs from that of what provides it
sagas.E004  a compensation leans on its own step's result, or on a later one
sagas.E005  two providers offer the same name
sagas.E006  a step function takes positional arguments, or its annotations are missing or cannot be read
sagas.E007  `aliases` names no event of the engine, or `publishes` no input field
sagas.E008  a local step names what it uses; only a call depends on others
sagas.E009  a task name is taken by two different functions
sagas.E010  what a saga takes is not a dataclass
sagas.E011  an input field or a step's result has a type that JSON cannot hold
sagas.E012  a step returns something else than a TypedDict or None
sagas.W001  a step before the pivot changes something and names no compensation
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from sagas.definition import registry
from sagas.definition.saga import (
    OFFERED,
    OFFERED_TO_COMPENSATIONS,
    Kind,
    Saga,
    StepFunction,
    parameter_types,
    result_types,
    task_name,
    type_hints,
)
from sagas.definition.values import misfits

#: What a step that returns nothing may be annotated with; without an annotation it returns nothing too.
NOTHING = (None, type(None), typing.NoReturn, typing.Never)


def register_checks() -> None:
    register(check_definitions, "sagas")


def check_definitions(**_: Any) -> list[CheckMessage]:
    problems: list[CheckMessage] = []
    tasks: dict[str, StepFunction] = {}
    for saga in registry.all_definitions():
        problems += check_definition(saga)
        problems += _task_collisions(saga, tasks)
    return problems


def check_definition(saga: Saga) -> list[CheckMessage]:
    """Everything that is wrong with one definition, as Django check messages."""
    if unreadable := [*_takes(saga), *_unreadable(saga)]:
        return unreadable
    return [*_shape(saga), *_values(saga), *_wiring(saga), *_events(saga), *_undoable(saga)]


def _takes(saga: Saga) -> Iterator[CheckMessage]:
    if not (isinstance(saga.takes, type) and dataclasses.is_dataclass(saga.takes)):
        name = getattr(saga.takes, "__name__", repr(saga.takes))
        hint = f"Write it as a dataclass: @dataclass(frozen=True) above `class {name}:`."
        yield Error(f"{saga.name} takes {name}, which is not a dataclass.", hint=hint, id="sagas.E010")


def _unreadable(saga: Saga) -> Iterator[CheckMessage]:
    """Annotations are read when the program runs, so what they name must be imported then."""
    for annotated in (saga.takes, *saga.functions):
        try:
            returned = type_hints(annotated).get("return")
            if typing.is_typeddict(returned):
                type_hints(returned)
        except Exception as error:  # noqa: BLE001 - evaluating an annotation may raise anything
            hint = "Import what they name at the top of the module, not under TYPE_CHECKING."
            name = getattr(annotated, "__name__", repr(annotated))
            message = f"{saga.name}: the annotations of {name} cannot be read: {error}."
            yield Error(message, hint=hint, id="sagas.E006")


def _shape(saga: Saga) -> Iterator[CheckMessage]:
    if not saga.steps:
        yield Error(f"{saga.name} has no steps.", id="sagas.E001")
    if sum(step.is_pivot for step in saga.steps) > 1:
        yield Error(f"{saga.name} has more than one pivot.", hint="A saga turns once.", id="sagas.E001")
    for step in saga.steps:
        if step.uses and not step.is_remote:
            hint = "Make it remote, or leave `uses` away: a local step must not talk to others."
            yield Error(f"{saga.name}: {step.name} is local but uses {step.uses}.", hint=hint, id="sagas.E008")


def _values(saga: Saga) -> Iterator[CheckMessage]:
    for name, kind in saga.input_types.items():
        yield from _misfits(f"{saga.name} takes {name}: {_shown(kind)}", kind)
    for step in saga.steps:
        returned = type_hints(step.function).get("return")
        if returned not in NOTHING and not typing.is_typeddict(returned):
            hint = "Results are wired by name: return a TypedDict, or None."
            yield Error(f"{saga.name}: {step.name} returns {_shown(returned)}.", hint=hint, id="sagas.E012")
        for name, kind in result_types(step.function).items():
            yield from _misfits(f"{saga.name}: {step.name} returns {name}: {_shown(kind)}", kind)


def _misfits(where: str, kind: Any) -> Iterator[CheckMessage]:
    for part, hint in misfits(kind):
        found = "it" if part == kind else _shown(part)
        yield Error(f"{where}, and JSON cannot hold {found}.", hint=hint, id="sagas.E011")


def _shown(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def _wiring(saga: Saga) -> Iterator[CheckMessage]:
    available: dict[str, Any] = dict(saga.input_types)
    for step in saga.steps:
        own = result_types(step.function)
        yield from _arguments(saga, step.function, available, OFFERED, later=own)
        if step.compensation is not None:
            offered = {**OFFERED, **OFFERED_TO_COMPENSATIONS}
            yield from _arguments(saga, step.compensation.function, available, offered, later=own, is_undo=True)
        for name in own.keys() & available.keys() | own.keys() & {*OFFERED, *OFFERED_TO_COMPENSATIONS}:
            yield Error(
                f"{saga.name}: {step.name} returns {name!r}, which is offered already.",
                hint="Give the result another name.",
                id="sagas.E005",
            )
        available |= own


def _arguments(
    saga: Saga,
    function: StepFunction,
    available: dict[str, Any],
    offered: Any,
    *,
    later: dict[str, Any],
    is_undo: bool = False,
) -> Iterator[CheckMessage]:
    where = f"{saga.name}: {function.__name__}"
    signature = inspect.signature(function).parameters
    for parameter in signature.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or parameter.annotation is inspect.Parameter.empty:
            yield Error(f"{where} must take {parameter.name!r} as an annotated keyword-only argument.", id="sagas.E006")
    for name, wanted in parameter_types(function).items():
        given = offered.get(name, available.get(name))
        if given is not None:
            if given != wanted:
                yield Error(f"{where} wants {name}: {wanted}, but it is {given}.", id="sagas.E003")
        elif is_undo and name in later:
            yield Error(
                f"{where} leans on {name!r}, the result of the step it undoes.",
                hint="After a lost reply there is no result: mint the id before the saga starts.",
                id="sagas.E004",
            )
        elif signature[name].default is inspect.Parameter.empty:
            yield Error(
                f"{where} wants {name!r}, which nothing before it offers.",
                hint=f"Offered here: {', '.join(sorted({*available, *offered}))}.",
                id="sagas.E002",
            )


def _events(saga: Saga) -> Iterator[CheckMessage]:
    for name in sorted(alias for alias in saga.aliases if not alias.startswith("saga.")):
        hint = 'A step\'s event has its further routing keys on its line: done=("order.created", "OrderCreated").'
        yield Error(f"{saga.name}: aliases names {name!r}, which the engine never states.", hint=hint, id="sagas.E007")
    for name in sorted(set(saga.publishes) - saga.input_types.keys()):
        yield Error(f"{saga.name}: publishes names {name!r}, which is no input field.", id="sagas.E007")


def _undoable(saga: Saga) -> Iterator[CheckMessage]:
    pivot = saga.pivot_position
    for step in saga.steps:
        is_before = pivot is None or step.position < pivot
        if is_before and step.kind is not Kind.READ and step.compensation is None:
            yield Warning(
                f"{saga.name}: {step.name} can be left behind: it names no compensation.",
                hint="Add compensate=…, or make it a read if it changes nothing.",
                id="sagas.W001",
            )


def _task_collisions(saga: Saga, tasks: dict[str, StepFunction]) -> Iterator[CheckMessage]:
    for function in saga.functions:
        known = tasks.setdefault(task_name(function), function)
        if known is not function:
            yield Error(
                f"Two functions claim the task {task_name(function)}.",
                hint="A task is named by its app and function; rename one.",
                id="sagas.E009",
            )
