"""The engine's options: `settings.SAGAS`, each with a default, so that the app works in any Django project."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from sagas.definition.saga import Retry


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator may tune. Keys of `settings.SAGAS` are these names in upper case."""

    #: Retry policy of steps that name none, and of compensations.
    retry: Retry = field(default_factory=Retry)
    undo_retry: Retry = field(default_factory=Retry)
    #: How long a saga may stand still before the sweep drives it again.
    stall: timedelta = timedelta(seconds=10)
    longest_stall: timedelta = timedelta(seconds=60)
    #: How long after its timeout a call's claim may still be recorded.
    lease_grace: timedelta = timedelta(seconds=5)
    #: Re-drives without any recorded progress after which the engine gives up.
    max_drives: int = 24
    #: Whether a worker that also consumes the next step's queue runs that step at once.
    run_ahead: bool = True
    #: A worker runs ahead only while the next step's timeout still fits in this much of its task's time.
    run_ahead_budget: timedelta = timedelta(seconds=40)
    #: When a saga that waits for what is on hold is looked at, should nobody let it go.
    hold_recheck: timedelta = timedelta(minutes=5)
    #: How many sagas a second go on after a release that names no other figure.
    release_per_second: float = 20.0
    #: Calls of a dependency that go wrong in a row, within the window, put it on hold by themselves; 0 never does.
    breaker_troubles: int = 10
    breaker_window: timedelta = timedelta(seconds=60)
    #: How long after that one saga tries whether it works again; the delay doubles with each failure.
    breaker_probe: timedelta = timedelta(seconds=30)
    breaker_longest_probe: timedelta = timedelta(minutes=5)
    #: How long after it was parked a saga is retried by itself, and after the next time, and so on; empty never does.
    auto_retry_delays: tuple[timedelta, ...] = tuple(timedelta(minutes=m) for m in (5, 30, 120, 480, 1440))
    sweep_batch_size: int = 200
    relay_batch_size: int = 500
    #: An unpublished event older than this is warned of, and makes `/readyz` say degraded.
    backlog_patience: timedelta = timedelta(seconds=60)
    #: The topic exchange events are published to; empty turns publishing off.
    event_exchange: str = "campusg.events"


@lru_cache(maxsize=1)
def options() -> Options:
    configured: dict[str, Any] = getattr(settings, "SAGAS", {})
    return Options(**{name.lower(): value for name, value in configured.items()})


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "SAGAS":
        options.cache_clear()


setting_changed.connect(_forget)
