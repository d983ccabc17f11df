"""The engine's real code while everything fails at once, decided by one seeded random generator.

Workers are virtual and single-threaded, and they interleave where real ones do: a call runs with no transaction open,
so other messages, sweeps, cancellations and jumps of the clock happen *inside* it, also past its lease. A crash is a
`BaseException` at a failpoint or in an effect. First everything fails and nothing may ever be wrong; then nothing
fails any more and everything must end. The same seed gives the same trace.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

from celery.exceptions import Ignore
from django.conf import settings
from django.test import override_settings

from sagas import tasks
from sagas.engine import commands
from sagas.engine.dispatch import published_by
from sagas.engine.execution import StepFailed
from sagas.engine.sweep import sweep
from sagas.errors import AlreadyCancelling, AlreadyHeld, CannotCancel, CannotRetry, NotHeld
from sagas.failpoints import installed
from sagas.holds import holds
from sagas.storage import clock, use
from sagas.storage.memory import MemoryStorage
from tests.proofs.simulation import fixtures
from tests.proofs.simulation.broker import Broker, Message, Task
from tests.proofs.simulation.fault_hooks import Crash, FaultHooks
from tests.proofs.simulation.fault_profile import NO_FAULTS, FaultProfile
from tests.proofs.simulation.fixtures import DEFINITIONS, DEPENDENCIES, SoldOut, Taken, Trip
from tests.proofs.simulation.oracle import Oracle, Violation
from tests.proofs.simulation.provider import Provider
from tests.proofs.simulation.world import Effects, new_storage

SAGAS_PER_WORLD = 3
ACTS_PER_WORLD = 75
#: Rounds of "deliver everything, then wait" that no right world needs; reaching it means a saga runs in circles.
MOST_ROUNDS = 400
#: Virtual time in which every saga must have ended after the last fault, its longest chain of retries included.
PATIENCE = timedelta(minutes=30)
ROUNDS_OF_OPERATORS = 4
#: How often the process that changes a hold is the one whose memory of it is looked at next.
SAME_PROCESS = 0.5
#: While something is on hold the sweep is what lets sagas go, so it comes at least this often.
SWEEP_OF_HOLDS = timedelta(seconds=5)
EXPECTED = (AlreadyCancelling, AlreadyHeld, CannotCancel, CannotRetry, NotHeld, Taken)


@dataclass
class Simulation:
    """One world: a few sagas, one broker, one provider, one clock."""

    seed: int
    storage_kind: type[MemoryStorage] = MemoryStorage
    chance: random.Random = field(init=False)
    profile: FaultProfile = field(init=False)
    provider: Provider = field(default_factory=Provider)
    broker: Broker = field(init=False)
    oracle: Oracle = field(init=False)
    trace: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    hooks: FaultHooks = field(init=False)
    storage: MemoryStorage = field(init=False)
    effects: Effects = field(init=False)
    depth: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.profile = FaultProfile.draw(self.chance)
        self.broker = Broker(self.chance, loses=self.profile.loses, doubles=self.profile.doubles)
        self.storage = new_storage(self.storage_kind, self._new_id)
        self.effects = Effects(self.storage)
        self.oracle = Oracle(self.provider, self.storage, self.effects)
        self.hooks = FaultHooks(self, self.provider)

    # -- the two phases -----------------------------------------------------------------------------------------
    def run(self) -> Simulation:
        with self._world():
            while self.counts["acts"] < ACTS_PER_WORLD:
                self.something_happens()
            self.calm_down()
            for name in sorted(hold.dependency for hold in self.storage.active_holds() if not hold.is_automatic):
                self._process(f"release {name}", lambda name=name: self._release(name))
            self.converge()
            for _ in range(ROUNDS_OF_OPERATORS):
                self._retry_parked()
                self.converge()
            self._require_all_final()
        self.counts["sagas"] += len(self.oracle.watched)
        self.counts["opened by the breaker"] += sum(hold.is_automatic for hold in self.storage.holds.values())
        for seen in self.oracle.watched.values():
            self.counts.update([seen.row.status, *(event.action for event in seen.events)])
        return self

    def run_or_explain(self) -> Simulation:
        """Like `run`, but a violation brings the seed and the end of the trace along."""
        try:
            return self.run()
        except AssertionError as violation:
            trace = "\n".join(self.trace[-80:])
            raise Violation(f"seed {self.seed}: {violation}\n{trace}") from violation

    def calm_down(self) -> None:
        self.profile = NO_FAULTS
        self.broker.loses = self.broker.doubles = 0.0
        self.log("-- the faults are over")

    def converge(self) -> None:
        """Deliver, wait and sweep until nothing is left to do; then check everything."""
        calm_since = clock.clock_offset()
        for _ in range(MOST_ROUNDS):
            while self.broker.messages or self.broker.errbacks:
                self.deliver()
            if not self._wait_for_next():
                break
        else:
            raise Violation("the sagas never end")
        took = clock.clock_offset() - calm_since
        if took > PATIENCE:
            raise Violation(f"the sagas needed {took} to end")
        self.oracle.judge()

    def _wait_for_next(self) -> bool:
        """Move the clock to when the next saga is due, and sweep. False if none is."""
        wake_at = self.storage.next_wake_at()
        if wake_at is None:
            return False
        until = max(wake_at - self.storage.now(), timedelta(0))
        if self.storage.held_counts():
            until = min(until, SWEEP_OF_HOLDS)
        self.advance(until + timedelta(milliseconds=5))
        self.sweep()
        return True

    def _retry_parked(self) -> None:
        for key in self._parked():
            saga_id = uuid.UUID(key)
            self._process(f"retry {self._name(saga_id)}", lambda saga_id=saga_id: self._operate(saga_id))

    def _require_all_final(self) -> None:
        parked = len(self._parked())
        if parked:
            raise Violation(f"{parked} sagas are parked although nothing fails any more")

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    def log(self, line: str) -> None:
        self.trace.append(f"{'  ' * self.depth}{clock.clock_offset().total_seconds():.3f} {line}")

    # -- events -------------------------------------------------------------------------------------------------
    def something_happens(self) -> None:
        acts: dict[Callable[[], None], float] = {self.time_passes: 4, self.sweep: 3}
        acts[self.start] = 5 if len(self.oracle.watched) < SAGAS_PER_WORLD else 0.3
        if self.broker.messages or self.broker.errbacks:
            acts |= {self.deliver: 25, self.purge: 0.2}
        if self._parked():
            acts[self.operator] = 3
        if self.oracle.watched:
            acts |= {self.until_the_next: 4, self.cancel: 0.8, self.link_error: 1, self.accept: 0.5}
            acts[self.release if self._is_anything_held() else self.hold] = 0.6
        act = self.chance.choices(list(acts), list(acts.values()))[0]
        self.counts["acts"] += 1
        self.counts["meanwhile"] += self.depth > 0
        act()

    def deliver(self) -> None:
        errbacks = len(self.broker.errbacks)
        if errbacks and self.chance.randrange(errbacks + len(self.broker.messages)) < errbacks:
            self._deliver_errback()
        elif self.broker.messages:
            self._deliver_message(self.broker.take())

    def _deliver_message(self, message: Message) -> None:
        name, step = message.chain[0]
        task = Task.of(message)
        if message.redelivered:
            self.hooks.excuse(self._name(step.saga_id))
        label = f"{name} {self._name(step.saga_id)} {step.position}/{step.epoch}{' again' * message.redelivered}"
        ended = self._process(label, lambda: tasks.run_step(task, step, may_run=self._consumes))
        if ended == "crash":
            self._worker_lost(message)
        elif ended == "StepFailed":
            self.broker.link_error(step.saga_id, step.epoch)
        elif ended == "" and task.rest:
            self.broker.publish(task.rest)
        if ended != "crash" and self.chance.random() < self.broker.doubles / 4:
            self.broker.hand_out(Message(message.chain, redelivered=True))  # its acknowledgement was lost

    def _worker_lost(self, message: Message) -> None:
        """Celery reacts to a dead worker in one of four ways: redeliver, call link_error, both, or neither."""
        self.counts["crashes"] += 1
        ways = self.chance.randrange(4)
        if ways & 1:
            self.broker.hand_out(Message(message.chain, redelivered=True))
        if ways & 2:
            self.broker.link_error(message.step.saga_id, message.step.epoch)

    def _deliver_errback(self) -> None:
        saga_id, epoch = self.broker.take_errback()
        self.hooks.excuse(self._name(saga_id))
        self._process(
            f"link_error {self._name(saga_id)} {epoch}",
            lambda: tasks.run_compensation(saga_id, epoch, may_run=self._consumes),
        )

    def sweep(self) -> None:
        self._process("sweep", sweep)

    def time_passes(self) -> None:
        low, high = self.chance.choices([(0, 2), (2, 12), (10, 70), (60, 200)], [8, 6, 4, 1])[0]
        self.advance(timedelta(seconds=self.chance.uniform(low, high)))

    def until_the_next(self) -> None:
        """Let time pass until some saga is due, and sweep."""
        self._wait_for_next()

    def advance(self, by: timedelta) -> None:
        clock.advance(by)
        self.log("time passes")

    def start(self) -> None:
        """Start a saga, or one of the old ones again, as a client does that got no answer."""
        number = self.chance.randrange(len(self.oracle.watched) + 1)
        if number < SAGAS_PER_WORLD:
            self._process(f"start {number}", lambda: self._start(number))

    def _start(self, number: int) -> None:
        saga = DEFINITIONS[(self.seed + number) % len(DEFINITIONS)]
        order_id = f"{number:02d}"
        trip = Trip(order_id, f"pay-{order_id}")
        with suppress(SoldOut, ConnectionError), self.storage.atomic():  # the client gets an answer, nothing is written
            commands.start(saga, input=trip, key=order_id, subject=order_id, owner="ann")

    def cancel(self) -> None:
        if saga_id := self._any_saga():
            self._process(
                f"cancel {self._name(saga_id)}",
                lambda: commands.cancel(saga_id, reason_code="customer_request", reason="x", actor="ann"),
            )

    def operator(self) -> None:
        saga_id = uuid.UUID(self.chance.choice(self._parked()))
        self._process(f"retry {self._name(saga_id)}", lambda: self._operate(saga_id))

    def _parked(self) -> list[str]:
        return [key for key, seen in sorted(self.oracle.watched.items()) if seen.row.status == "NEEDS_ATTENTION"]

    def _operate(self, saga_id: uuid.UUID) -> None:
        commands.retry(saga_id, reason="looked at it", actor="op")

    def hold(self) -> None:
        name = self.chance.choice(DEPENDENCIES)
        self._process(f"hold {name}", lambda: holds.hold_dependency(name, reason="it is down", actor="op"))

    def release(self) -> None:
        name = self.chance.choice(DEPENDENCIES)
        self._process(f"release {name}", lambda: self._release(name))

    def _release(self, name: str) -> None:
        holds.release_dependency(name, reason="it is up", actor="op", per_second=self.chance.choice([None, 0.2]))

    def _is_anything_held(self) -> bool:
        return bool(self.storage.active_holds())

    def accept(self) -> None:
        """Somebody takes the order of a completed saga, unless it is being cancelled."""
        if saga_id := self._any_saga():
            self._process(f"accept {self._name(saga_id)}", lambda: self._accept(saga_id))

    def _accept(self, saga_id: uuid.UUID) -> None:
        row = self.storage.rows[saga_id]
        if row.status == "COMPLETED" and not {"claim", "accept"} & set(self.effects.of(row.subject)):
            self.effects.write(row.subject, "accept")

    def link_error(self) -> None:
        """Celery may call it twice, late, or for a step that succeeded."""
        if saga_id := self._any_saga():
            epoch = self.oracle.watched[saga_id.hex].row.epoch
            self.broker.link_error(saga_id, max(1, epoch - self.chance.choice([0, 0, 1, 2])))

    def purge(self) -> None:
        self.log("the broker forgets everything")
        self.broker.purge()

    def _any_saga(self) -> uuid.UUID | None:
        keys = sorted(self.oracle.watched)
        return uuid.UUID(self.chance.choice(keys)) if keys else None

    def _name(self, saga_id: uuid.UUID) -> str:
        seen = self.oracle.watched.get(saga_id.hex)
        return seen.row.order_id if seen else "?"

    # -- processes ----------------------------------------------------------------------------------------------
    def _process(self, label: str, work: Callable[[], object]) -> str:
        """Let a process do one thing. Returns how it ended: "", "crash", or the name of an expected exception."""
        self.log(label)
        self.counts["events"] += 1
        ended = ""
        self.depth += 1
        known = holds.memory.seen
        try:
            work()
        except Crash:
            ended = "crash"
        except (Ignore, StepFailed, *EXPECTED) as expected:
            ended = type(expected).__name__
        except Exception as unexpected:  # noqa: BLE001 - kept: inside another's call it would look like that call's own failure
            self.hooks.violations.append(f"{label} raised {unexpected!r}")
        finally:
            self.depth -= 1
        if self.chance.random() >= SAME_PROCESS:
            holds.memory.seen = known  # what this process learned, the next one does not know
        lines = self._look(label)
        for line in [f"-> {ended}"] * bool(ended) + lines:
            self.log(line)
        return ended

    def _look(self, label: str) -> list[str]:
        """What the oracle saw change. A violation inside another's call is raised again when that call is over."""
        lines = []
        if self.storage.is_in_transaction:
            self.hooks.violations.append(f"{label} left a transaction open")
        try:
            lines = self.oracle.look()
        except Violation as violation:
            self.hooks.violations.append(str(violation))
        if self.hooks.violations:
            raise Violation("; ".join(self.hooks.violations))
        return lines

    @contextmanager
    def _world(self) -> Iterator[None]:
        """What the engine takes from outside: storage with clock and ids, publisher, options, and the end of a process.

        Nothing of the engine is replaced. The random numbers behind its jitter are seeded.
        """
        before_chance = random.getstate()
        with ExitStack() as stack:
            stack.enter_context(use(self.storage))
            stack.enter_context(clock.moved())
            stack.enter_context(installed(self.hooks.reached))
            stack.enter_context(override_settings(SAGAS=settings.SAGAS | {"BREAKER_FAILURES": self.profile.breaker}))
            stack.enter_context(published_by(self.broker.publish))
            stack.callback(fixtures.set_hooks, fixtures.set_hooks(self.hooks))
            stack.callback(random.setstate, before_chance)
            stack.callback(holds.forget)
            random.seed(self.seed)
            holds.forget()
            yield

    def _consumes(self, _: str) -> bool:
        return self.chance.random() < self.profile.runs_inline

    def _new_id(self) -> uuid.UUID:
        return uuid.UUID(int=self.chance.getrandbits(128), version=4)
