"""What can go wrong, as exceptions that explain themselves.

    Problem                      base of every error a caller may see
    ├── Refusal                  a business "no": final, never retried
    └── SagaError
        ├── UnknownSaga          saga.unknown
        ├── CannotCancel         saga.not_cancellable
        ├── AlreadyCancelling    saga.already_cancelling
        ├── CannotRetry          saga.not_retryable
        ├── SagaMoved            saga.moved
        ├── WrongResult          saga.wrong_result
        ├── UnknownDependency    saga.unknown_dependency
        ├── AlreadyHeld          saga.already_held
        ├── NotHeld              saga.not_held
        └── UnknownDefinition    saga.unknown_definition: a definition this process does not have

The engine reads a step's exceptions by one rule: a `Refusal` is an answer; anything else is an error. After an error in
a local step nothing is left behind; after an error in a call its outcome is unknown.

Nothing here knows HTTP: `sagas.rest.problems` says which status each of these errors has.
"""

from __future__ import annotations

from typing import Any, ClassVar


class Problem(Exception):
    """Base of all errors shown to a caller; rendered as an RFC 9457 problem document over HTTP.

    `code` is stable and meant for programs, `title` names the kind, `detail` describes this case, `advice` says what to
    do next, and `extra` holds further members of the document. An error that is written for callers over HTTP may also
    have a `status`, its HTTP status.
    """

    code: ClassVar[str] = "problem"
    title: ClassVar[str] = "Something is wrong with the request"
    advice: ClassVar[str] = "Change the request as the detail says and send it again."

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.extra = extra

    @property
    def detail(self) -> str:
        return str(self.args[0])


class Refusal(Problem):
    """A business refusal (declined, out of stock): the answer is no and stays no, so the engine never retries it."""

    code = "refused"
    title = "The request was refused"


class SagaError(Problem):
    """Base of the engine's own errors."""


class UnknownSaga(SagaError):
    code = "saga.unknown"
    title = "There is no such saga"
    advice = "Check the id; `GET /api/sagas` lists the sagas you may see."


class CannotCancel(SagaError):
    code = "saga.not_cancellable"
    title = "This saga can no longer be cancelled"
    advice = "Look at its current status; what is finished or being undone cannot be cancelled."


class AlreadyCancelling(SagaError):
    code = "saga.already_cancelling"
    title = "This saga is already being cancelled"
    advice = "Nothing to do: follow the saga until it is CANCELLED."


class CannotRetry(SagaError):
    code = "saga.not_retryable"
    title = "This saga does not wait for an operator"
    advice = "Only a saga in NEEDS_ATTENTION can be retried, skipped or closed."


class WrongResult(SagaError):
    code = "saga.wrong_result"
    title = "This is not what the step returns"
    advice = "Give every value the step would have returned, and no other."


class UnknownDependency(SagaError):
    code = "saga.unknown_dependency"
    title = "No step uses this"
    advice = "Name something that a step of a saga uses; `GET /api/sagas/holds` lists them."


class AlreadyHeld(SagaError):
    code = "saga.already_held"
    title = "This dependency is on hold already"
    advice = "Nothing to do; release it when it works again."


class NotHeld(SagaError):
    code = "saga.not_held"
    title = "This dependency is not on hold"
    advice = "Nothing to do; sagas that waited for it are on their way."


class SagaMoved(SagaError):
    code = "saga.moved"
    title = "The saga is no longer in the state that was previewed"
    advice = "Look at a fresh preview, then cancel with its ETag."


class UnknownDefinition(SagaError):
    """This process has no definition of that name and version; another one may."""

    code = "saga.unknown_definition"
    title = "This process does not know this saga's definition"
    advice = "Send it again: while a newer release is rolled out, its processes know the definition."
