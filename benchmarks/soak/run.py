"""One run, from the first order to the report."""

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
from benchmarks.soak.clients import ACTIONS, PLAIN_ACTIONS, Clients, order_plans
from benchmarks.soak.cluster import Cluster
from benchmarks.soak.deploy import Deploy
from benchmarks.soak.faults import FaultSchedule
from benchmarks.soak.load import LoadGenerator, Pace
from benchmarks.soak.monitor import Monitor
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
#: After the last fault every saga must be finished within this time, or wait for a reason.
QUIET_WITHIN_SECONDS = 60.0
#: Sagas that wait for a reason may take this long, so that the oracle judges a system at rest.
REST_WITHIN_SECONDS = 300.0
#: After the last order the faults go on for at most this long, if some kinds were too rare.
QUOTAS_WITHIN_SECONDS = 600.0
CUSTOMERS, RUNNERS = 4, 3
SHOWN_HISTORIES = 5
#: The share of all orders after which the new release is rolled out.
DEPLOY_AFTER = 0.5
OF_INTEREST = ("redriven", "step_timed_out", "undo_timed_out", "step_fenced", "undo_fenced", "step_retrying", "parked")


@dataclass
class Run:
    """A cluster, its clients and its faults."""

    cluster: Cluster
    orders: int
    seed: int
    rate: float
    is_calm: bool = False
    load: LoadGenerator = field(default_factory=LoadGenerator)
    rollout: Deploy = field(default_factory=Deploy)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        chance = random.Random(f"{self.seed} people")
        orders = customers.planned_orders(self.orders, over_seconds=0, chance=chance)
        self.plans = order_plans(orders, PLAIN_ACTIONS if self.cluster.is_plain else ACTIONS, chance)
        broker_url = self.cluster.servers["rabbitmq"].url
        self.monitor = Monitor(plain_broker_url=broker_url if self.cluster.is_plain else "")
        self.faults = FaultSchedule(self.cluster, self.seed, lambda: self.monitor.finished)
        self.subscriber = Subscriber(broker_url)
        self.pace = Pace(self.rate, lambda: self.monitor.under_way)
        self.clients = Clients(
            customers=[self._webs(f"customer-{number}", Role.CUSTOMER) for number in range(CUSTOMERS)],
            runners=[self._webs(f"runner-{number}", Role.RUNNER) for number in range(RUNNERS)],
            operators=[self._webs("olga", Role.OPERATOR)],
            monitor=self.monitor,
            spawn=self.load.add,
        )

    def _webs(self, username: str, role: Role) -> list[Web]:
        return self.cluster.webs(accounts.fresh_token(accounts.ensure_user(username, role)))

    # -- the run ------------------------------------------------------------------------------------------------
    def execute(self) -> Report:
        ending = threading.Event()
        watch = threading.Thread(target=self._watch, args=(ending,), name="watch", daemon=True)
        self.subscriber.begin()
        self.monitor.start()
        if not self.is_calm:
            self.faults.begin()
        watch.start()
        self._place_orders()
        self._wait_for_quotas()
        ordered = time.monotonic() - self.began
        self.faults.end()
        self._wait_for_clients()
        waiting, quiet = self._wait_for_rest()
        ending.set()
        watch.join()
        self.monitor.stop()
        self.subscriber.end()
        return self._report(ordered=ordered, quiet=quiet, waiting=waiting)

    def _place_orders(self) -> None:
        rollout: threading.Thread | None = None
        for number, plan in enumerate(self.plans):
            self.pace.wait()
            self.load.add(self.clients.carry_out(plan))
            if rollout is None and not self.is_calm and number >= self.orders * DEPLOY_AFTER:
                rollout = threading.Thread(target=self._roll_out, name="deploy")
                rollout.start()
        if rollout is not None:
            rollout.join()

    def _roll_out(self) -> None:
        self.rollout = deploy.roll_out(self.cluster)

    def _wait_for_quotas(self) -> None:
        """Let the faults go on until each kind has come often enough."""
        give_up_at = time.monotonic() + QUOTAS_WITHIN_SECONDS
        while not self.is_calm and time.monotonic() < give_up_at:
            if all(quota.is_met for quota in self._quotas()):
                return
            time.sleep(2)

    def _quotas(self) -> list[Quota]:
        return quotas(
            self.faults.counts, late_effects=provider_faults.late_effects(), deployed=self.rollout.is_done,
            orders=self.orders,
        )  # fmt: skip

    def _wait_for_clients(self) -> None:
        while not self.load.is_done:
            time.sleep(0.2)

    def _watch(self, ending: threading.Event) -> None:
        """Act as the supervisor, and print a line of progress now and then."""
        printed_at = self.began
        while not ending.wait(1):
            self.cluster.supervise()
            if time.monotonic() - printed_at >= PROGRESS_SECONDS:
                printed_at = time.monotonic()
                print(self._progress(), flush=True)

    def _progress(self) -> str:
        placed = sum(bool(plan.order_id) for plan in self.plans)
        return (
            f"  {time.monotonic() - self.began:6.0f} s  {placed} of {self.orders} placed, "
            f"{self.clients.finished} done, {self.monitor.under_way} under way, {self.faults.counts.total()} faults"
        )

    # -- the end ------------------------------------------------------------------------------------------------
    def _wait_for_rest(self) -> tuple[list[Breach], float]:
        """The overdue sagas, and the seconds from the last fault until the system was at rest."""
        late: list[Breach] | None = None
        while True:
            seconds = time.monotonic() - self.faults.last_fault_at
            if self._is_at_rest(seconds) or seconds > REST_WITHIN_SECONDS:
                return late or [], seconds
            if late is None and seconds > QUIET_WITHIN_SECONDS:
                late = self._overdue()
            time.sleep(0.5)

    def _is_at_rest(self, seconds: float) -> bool:
        if self.cluster.is_plain:  # it does not record what is left to do: wait for its messages
            return seconds > QUIET_WITHIN_SECONDS and not self.monitor.under_way
        try:
            unsent = SagaEvent.objects.filter(published_at=None).exclude(type="")
            return not SagaInstance.objects.filter(status__in=OPEN).exists() and not unsent.exists()
        except (DatabaseError, InterfaceError):
            connections.close_all()  # the database crashed since the last query
            return False

    def _overdue(self) -> list[Breach]:
        """Open sagas without a reason to wait: no lease, no due time in the future, no provider that is down."""
        overdue = SagaInstance.objects.filter(status__in=OPEN, held_by="").exclude(
            Q(lease_until__gt=database_now()) | Q(wake_at__gt=database_now())
        )
        return [Breach("neither finished nor waiting", str(saga.pk), f"{saga.name} {saga.status}") for saga in overdue]

    def _report(self, *, ordered: float, quiet: float, waiting: list[Breach]) -> Report:
        connections.close_all()
        seen = oracle.snapshot(provider=provider_faults.DATABASE)
        report = Report(quotas=self._quotas())
        self._add_figures(report, seen, ordered=ordered, quiet=quiet)
        if self.cluster.is_plain:
            from benchmarks.soak.plain import verdict

            report.add("the plain chain", verdict.figures(seen, self.plans))
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
            *outcomes.unexpected_outcomes(self.plans, seen),
            *(Breach("a client failed", type(error).__name__, str(error)) for error in self.load.failures),
        ]

    def _add_figures(self, report: Report, seen: Snapshot, *, ordered: float, quiet: float) -> None:
        by_order, _ = oracle.statuses(seen)
        by_saga = Counter(f"{saga.name} v{saga.version} {saga.status}" for saga in seen.sagas)
        actions = Counter(fact.action for facts in seen.events.values() for fact in facts)
        report.add("run", self._run_figures(ordered=ordered, quiet=quiet))
        report.add("faults", dict(sorted(self.faults.counts.items())) | self._extra_faults())
        report.add("answers", dict(sorted(self.clients.responses.items())))
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
            "seconds in which no order was placed": round(self.pace.held_back_seconds),
            "seconds from the last fault until all was at rest": round(quiet, 1),
            "processes replaced by the deploy": self.rollout.replaced,
            "of which had to be killed": self.rollout.had_to_be_killed,
            "seconds of both releases at once": round(self.rollout.seconds),
            "processes that ended by themselves": len(self.cluster.ended),
        }

    def _extra_faults(self) -> dict[str, Any]:
        return {
            "provider's wrong answers given": self.faults.provider.given(),
            "faults that could not be caused": len(self.faults.errors),
        } | {f"  {error[:120]}": "" for error in self.faults.errors[:5]}

    def _event_figures(self, seen: Snapshot) -> dict[str, Any]:
        received = self.subscriber.received
        committed = sum(bool(fact.type) for facts in seen.events.values() for fact in facts)
        return {
            "committed": committed,
            "received": len(received),
            "of which copies": len(received) - len({event.id for event in received}),
        }


def _histories(subjects: Iterable[str]) -> list[str]:
    """The histories of the first few of these orders and sagas, one event a line."""
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
    """Sums in cents, from the provider's ledger."""
    intents = [intent for found in seen.intents.values() for intent in found]
    transfers = [transfer for found in seen.transfers.values() for transfer in found]
    return {
        "held": sum(intent.amount_capturable for intent in intents if intent.status == "requires_capture"),
        "captured": sum(intent.amount_received for intent in intents),
        "refunded": sum(intent.amount_refunded for intent in intents),
        "paid out": sum(transfer.amount for transfer in transfers),
        "taken back": sum(transfer.amount_reversed for transfer in transfers),
    }
