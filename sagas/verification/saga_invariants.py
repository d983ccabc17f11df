"""What must hold for every saga, whatever it is about: its row, its history, its events."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.db import connection
from django.db.models import Aggregate, Count, Exists, F, OuterRef, Q, QuerySet, TextField

from sagas.conf import options
from sagas.definition import registry
from sagas.definition.saga import Saga
from sagas.machine.replay import Fact, Place, replay
from sagas.machine.transitions import Unlawful
from sagas.models import DIRECTION_FITS, PHASE_FITS, SagaEvent, SagaInstance
from sagas.statuses import FINAL, OPEN, Action, Status
from sagas.storage import storage
from sagas.verification.invariants import Breach, Invariant

#: How long the sweep or the relay may be late before that is a breach and not a busy moment.
LATE = timedelta(minutes=10)
ROWS_AT_A_TIME = 5_000
#: Different histories whose verdict is remembered: most sagas went the same few ways.
HISTORIES_REMEMBERED = 20_000

_FACT = ("seq", "action", "step", "status", "attempt", "saga_status", "position", "epoch")
_DONE = (Action.STEP_COMPLETED, Action.UNDO_COMPLETED)


# -- I7: where a saga may stand -------------------------------------------------------------------------------------
def impossible_rows() -> Iterator[Breach]:
    """Rows the engine's CHECKs forbid: they stay true even where somebody dropped the CHECKs."""
    is_open, is_final, is_parked = Q(status__in=OPEN), Q(status__in=FINAL), Q(status=Status.NEEDS_ATTENTION)
    impossible = (
        ~Q(status__in=Status.values)
        | is_open & Q(wake_at__isnull=True)
        | ~is_open & (Q(wake_at__isnull=False) | Q(lease_token__isnull=False))
        | is_final & Q(finished_at__isnull=True)
        | ~is_final & Q(finished_at__isnull=False)
        | is_parked & (Q(error="") | Q(resume_status=""))
        | Q(lease_token__isnull=True, lease_until__isnull=False)
        | Q(lease_token__isnull=False, lease_until__isnull=True)
        | Q(state_seq=F("seq")) & ~(PHASE_FITS & DIRECTION_FITS)
    )
    for saga in SagaInstance.objects.filter(impossible).order_by("pk").iterator():
        shown = {name: getattr(saga, name) for name in ("wake_at", "lease_until", "finished_at", "resume_status")}
        kept = ", ".join(f"{name} {value}" for name, value in shown.items() if value)
        yield Breach(f"saga {saga.pk}", f"{saga.status} with {kept or 'nothing that would ever wake it'}")


def overdue() -> Iterator[Breach]:
    late = SagaInstance.objects.filter(status__in=OPEN, wake_at__lt=storage().now() - LATE)
    for saga in late.order_by("wake_at").iterator():
        yield Breach(f"saga {saga.pk}", f"{saga.status}, to be looked at since {saga.wake_at:%Y-%m-%d %H:%M:%S}")


# -- I8: nothing twice ----------------------------------------------------------------------------------------------
def done_twice() -> Iterator[Breach]:
    done = SagaEvent.objects.filter(action__in=_DONE).order_by().values_list("saga_id", "action", "step")
    for saga_id, action, step, times in done.annotate(times=Count("pk")).filter(times__gt=1).iterator():
        yield Breach(f"saga {saga_id}", f"{action} {step}: {times} times")


# -- I9: the history is the row -------------------------------------------------------------------------------------
def histories_that_differ() -> Iterator[Breach]:
    """Every saga's history, replayed through the state machine, beside its row.

    The database hands over each history in one piece, and both lists come in the order of the sagas' ids, so that only
    one saga is in memory at a time. What went the same way is replayed once.
    """
    rows = SagaInstance.objects.order_by("pk").values_list(
        "pk", "name", "version", "seq", "state_seq", "status", "position", "epoch", "direction", "phase", "may_have_run"
    )
    facts_of = SagaEvent.objects.order_by("saga_id").values_list("saga_id").annotate(facts=_Facts(*_FACT))
    sagas = ((row[0], 0, row[1:]) for row in rows.iterator(chunk_size=ROWS_AT_A_TIME))
    histories = ((saga_id, 1, facts) for saga_id, facts in facts_of.iterator(chunk_size=ROWS_AT_A_TIME))
    for saga_id, found in groupby(heapq.merge(sagas, histories, key=itemgetter(0)), key=itemgetter(0)):
        verdict = _verdict_of({side: what for _, side, what in found})
        if verdict:
            yield Breach(f"saga {saga_id}", verdict)


