"""What the payment provider is told to do wrong, and what its own record says it did."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

from payments.sandbox.models import SandboxAnswer, SandboxFault, SandboxIntent
from tests.harness.customers import LOSES_REPLY

#: The alias of the provider's ledger in this process.
DATABASE = "provider"
#: Trouble in which the effect takes place and the client does not hear of it.
LATE = ("timeout_after", "saved_500_after")
KINDS = (*LATE, *LATE, "timeout_before", "saved_500", "error_500", "rate_limited", "conflict", "garbage")
#: What has an effect at the provider.
OPERATIONS = (
    "create_intent", "confirm_intent", "cancel_intent", "capture_intent", "create_refund", "create_transfer",
    "reverse_transfer",
)  # fmt: skip
MOST_STRIKES = 6


@dataclass
class Misbehaviour:
    """Wrong answers on order, and how many of them were given."""

    ordered: dict[int, int] = field(default_factory=dict)

    def order(self, chance: random.Random) -> None:
        """Have the provider answer its next few requests of one kind wrongly."""
        times = chance.randint(2, MOST_STRIKES)
        fault = SandboxFault.objects.using(DATABASE).create(
            kind=chance.choice(KINDS), operation=chance.choice(OPERATIONS), times_left=times
        )
        self.ordered[fault.pk] = times

    def given(self) -> int:
        left = SandboxFault.objects.using(DATABASE).values_list("pk", "times_left")
        return sum(self.ordered.get(pk, 0) - times for pk, times in left)


def late_effects() -> int:
    """Requests that took effect while their reply was lost, by the provider's own record: the answers it keeps under
    the keys of cards that lose each first reply."""
    losing = set(SandboxIntent.objects.using(DATABASE).filter(payment_method=LOSES_REPLY).values_list("pk", flat=True))
    answers = SandboxAnswer.objects.using(DATABASE).filter(status=200).values_list("body", flat=True)
    return sum(_is_about(json.loads(body), losing) for body in answers.iterator())


def _is_about(answer: dict[str, Any], intents: set[str]) -> bool:
    return answer["id"] in intents or answer.get("payment_intent") in intents
