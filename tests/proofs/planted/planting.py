"""How a defect is put into the product: a piece of a function's source is replaced and the function compiled again.

A piece that is no longer there is an error, so the table keeps up with the code.
"""

from __future__ import annotations
import __future__

import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest import mock

from sagas.definition.saga import Saga


@dataclasses.dataclass(frozen=True)
class Edit:
    """In `owner.name` (a module's function, or a class's method) write `new` for `old`."""

    owner: Any
    name: str
    old: str
    new: str

    def __str__(self) -> str:
        owner = getattr(self.owner, "__name__", str(self.owner))
        return f"`{owner}.{self.name}`: `{self.old.strip()}` → `{self.new.strip()}`"

    @contextmanager
    def planted(self) -> Iterator[None]:
        with mock.patch.object(self.owner, self.name, self._rewritten()):
            yield

    def _rewritten(self) -> Callable[..., Any]:
        function = inspect.unwrap(getattr(self.owner, self.name))
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.old) != 1:
            raise LookupError(f"{self.name} holds {source.count(self.old)} times: {self.old!r}")
        flags = __future__.annotations.compiler_flag
        code = compile(source.replace(self.old, self.new), function.__code__.co_filename, "exec", flags)
        names: dict[str, Any] = {}
        exec(code, function.__globals__, names)
        rewritten: Callable[..., Any] = names[self.name]
        return rewritten


@dataclasses.dataclass(frozen=True)
class Without:
    """A step of a definition without its compensation."""

    saga: Saga
    step: str

    def __str__(self) -> str:
        return f"`{self.saga.name}`: `{self.step}` has no compensation"

    @contextmanager
    def planted(self) -> Iterator[None]:
        steps = [
            dataclasses.replace(step, compensation=None) if step.name == self.step else step for step in self.saga.steps
        ]
        with mock.patch.object(self.saga, "steps", steps):
            yield


@dataclasses.dataclass(frozen=True)
class Constant:
    """Another value for a module's constant."""

    owner: Any
    name: str
    value: Any

    def __str__(self) -> str:
        return f"`{self.owner.__name__}.{self.name}` = `{self.value}`"

    def planted(self) -> AbstractContextManager[Any]:
        return mock.patch.object(self.owner, self.name, self.value)


Change = Edit | Without | Constant


@contextmanager
def all_planted(changes: tuple[Change, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(change.planted())
        yield
