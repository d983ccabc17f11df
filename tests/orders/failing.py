"""Lets one step of a saga fail."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sagas.definition.saga import Saga, Step
from sagas.errors import Refusal
from sagas.testing import Runner

KINDS = ("refusal", "error", "timeout")


class Refused(Refusal):
    code = "test.refused"


class UnknownOutcome(Exception):
    """The step failed, and nobody knows whether it had its effect."""


class Killed(BaseException):
    """The worker is killed: nothing after this runs, and nothing is recorded."""


def run_until_the_saga_ends(runner: Runner) -> None:
    """Run until nothing is left to do. The message of a killed worker is lost; the sweep finds its saga later."""
    for _ in range(200):
        try:
            runner.run_to_end()
            return
        except Killed:
            runner.let_pass(timedelta(seconds=1))
    raise AssertionError("the saga does not end")


@contextmanager
def failing(saga: Saga, step_name: str, kind: str) -> Iterator[None]:
    """Let this step fail with a `refusal`, an `error` or a `timeout`: `test_create_order_failures` explains them."""
    before = saga.steps
    saga.steps = [_broken(step, kind) if step.name == step_name else step for step in before]
    try:
        yield
    finally:
        saga.steps = before


def _broken(step: Step, kind: str) -> Step:
    failure = {"refusal": Refused("No."), "error": UnknownOutcome("No reply."), "timeout": Killed()}[kind]
    return dataclasses.replace(step, function=_failing(step.function, failure, has_effect=step.is_remote))


def _failing(function: Callable[..., Any], failure: BaseException, *, has_effect: bool) -> Callable[..., Any]:
    @functools.wraps(function)
    def fail(**arguments: Any) -> Any:
        if has_effect and not isinstance(failure, Refusal):
            function(**arguments)
        raise failure

    return fail
