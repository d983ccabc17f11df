"""One run from the first order to the verdict."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, InterfaceError, connections
from django.db.models import Q

from benchmarks.soak import deploy, outcomes, provider_faults
from benchmarks.soak.clients import PLAIN_PLANS, PLANS, Town, errands
from benchmarks.soak.cluster import City
from benchmarks.soak.deploy import Deploy
from benchmarks.soak.faults import Storm
from benchmarks.soak.load import Crowd, Pace
from benchmarks.soak.monitor import Board
from benchmarks.soak.quotas import Quota, quotas
from benchmarks.soak.report import Report
from benchmarks.soak.subscriber import Subscriber
from campusg import accounts
from campusg.roles import Role
from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import OPEN
from tests.harness import customers, oracle
from tests.harness.snapshot import Breach, Snapshot
from tests.harness.web import Web
from timers.clock import database_now

PROGRESS_SECONDS = 15.0
#: By then every saga is finished or validly waiting.
QUIET_WITHIN_SECONDS = 60.0
#: What still waits validly then may take this long to finish, so that a system at rest is judged.
REST_WITHIN_SECONDS = 300.0
#: For so long after the last order the storm may go on for faults that came too rarely.
QUOTAS_WITHIN_SECONDS = 600.0
CUSTOMERS, RUNNERS = 4, 3
SHOWN_HISTORIES = 5
#: The share of all orders after which the new release is rolled out.
DEPLOY_AFTER = 0.5
OF_INTEREST = ("redriven", "step_timed_out", "undo_timed_out", "step_fenced", "undo_fenced", "step_retrying", "parked")


@dataclass
class Run:
    """A city, its people and its storm."""

    city: City
    orders: int
    seed: int
    rate: float
    is_calm: bool = False
    crowd: Crowd = field(default_factory=Crowd)
    rollout: Deploy = field(default_factory=Deploy)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        chance = random.Random(f"{self.seed} people")
        wishes = customers.wishes(self.orders, over_seconds=0, chance=chance)
        self.errands = errands(wishes, PLAIN_PLANS if self.city.is_plain else PLANS, chance)
        broker_url = self.city.servers["rabbitmq"].url
        self.board = Board(plain_broker_url=broker_url if self.city.is_plain else "")
        self.storm = Storm(self.city, self.seed, lambda: self.board.finished)
        self.subscriber = Subscriber(broker_url)
        self.pace = Pace(self.rate, lambda: self.board.under_way)
        self.town = Town(
            customers=[self._webs(f"customer-{number}", Role.CUSTOMER) for number in range(CUSTOMERS)],
            runners=[self._webs(f"runner-{number}", Role.RUNNER) for number in range(RUNNERS)],
            operators=[self._webs("olga", Role.OPERATOR)],
            board=self.board,
            spawn=self.crowd.add,
        )

    def _webs(self, username: str, role: Role) -> list[Web]:
        return self.city.webs(accounts.fresh_token(accounts.ensure_user(username, role)))

    # -- playing ------------------------------------------------------------------------------------------------
    def play(self) -> Report:
        ending = threading.Event()
        watch = threading.Thread(target=self._watch, args=(ending,), name="watch", daemon=True)
        self.subscriber.begin()
        self.board.open()
        if not self.is_calm:
            self.storm.begin()
        watch.start()
        self._let_everybody_in()
        self._wait_for_quotas()
        ordered = time.monotonic() - self.began
        self.storm.end()
        self._wait_for_everybody()
        waiting, quiet = self._wait_for_rest()
        ending.set()
        watch.join()
        self.board.close()
        self.subscriber.end()
        return self._report(ordered=ordered, quiet=quiet, waiting=waiting)

    def _let_everybody_in(self) -> None:
        rollout: threading.Thread | None = None
        for number, errand in enumerate(self.errands):
            self.pace.wait()
            self.crowd.add(self.town.live(errand))
            if rollout is None and not self.is_calm and number >= self.orders * DEPLOY_AFTER:
                rollout = threading.Thread(target=self._roll_out, name="deploy")
                rollout.start()
        if rollout is not None:
            rollout.join()

    def _roll_out(self) -> None:
        self.rollout = deploy.roll_out(self.city)

    def _wait_for_quotas(self) -> None:
        """The storm goes on until it has struck often enough, if it has not while people ordered."""
        give_up_at = time.monotonic() + QUOTAS_WITHIN_SECONDS
        while not self.is_calm and time.monotonic() < give_up_at:
            if all(quota.is_met for quota in self._quotas()):
                return
            time.sleep(2)

    def _quotas(self) -> list[Quota]:
        return quotas(
            self.storm.faults, late_effects=provider_faults.late_effects(), deployed=self.rollout.is_done,
            orders=self.orders,
        )  # fmt: skip

    def _wait_for_everybody(self) -> None:
        while not self.crowd.is_done:
            time.sleep(0.2)

    def _watch(self, ending: threading.Event) -> None:
        """The supervisor, and a line of progress now and then."""
        told_at = self.began
        while not ending.wait(1):
            self.city.supervise()
            if time.monotonic() - told_at >= PROGRESS_SECONDS:
                told_at = time.monotonic()
                print(self._progress(), flush=True)

    def _progress(self) -> str:
        placed = sum(bool(errand.order_id) for errand in self.errands)
        return (
            f"  {time.monotonic() - self.began:6.0f} s  {placed} of {self.orders} placed, {self.town.finished} over, "
            f"{self.board.under_way} under way, {self.storm.faults.total()} faults"
        )

    # -- the end ------------------------------------------------------------------------------------------------
    def _wait_for_rest(self) -> tuple[list[Breach], float]:
        """What neither finished nor waits validly when it should, and the seconds from the last fault to rest."""
        late: list[Breach] | None = None
        while True:
            seconds = time.monotonic() - self.storm.last_fault_at
            if self._is_at_rest(seconds) or seconds > REST_WITHIN_SECONDS:
                return late or [], seconds
            if late is None and seconds > QUIET_WITHIN_SECONDS:
                late = self._overdue()
            time.sleep(0.5)

    def _is_at_rest(self, seconds: float) -> bool:
        if self.city.is_plain:  # nobody knows what a plain chain still has to do: it gets as long, and all messages
            return seconds > QUIET_WITHIN_SECONDS and not self.board.under_way
        try:
            unsent = SagaEvent.objects.filter(published_at=None).exclude(type="")
            return not SagaInstance.objects.filter(status__in=OPEN).exists() and not unsent.exists()
        except (DatabaseError, InterfaceError):
            connections.close_all()  # it was crashed since it was asked last
            return False

    def _overdue(self) -> list[Breach]:
        """Open sagas that nobody is about to look at: neither leased, nor due in the future, nor waiting for the
        provider to be back."""
        overdue = SagaInstance.objects.filter(status__in=OPEN, held_by="").exclude(
            Q(lease_until__gt=database_now()) | Q(wake_at__gt=database_now())
        )
        return [Breach("neither finished nor waiting", str(saga.pk), f"{saga.name} {saga.status}") for saga in overdue]

    def _report(self, *, ordered: float, quiet: float, waiting: list[Breach]) -> Report:
        connections.close_all()
        seen = oracle.snapshot(provider=provider_faults.DATABASE)
        report = Report(quotas=self._quotas())
        self._add_figures(report, seen, ordered=ordered, quiet=quiet)
        if self.city.is_plain:
            from benchmarks.soak.plain import verdict

            report.add("the plain chain", verdict.figures(seen, self.errands))
        else:
            breaches = [*waiting, *self._breaches(seen)]
            report.breaches = [str(breach) for breach in breaches]
            report.histories = _histories(dict.fromkeys(breach.subject for breach in breaches))
        return report

    def _breaches(self, seen: Snapshot) -> list[Breach]:
        subscriber = self.subscriber
        return [
            *oracle.judge(seen),
            *oracle.events_arrived(seen, subscriber.received),
            *subscriber.incomplete,
            *outcomes.wrong_fates(self.errands, seen),
            *(Breach("a client failed", type(error).__name__, str(error)) for error in self.crowd.failures),
        ]

    def _add_figures(self, report: Report, seen: Snapshot, *, ordered: float, quiet: float) -> None:
        by_order, _ = oracle.statuses(seen)
        by_saga = Counter(f"{saga.name} v{saga.version} {saga.status}" for saga in seen.sagas)
        actions = Counter(fact.action for facts in seen.events.values() for fact in facts)
        report.add("run", self._run_figures(ordered=ordered, quiet=quiet))
        report.add("faults", dict(sorted(self.storm.faults.items())) | self._extra_faults())
        report.add("answers", dict(sorted(self.town.answers.items())))
        report.add("orders", dict(sorted(by_order.items())))
        report.add("sagas", dict(sorted(by_saga.items())))
        report.add("history", {action: actions[action] for action in OF_INTEREST})
        report.add("events", self._event_figures(seen))
        report.add("money", _money(seen))

    def _run_figures(self, *, ordered: float, quiet: float) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "orders": self.orders,
            "seconds of ordering": round(ordered),
            "seconds in which no order was let in": round(self.pace.held_back_seconds),
            "seconds from the last fault until all was at rest": round(quiet, 1),
            "processes replaced by the deploy": self.rollout.replaced,
            "of which had to be killed": self.rollout.had_to_be_killed,
            "seconds of both releases at once": round(self.rollout.seconds),
            "processes that ended by themselves": len(self.city.fallen),
        }

    def _extra_faults(self) -> dict[str, Any]:
        return {
            "provider's wrong answers given": self.storm.misbehaviour.given(),
            "faults that could not be made": len(self.storm.troubles),
        } | {f"  {trouble[:120]}": "" for trouble in self.storm.troubles[:5]}

    def _event_figures(self, seen: Snapshot) -> dict[str, Any]:
        received = self.subscriber.received
        committed = sum(bool(fact.type) for facts in seen.events.values() for fact in facts)
        return {
            "committed": committed,
            "received": len(received),
            "of which copies": len(received) - len({event.id for event in received}),
        }


def _histories(subjects: Iterable[str]) -> list[str]:
    """What happened to the first few of these orders and sagas, an event a line."""
    lines: list[str] = []
    for subject in itertools.islice(subjects, SHOWN_HISTORIES):
        sagas = {saga.pk: saga for saga in SagaInstance.objects.all() if subject in (saga.subject, str(saga.pk))}
        lines.append(f"history of {subject}")
        for event in SagaEvent.objects.filter(saga_id__in=sagas).order_by("id"):
            saga, moment = sagas[event.saga_id], f"{event.created_at:%H:%M:%S.%f}"[:-4]
            what = f"{event.action} {event.step}".ljust(40)
            lines.append(f"  {moment}  {saga.name} v{saga.version}  #{event.seq}  {what}  {event.message[:80]}")
    return lines


def _money(seen: Snapshot) -> dict[str, Any]:
    """In cents, from the provider's ledger."""
    intents = [intent for found in seen.intents.values() for intent in found]
    transfers = [transfer for found in seen.transfers.values() for transfer in found]
    return {
        "held": sum(intent.amount_capturable for intent in intents if intent.status == "requires_capture"),
        "captured": sum(intent.amount_received for intent in intents),
        "refunded": sum(intent.amount_refunded for intent in intents),
        "paid out": sum(transfer.amount for transfer in transfers),
        "taken back": sum(transfer.amount_reversed for transfer in transfers),
    }
