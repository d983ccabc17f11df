"""The people: customers who order and change their minds, runners who bring, operators who take back.

Each of them is a generator that yields how many seconds it has nothing to do, so that a few threads serve hundreds.
They repeat what was not answered, under the same Idempotency-Key, at either web.
"""

from __future__ import annotations

import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from benchmarks.soak.monitor import Board
from tests.harness.customers import DECLINED, Wish
from tests.harness.web import Answer, Web

Life = Generator[float, None, Any]

#: How often each plan is met among a hundred orders.
PLANS = {"wait": 50, "cancel": 12, "expire": 6, "race": 5, "accept": 8, "complete": 13, "refund": 6}
#: The plain chain knows how to place and to cancel.
PLAIN_PLANS = {"wait": 85, "cancel": 15}
REPEATED_SHARE = 0.05
PATIENCE_SECONDS = 120.0
TIMEOUT_SECONDS = 15.0
COME_AGAIN_SECONDS = 4.0
ASK_AGAIN_SECONDS = 0.5
IN_PROGRESS = "idempotency.in_progress"
CANCEL = {"reason_code": "customer_request"}


@dataclass
class Errand:
    """One order's plan, and what its people were told.

    `told` holds what was answered to be so: cancelled, accepted, completed, refunded, due. `unsure` is what they
    asked for without ever being answered.
    """

    wish: Wish
    plan: str
    told: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    repeated_with: str = ""

    @property
    def order_id(self) -> str:
        return self.wish.order_id

    @property
    def is_doomed(self) -> bool:
        return self.wish.method in DECLINED


def errands(wishes: list[Wish], plans: Mapping[str, int], chance: random.Random) -> list[Errand]:
    chosen = chance.choices(list(plans), weights=list(plans.values()), k=len(wishes))
    return [Errand(wish, plan) for wish, plan in zip(wishes, chosen, strict=True)]


@dataclass
class Town:
    """Who is there: the webs as seen by customers, runners and an operator, and the board with the orders' statuses."""

    customers: list[list[Web]]
    runners: list[list[Web]]
    operators: list[list[Web]]
    board: Board
    spawn: Callable[[Life], None]
    answers: Counter[str] = field(default_factory=Counter)
    finished: int = 0

    def live(self, errand: Errand) -> Life:
        """One errand from its first request to its last."""
        yield from self._place(errand)
        if errand.order_id and (errand.plan == "cancel" or not errand.is_doomed):
            yield from getattr(self, f"_{errand.plan}")(errand)
        self.finished += 1

    # -- customers ----------------------------------------------------------------------------------------------
    def _place(self, errand: Errand) -> Life:
        wish, key = errand.wish, secrets.token_hex(16)
        webs = self.customers[wish.number % len(self.customers)]
        answer = yield from self._ask(webs, "place", "/api/orders", _body(wish), key)
        if answer is None:
            errand.unsure.add("placed")
        elif answer.status == 202:
            wish.order_id = answer.body["order_id"]
            if wish.number % 100 < REPEATED_SHARE * 100:
                again = yield from self._ask(webs, "place again", "/api/orders", _body(wish), key)
                errand.repeated_with = again.body.get("order_id", "") if again else wish.order_id
        else:
            wish.refusal = str(answer.body.get("code"))

    def _wait(self, errand: Errand) -> Life:
        yield from ()

    def _cancel(self, errand: Errand) -> Life:
        yield errand.wish.cancels_after or 1.0
        yield from self._wish(errand, self.customers, "cancel", "cancelled", CANCEL)

    def _expire(self, errand: Errand) -> Life:
        """Nobody came for 30 minutes: the order and its alarm are made that much older."""
        if (yield from self._created(errand)) and (yield from self.board.make_due(errand.order_id)):
            errand.told.add("due")

    def _race(self, errand: Errand) -> Life:
        """Cancelled and accepted in the same moment."""
        if (yield from self._created(errand)):
            self.spawn(self._wish(errand, self.runners, "accept", "accepted", None))
            yield from self._wish(errand, self.customers, "cancel", "cancelled", CANCEL)

    # -- runners and operators ----------------------------------------------------------------------------------
    def _accept(self, errand: Errand) -> Life:
        if (yield from self._created(errand)):
            yield from self._wish(errand, self.runners, "accept", "accepted", None)

    def _complete(self, errand: Errand) -> Life:
        yield from self._accept(errand)
        if "accepted" in errand.told and (yield from self.board.until(errand.order_id, "carried")):
            yield from self._wish(errand, self.runners, "complete", "completed", None)

    def _refund(self, errand: Errand) -> Life:
        """Taken back on its way, or after it was delivered."""
        yield from (self._complete(errand) if errand.wish.number % 2 else self._accept(errand))
        if "accepted" in errand.told:
            yield COME_AGAIN_SECONDS
            wish = {"reason_code": "other", "reason": "Cold"}
            yield from self._wish(errand, self.operators, "cancel", "refunded", wish, is_patient=True)

    def _created(self, errand: Errand) -> Generator[float, None, bool]:
        return (yield from self.board.until(errand.order_id, "CREATED"))

    # -- asking -------------------------------------------------------------------------------------------------
    def _wish(
        self, errand: Errand, who: list[list[Web]], verb: str, fact: str, body: Any, *, is_patient: bool = False
    ) -> Life:
        """Ask for something to be done to the order. A patient one comes again when the time was not right."""
        webs = who[errand.wish.number % len(who)]
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            path = f"/api/orders/{errand.order_id}/{verb}"
            answer = yield from self._ask(webs, fact, path, body, secrets.token_hex(16))
            if answer is None:
                errand.unsure.add(fact)
            elif answer.status < 300:
                errand.told.add(fact)
            elif is_patient and answer.status == 409 and time.monotonic() < give_up_at:
                yield COME_AGAIN_SECONDS
                continue
            return

    def _ask(self, webs: list[Web], what: str, path: str, body: Any, key: str) -> Generator[float, None, Answer | None]:
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        turn = int(key, 16)
        while time.monotonic() < give_up_at:
            turn += 1
            try:
                answer = webs[turn % len(webs)].ask("POST", path, body, timeout=TIMEOUT_SECONDS, key=key)
            except (OSError, HTTPException, ValueError):
                answer = None
            if answer is not None and answer.status < 500 and answer.body.get("code") != IN_PROGRESS:
                self.answers[f"{what}: {answer.status}"] += 1
                return answer
            told = f"{answer.status} {answer.body.get('code', '')}".strip() if answer else "no answer"
            self.answers[f"repeated after {told}"] += 1
            yield ASK_AGAIN_SECONDS
        self.answers[f"{what}: never answered"] += 1
        return None


def _body(wish: Wish) -> dict[str, Any]:
    items = [
        {"productId": line.sku, "productName": line.name, "quantity": line.quantity, "price": str(line.price)}
        for line in wish.lines
    ]
    return {"userId": "alice", "payment_method": wish.method, "items": [_trimmed(item) for item in items]}


def _trimmed(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if value is not None}