class _Facts(Aggregate):
    """All facts of a saga as one text, a line each, their columns set apart by a character that no name contains."""

    output_field = TextField()

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = "string_agg(concat_ws(chr(31), %(expressions)s), chr(10) ORDER BY seq)"
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        joined = {"template": "group_concat(%(expressions)s, char(10))", "arg_joiner": " || char(31) || "}
        return self.as_sql(compiler, connection, **joined, **extra)


def _verdict_of(found: dict[int, Any]) -> str:
    row = found.get(0)
    return "has a history and no row" if row is None else _verdict(row, found.get(1, ""))


@lru_cache(maxsize=HISTORIES_REMEMBERED)
def _verdict(row: tuple[Any, ...], history: str) -> str:
    """What is wrong with this history of a saga with this row; empty if nothing is."""
    name, version, seq, state_seq, *columns = row
    try:
        facts = sorted(_fact(line) for line in history.split("\n")) if history else []
        numbers = [fact.seq for fact in facts]
        if numbers != list(range(1, seq + 1)):
            return _gap(numbers, seq)
        replayed = _replayed(registry.find(name, version), facts) if facts else None
    except Unlawful as error:
        return str(error)
    # A process of the release before writes the first three columns only, and knows no more of a definition it lacks.
    place = Place(*columns)
    if state_seq != seq or replayed is None or not replayed.phase:
        place, replayed = place.short, replayed and replayed.short
    return "" if place == replayed else f"the row is {place}; its history says {replayed or 'nothing'}"


def _replayed(definition: Saga | None, facts: list[Fact]) -> Place:
    """Where the history leaves its saga; of a definition this process does not know, its last line must do."""
    return facts[-1].after if definition is None else replay(definition, facts)


def _fact(line: str) -> Fact:
    try:
        seq, action, step, status, attempt, saga_status, position, epoch = line.split("\x1f")
    except ValueError:
        raise Unlawful(f"a fact can't be read: {line!r}") from None
    return Fact(int(seq), action, step, status, int(attempt), saga_status, int(position), int(epoch))


def _gap(numbers: list[int], seq: int) -> str:
    missing = sorted(set(range(1, seq + 1)) - set(numbers))
    if missing:
        return f"the history lacks {', '.join(f'#{number}' for number in missing[:5])} of {seq}"
    return f"the history goes on to #{numbers[-1]}, the row knows {seq}"


# -- I11: one event for each change ---------------------------------------------------------------------------------
def events_misnamed() -> Iterator[Breach]:
    """Facts that carry another event than their definition gives them, or none. Sagas of definitions this process
    does not know are left out."""
    with connection.cursor() as cursor:
        cursor.execute(_KINDS)
        kinds = cursor.fetchall()
    for name, version, action, step, status, named in sorted(kinds):
        definition = registry.find(name, version)
        if definition is not None and named != (wanted := event_type(definition, action, step, status)):
            sagas = SagaInstance.objects.filter(name=name, version=version).values("pk")
            wrong = SagaEvent.objects.filter(saga_id__in=sagas, action=action, step=step, status=status, type=named)
            yield from _misnamed(wrong, wanted)


#: Every kind of fact there is, once: some dozens.
_KINDS = """
    SELECT DISTINCT saga.name, saga.version, event.action, event.step, event.status, event.type
    FROM sagas_sagaevent AS event JOIN sagas_sagainstance AS saga ON saga.id = event.saga_id
"""


def _misnamed(wrong: QuerySet[SagaEvent], wanted: str) -> Iterator[Breach]:
    for event in wrong.order_by("saga_id", "seq").iterator():
        fact = f"#{event.seq} {event.action} {event.step}".rstrip()
        yield Breach(
            f"saga {event.saga_id}", f"{fact} states {event.type or 'nothing'} instead of {wanted or 'nothing'}"
        )


def event_type(saga: Saga, action: str, step: str, status: str) -> str:
    """The event that a fact publishes; empty for what concerns only the engine."""
    if action in _DONE:
        return saga.event(step)
    if action in (Action.STEP_FAILED, Action.STEP_REFUSED, Action.UNDO_FAILED):
        return saga.event(step, failed=True)
    if action in (Action.FINISHED, Action.COMPENSATION_STARTED, Action.CANCELLATION_STARTED):
        return f"saga.{status.lower()}"
    return _TYPES.get(action, "")


