"""The sagas that are searched exhaustively, and the script that says what a step does when it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sagas.definition.options import Options
from sagas.definition.saga import Retry, Saga, best_effort, seconds
from sagas.errors import Refusal

#: Small numbers keep the space finite; what matters is that each limit can be met and passed.
BANK = "bank"
ONCE_MORE = Retry(retries=1, first=seconds(5), jitter=0)
SETTINGS = {"RETRY": ONCE_MORE, "UNDO_RETRY": ONCE_MORE, "MAX_DISPATCHES": 2, "BREAKER_FAILURES": 0}
OPTIONS = Options(**{name.lower(): value for name, value in SETTINGS.items()})


@dataclass(frozen=True)
class Nothing:
    order_id: str


class No(Refusal):
    code = "model.no"


class Unanswered(Exception):
    """The call failed without an answer."""


class Suspended(BaseException):
    """The call was made; its worker now waits for the answer."""


@dataclass
class Script:
    """What the step that is called next does, or that it is on hold, and what was done."""

    choice: str = "ok"
    done: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    #: Registers what undoes an effect if its transaction is rolled back.
    undo_with: Callable[[Callable[[], object]], None] = lambda _: None

    def play(self, name: str) -> None:
        if self.choice == "suspend":
            raise Suspended
        if self.choice == "refuse":
            raise No(name)
        if self.choice == "error":
            raise Unanswered(name)
        self.done.append(name)
        self.undo_with(self.done.pop)

    def call(self, name: str, key: str) -> None:
        self.keys.append(key)
        self.play(name)


script = Script()


def open_tab(*, order_id: str) -> None:
    script.play("open_tab")


def close_tab(*, order_id: str) -> None:
    script.play("close_tab")


def charge(*, order_id: str, idempotency_key: str) -> None:
    script.call("charge", idempotency_key)


def give_back(*, order_id: str, idempotency_key: str) -> None:
    script.call("give_back", idempotency_key)


def serve(*, order_id: str) -> None:
    script.play("serve")


def ring_bell(*, order_id: str) -> None:
    script.play("ring_bell")


def mute_bell(*, order_id: str) -> None:
    script.play("mute_bell")


def tell(*, order_id: str, idempotency_key: str) -> None:
    script.call("tell", idempotency_key)


def untell(*, order_id: str, idempotency_key: str) -> None:
    script.call("untell", idempotency_key)


def claim(subject: str) -> None:
    """Whoever cancels gets it."""


#: Create an order: local, call, local pivot, and a timer that is cancelled if possible.
create = (
    Saga("create", takes=Nothing, on_cancel=claim)
    .step(open_tab, compensate=close_tab)
    .call(charge, compensate=give_back, retry=ONCE_MORE, timeout=seconds(10), uses=BANK)
    .pivot(serve)
    .then(ring_bell, compensate=best_effort(mute_bell))
)
#: Accept an order: the point of no return is a call that nothing takes back, and another call follows.
accept = (
    Saga("accept", takes=Nothing)
    .step(open_tab, compensate=close_tab)
    .pivot(charge, remote=True, retry=ONCE_MORE, timeout=seconds(10), uses=BANK)
    .then(tell, remote=True, compensate=untell, retry=ONCE_MORE, timeout=seconds(10))
)
PROTOCOLS = {saga.name: saga for saga in (create, accept)}
