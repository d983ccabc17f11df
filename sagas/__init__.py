"""Durable sagas for Django and Celery: define one as a table, start it, and it ends, or all it did is undone.

This is the public face: import from here, from `sagas.rest`, `sagas.embedded` and `sagas.testing`, and from nowhere
else in the package. Names are loaded when they are first used, because some need Django to be set up and `settings.py`
may import others. `manage.py sagas show NAME` prints a definition; the package's README begins with a whole program.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sagas.conf import options as options
    from sagas.definition.options import Options as Options
    from sagas.definition.registry import register as register
    from sagas.definition.saga import Retry as Retry
    from sagas.definition.saga import Saga as Saga
    from sagas.definition.saga import best_effort as best_effort
    from sagas.definition.saga import minutes as minutes
    from sagas.definition.saga import seconds as seconds
    from sagas.definition.saga import undo as undo
    from sagas.engine.commands import cancel as cancel
    from sagas.engine.commands import close as close
    from sagas.engine.commands import retry as retry
    from sagas.engine.commands import skip as skip
    from sagas.engine.commands import start as start
    from sagas.engine.preview import Preview as Preview
    from sagas.engine.preview import explain_in_previews as explain_in_previews
    from sagas.engine.preview import preview as preview
    from sagas.engine.preview import preview_start as preview_start
    from sagas.engine.preview import require_unchanged as require_unchanged
    from sagas.engine.queries import HistoryEntry as HistoryEntry
    from sagas.engine.queries import SagaState as SagaState
    from sagas.engine.queries import find as find
    from sagas.engine.queries import history as history
    from sagas.engine.queries import of_subject as of_subject
    from sagas.engine.queries import saga_rows as saga_rows
    from sagas.engine.queries import settled_by_hand as settled_by_hand
    from sagas.engine.queries import unsettled as unsettled
    from sagas.engine.queries import within_deadline as within_deadline
    from sagas.errors import AlreadyCancelling as AlreadyCancelling
    from sagas.errors import CannotCancel as CannotCancel
    from sagas.errors import CannotRetry as CannotRetry
    from sagas.errors import Problem as Problem
    from sagas.errors import Refusal as Refusal
    from sagas.errors import SagaError as SagaError
    from sagas.errors import SagaMoved as SagaMoved
    from sagas.errors import UnknownSaga as UnknownSaga
    from sagas.holds.holds import hold_dependency as hold_dependency
    from sagas.holds.holds import release_dependency as release_dependency
    from sagas.ids import uuid7 as uuid7
    from sagas.outbox.relay import oldest_unpublished_age as oldest_unpublished_age
    from sagas.statuses import Direction as Direction
    from sagas.statuses import Phase as Phase
    from sagas.statuses import Status as Status
    from sagas.storage.clock import clock_offset as clock_offset
    from sagas.verification.invariants import Breach as Breach
    from sagas.verification.invariants import Invariant as Invariant
    from sagas.verification.invariants import UuidOfText as UuidOfText
    from sagas.verification.invariants import UuidText as UuidText
    from sagas.verification.invariants import differences as differences
    from sagas.verification.verify import register_invariants as register_invariants

_HOMES = {
    "sagas.conf": ("options",),
    "sagas.definition.options": ("Options",),
    "sagas.definition.registry": ("register",),
    "sagas.definition.saga": ("Retry", "Saga", "best_effort", "minutes", "seconds", "undo"),
    "sagas.engine.commands": ("cancel", "close", "retry", "skip", "start"),
    "sagas.engine.preview": ("Preview", "explain_in_previews", "preview", "preview_start", "require_unchanged"),
    "sagas.engine.queries": (
        "HistoryEntry", "SagaState", "find", "history", "of_subject", "saga_rows", "settled_by_hand", "unsettled",
        "within_deadline",
    ),
    "sagas.errors": (
        "AlreadyCancelling", "CannotCancel", "CannotRetry", "Problem", "Refusal", "SagaError", "SagaMoved",
        "UnknownSaga",
    ),
    "sagas.holds.holds": ("hold_dependency", "release_dependency"),
    "sagas.ids": ("uuid7",),
    "sagas.outbox.relay": ("oldest_unpublished_age",),
    "sagas.statuses": ("Direction", "Phase", "Status"),
    "sagas.storage.clock": ("clock_offset",),
    "sagas.verification.invariants": ("Breach", "Invariant", "UuidOfText", "UuidText", "differences"),
    "sagas.verification.verify": ("register_invariants",),
}  # fmt: skip
_EXPORTS = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_EXPORTS)  # noqa: PLE0605 - a list of names, made from the table


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