_TYPES: dict[str, str] = {
    Action.STARTED: "saga.started",
    Action.PARKED: "saga.needs_attention",
    Action.RETRIED: "saga.retried",
    Action.AUTO_RETRIED: "saga.retried",
    Action.SKIPPED: "saga.step_skipped",
    Action.CLOSED: "saga.closed",
}


def overtaken() -> Iterator[Breach]:
    """Events still to be published of sagas that have published a later one."""
    later = SagaEvent.objects.filter(saga_id=OuterRef("saga_id"), seq__gt=OuterRef("seq"), published_at__isnull=False)
    for event in _unpublished().filter(Exists(later.exclude(type=""))).order_by("saga_id", "seq").iterator():
        yield Breach(f"saga {event.saga_id}", f"#{event.seq} {event.type} waits, a later event is published")


def misnumbered() -> Iterator[Breach]:
    """Subjects whose events are not numbered 1, 2, 3 … over all their sagas; what was published without a number,
    before there were any, does not count."""
    with connection.cursor() as cursor:
        cursor.execute(_MISNUMBERED)
        for subject, events, total, highest in cursor.fetchall():
            detail = f"{events} events, the highest number is {highest}, the sum of the numbers {total}"
            yield Breach(f"subject {subject}", detail)


_MISNUMBERED = """
    SELECT saga.subject, COUNT(*), SUM(event.subject_sequence), MAX(event.subject_sequence)
    FROM sagas_sagaevent AS event JOIN sagas_sagainstance AS saga ON saga.id = event.saga_id
    WHERE event.subject_sequence IS NOT NULL GROUP BY saga.subject
    HAVING COUNT(*) <> MAX(event.subject_sequence) OR 2 * SUM(event.subject_sequence) <> COUNT(*) * (COUNT(*) + 1)
    ORDER BY saga.subject
"""


def published_late() -> Iterator[Breach]:
    if not options().event_exchange:
        return
    for event in _unpublished().filter(created_at__lt=storage().now() - LATE).order_by("saga_id", "seq").iterator():
        since = f"{event.created_at:%Y-%m-%d %H:%M:%S}"
        yield Breach(f"saga {event.saga_id}", f"#{event.seq} {event.type} waits to be published since {since}")


def _unpublished() -> QuerySet[SagaEvent]:
    return SagaEvent.objects.filter(published_at__isnull=True).exclude(type="")


_LOOK = "`manage.py sagas show SAGA_ID` prints the history"
INVARIANTS = (
    Invariant(
        "I7", "every saga is finished, due to be looked at, or parked with a reason", "sagas",
        SagaInstance.objects.all(), impossible_rows,
        f"No code of ours writes such a row: who changed it by hand, and which CHECK is gone? {_LOOK}.",
    ),
    Invariant(
        "I7", f"no open saga is overlooked for {LATE.seconds // 60} minutes", "open sagas",
        SagaInstance.objects.filter(status__in=OPEN), overdue,
        "The sweep does not run, or no process knows the definition: see that beat and the workers are up.",
    ),
    Invariant(
        "I8", "no step is done or undone twice", "facts",
        SagaEvent.objects.filter(action__in=_DONE), done_twice,
        f"{_LOOK}; find out whether the effect happened twice or only its record, and keep the rows.",
    ),
    Invariant(
        "I9", "every history is gap-free, lawful, and leads to its row", "facts",
        SagaEvent.objects.all(), histories_that_differ,
        f"Row or history was changed outside the engine. {_LOOK}; compare with a backup, and keep the rows.",
    ),
    Invariant(
        "I11", "every change states the one event its definition names", "facts",
        SagaEvent.objects.all(), events_misnamed,
        "Subscribers may have missed it: tell them, and look for a definition changed without a new version.",
    ),
    Invariant(
        "I11", "a saga's events are published in order", "events waiting",
        _unpublished(), overtaken,
        "Something marked events as published past the relay. Subscribers see them out of order: tell them.",
    ),
    Invariant(
        "I11", "the events of a subject are numbered without a gap", "numbered events",
        SagaEvent.objects.filter(subject_sequence__isnull=False), misnumbered,
        "Subscribers that wait for the missing number wait for ever: tell them which one to pass over.",
    ),
    Invariant(
        "I11", f"every event is published within {LATE.seconds // 60} minutes", "events waiting",
        _unpublished(), published_late,
        "The relay does not run, or the broker refuses: see that beat, the `sagas.relay` task and the broker are up.",
    ),
)  # fmt: skip
