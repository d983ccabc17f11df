"""Sagas as they are, but for one step that fails."""

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

KINDS = ("refusal", "trouble", "timeout")


class SaysNo(Refusal):
    code = "test.says_no"


class Trouble(Exception):
    """Neither yes nor no."""


class Killed(BaseException):
    """The worker dies: nothing after it runs and nothing is recorded."""


def go_on_until_nothing_moves(runner: Runner) -> None:
    """A killed worker takes its message along; the sweep finds the saga when it has stood still long enough."""
    for _ in range(200):
        try:
            runner.run_to_end()
            return
        except Killed:
            runner.let_pass(timedelta(seconds=1))
    raise AssertionError("the saga never ends")


@contextmanager
def failing(saga: Saga, step_name: str, kind: str) -> Iterator[None]:
    """`refusal`, `trouble` and `timeout` as the failure table explains them."""
    before = saga.steps
    saga.steps = [_broken(step, kind) if step.name == step_name else step for step in before]
    try:
        yield
    finally:
        saga.steps = before


def _broken(step: Step, kind: str) -> Step:
    failure = {"refusal": SaysNo("No."), "trouble": Trouble("Who knows."), "timeout": Killed()}[kind]
    return dataclasses.replace(step, function=_failing(step.function, failure, has_effect=step.is_remote))


def _failing(function: Callable[..., Any], failure: BaseException, *, has_effect: bool) -> Callable[..., Any]:
    @functools.wraps(function)
    def fail(**arguments: Any) -> Any:
        if has_effect and not isinstance(failure, Refusal):
            function(**arguments)
        raise failure

    return fail
