"""`manage.py sagas`: look at definitions and at running sagas from a terminal."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from sagas.conf import options as engine_options
from sagas.definition import registry
from sagas.engine import commands, representation, versions
from sagas.errors import Problem, SagaError
from sagas.holds import holds
from sagas.machine.state import Row
from sagas.models import SagaInstance
from sagas.outbox import relay
from sagas.statuses import parse_status
from sagas.storage import storage

T = TypeVar("T")


class Command(BaseCommand):
    help = (
        "List and show saga definitions, sagas and unpublished events; cancel, retry, skip a step of, or close a saga; "
        "put what sagas use on hold and release it; tell before a deploy which sagas it would strand."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        show = actions.add_parser("show", help="print a definition as a table, or one saga with its history")
        show.add_argument("what", help="the name of a definition, or a saga's id")
        listing = actions.add_parser("list", help="list sagas, newest first")
        listing.add_argument("--status", action="append", default=[])
        listing.add_argument("--name")
        listing.add_argument("--limit", type=int, default=20)
        listing.add_argument("--json", action="store_true", dest="as_json")
        actions.add_parser("definitions", help="list the definitions this process knows")
        actions.add_parser("backlog", help="count the events that still wait to be published, by topic")
        for name in ("cancel", "retry", "skip", "close"):
            command = actions.add_parser(name, help=f"{name} one saga")
            command.add_argument("saga_id", type=_saga_id)
            command.add_argument("--reason", required=True)
            if name == "skip":
                command.add_argument("--result", type=json.loads, help="what the step would have returned, as JSON")

        actions.add_parser("holds", help="list what steps use, what of it is on hold, and how many sagas wait")
        hold = actions.add_parser("hold", help="let sagas stop before calls that use a dependency")
        hold.add_argument("dependency")
        hold.add_argument("--reason", required=True)
        release = actions.add_parser("release", help="let the sagas that wait for a dependency go on")
        release.add_argument("dependency")
        release.add_argument("--reason", default="It works again.")
        release.add_argument("--per-second", type=_pace, help="how many sagas go on each second")

        actions.add_parser(
            "deploycheck", help="tell which sagas in the database this code could not go on with; exit 1"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(options)

    def _definitions(self, options: dict[str, Any]) -> None:
        for saga in registry.all_definitions():
            self.stdout.write(f"{saga.name} v{saga.version}: {len(saga.steps)} steps")

    def _backlog(self, options: dict[str, Any]) -> None:
        topics, exchange = relay.backlog(), engine_options().event_exchange
        if not exchange:
            events = sum(found.events for found in topics)
            self.stdout.write(
                f"Publishing is off: settings.SAGAS names no EVENT_EXCHANGE. {events} events are kept; they are "
                "published when it does."
            )
            return
        if not topics:
            self.stdout.write(
                f"Every event is published to the exchange {exchange}; its queues decide who receives it."
            )
            return
        now = storage().now()
        self.stdout.write(f"{'topic':<12} {'events':>8}  oldest")
        for found in topics:
            self.stdout.write(_waiting(found.topic, found.events, now - found.oldest_at))
        oldest = now - min(found.oldest_at for found in topics)
        self.stdout.write(_waiting("total", sum(found.events for found in topics), oldest))

    def _deploycheck(self, options: dict[str, Any]) -> None:
        found = versions.stranded()
        if found:
            raise CommandError("\n".join(["Do not deploy this code yet.", *map(str, found)]))
        self.stdout.write("Every saga in the database can go on with this code.")

    def _holds(self, options: dict[str, Any]) -> None:
        for state in holds.states():
            self.stdout.write(_hold_line(state))

    def _hold(self, options: dict[str, Any]) -> None:
        payload = {"reason": options["reason"], "actor": "cli"}
        self._do(lambda: holds.hold_dependency(options["dependency"], **payload))
        self.stdout.write(f"{options['dependency']} is on hold.")

    def _release(self, options: dict[str, Any]) -> None:
        payload = {"reason": options["reason"], "actor": "cli", "per_second": options["per_second"]}
        released = self._do(lambda: holds.release_dependency(options["dependency"], **payload))
        waiting = holds.waiting().get(options["dependency"], 0)
        self.stdout.write(
            f"{options['dependency']} is released: {waiting} sagas go on, {released.per_second:g} a second."
        )

    def _show(self, options: dict[str, Any]) -> None:
        what = options["what"]
        try:
            saga_id = uuid.UUID(what)
        except ValueError:
            self._show_definition(what)
            return
        saga = SagaInstance.objects.filter(pk=saga_id).first()
        if saga is None:
            raise CommandError(f"There is no saga {saga_id}.")
        self._show_saga(saga)

    def _show_definition(self, name: str) -> None:
        try:
            self.stdout.write(str(registry.latest(name)))
        except SagaError as problem:
            known = ", ".join(sorted({saga.name for saga in registry.all_definitions()}))
            raise CommandError(f"{problem.detail} Known: {known}.") from None

    def _show_saga(self, saga: SagaInstance) -> None:
        self.stdout.write(f"{saga.name} v{saga.version} {saga.id}")
        self.stdout.write(
            f"status  {saga.status}  step {representation.current_step(saga) or '-'}  subject {saga.subject}"
        )
        if waiting := representation.waiting_reason(saga):
            self.stdout.write(f"waits   {waiting} since {saga.held_since:%d %b %H:%M:%S}")
        if due := _next_retry(saga):
            self.stdout.write(f"next    {due}")
        for name in ("reason", "error"):
            if getattr(saga, name):
                self.stdout.write(f"{name:<7} {getattr(saga, name)}")
        for event in representation.events_of(saga.pk, include_internal=True):
            self.stdout.write(
                f"{event.created_at:%H:%M:%S.%f}  {event.status:<16} {event.step:<22} {event.message}".rstrip()
            )

    def _list(self, options: dict[str, Any]) -> None:
        sagas = SagaInstance.objects.order_by("-created_at")
        try:
            wanted = [parse_status(text) for text in options["status"]]
        except ValueError as error:
            raise CommandError(f"{error} is no status.") from None
        if wanted:
            sagas = sagas.filter(status__in=wanted)
        if options["name"]:
            sagas = sagas.filter(name=options["name"])
        for saga in sagas[: options["limit"]]:
            self.stdout.write(_as_json(saga) if options["as_json"] else _line(saga))

    def _cancel(self, options: dict[str, Any]) -> None:
        self._act(
            lambda: commands.cancel(options["saga_id"], reason_code="other", reason=options["reason"], actor="cli")
        )

    def _retry(self, options: dict[str, Any]) -> None:
        self._act(lambda: commands.retry(options["saga_id"], reason=options["reason"], actor="cli"))

    def _skip(self, options: dict[str, Any]) -> None:
        settled = {"reason": options["reason"], "actor": "cli", "result": options["result"]}
        self._act(lambda: commands.skip(options["saga_id"], **settled))

    def _close(self, options: dict[str, Any]) -> None:
        self._act(lambda: commands.close(options["saga_id"], reason=options["reason"], actor="cli"))

    def _act(self, work: Callable[[], Row]) -> None:
        row = self._do(work)
        self.stdout.write(f"{row.id} {row.status.value}")

    def _do(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except Problem as problem:
            raise CommandError(f"{problem.detail} {problem.advice}") from None


def _as_json(saga: SagaInstance) -> str:
    return json.dumps(representation.saga_view(saga), cls=DjangoJSONEncoder)


def _line(saga: SagaInstance) -> str:
    line = f"{saga.id}  {saga.status:<16} {representation.current_step(saga) or '-':<20} {saga.name}  {saga.subject}"
    return f"{line}  {representation.waiting_reason(saga) or _next_retry(saga)}".rstrip()


def _next_retry(saga: SagaInstance) -> str:
    due_at = representation.next_auto_retry_at(saga)
    return f"retried by itself at {due_at:%d %b %H:%M} UTC" if due_at else ""


def _hold_line(state: dict[str, Any]) -> str:
    name, waiting = state["dependency"], f"{state['sagas_waiting']} sagas wait"
    if state["is_on_hold"]:
        return (
            f"{name:<16} on hold since {state['held_at']:%d %b %H:%M} by {state['actor']}, {waiting}: {state['reason']}"
        )
    return f"{name:<16} not on hold, {waiting}"


def _pace(text: str) -> float:
    pace = float(text)
    if not 0.01 <= pace <= 1000:
        raise argparse.ArgumentTypeError("between 0.01 and 1000")
    return pace


def _waiting(topic: str, events: int, age: timedelta) -> str:
    return f"{topic:<12} {events:>8}  {age.total_seconds():.0f} s"


def _saga_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no saga id") from None
