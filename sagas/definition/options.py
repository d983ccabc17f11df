"""What an operator may tune of the engine, with the default of each. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from sagas.definition.saga import Retry


@dataclass(frozen=True, slots=True)
class Options:
    """The engine's options. The keys of Django's `settings.SAGAS` are these names in upper case."""

    #: Retry policy of steps that name none, and of compensations.
    retry: Retry = field(default_factory=Retry)
    undo_retry: Retry = field(default_factory=Retry)
    #: How long a saga may stand still before the sweep sends its message again; the wait grows up to `longest_stall`.
    stall: timedelta = timedelta(seconds=10)
    longest_stall: timedelta = timedelta(seconds=60)
    #: How long after its timeout a call's claim may still be recorded.
    lease_grace: timedelta = timedelta(seconds=5)
    #: How often a message is sent again without any recorded progress before the engine gives up.
    max_dispatches: int = 24
    #: Whether a worker that also consumes the next step's queue runs that step at once.
    run_inline: bool = True
    #: A worker runs the next step inline only while that step's timeout fits in this much of its task's time.
    inline_budget: timedelta = timedelta(seconds=40)
    #: When a saga that waits for a dependency on hold is looked at, if nobody releases the dependency.
    hold_recheck: timedelta = timedelta(minutes=5)
    #: How many waiting sagas go on each second after a release that gives no other number.
    release_per_second: float = 20.0
    #: This many failed calls of a dependency in a row, within the window, put it on hold automatically; 0 never does.
    breaker_failures: int = 10
    breaker_window: timedelta = timedelta(seconds=60)
    #: How long after that one saga probes the dependency; the delay doubles with each failed probe.
    breaker_probe: timedelta = timedelta(seconds=30)
    breaker_longest_probe: timedelta = timedelta(minutes=5)
    #: How long after it was parked a saga is retried automatically, and after the next time, …; empty never does.
    auto_retry_delays: tuple[timedelta, ...] = tuple(timedelta(minutes=m) for m in (5, 30, 120, 480, 1440))
    sweep_batch_size: int = 200
    relay_batch_size: int = 500
    #: An unpublished event older than this is warned of, and makes `/readyz` say degraded.
    backlog_patience: timedelta = timedelta(seconds=60)
    #: What the API calls a saga's subject in its list's filter, beside `subject`.
    subject_parameter: str = "subject"
    #: Fields of the sagas' input that the API shows with each saga; null where a saga has no such field.
    shown_input: tuple[str, ...] = ()
    #: The topic exchange events are published to; empty turns publishing off.
    event_exchange: str = ""
