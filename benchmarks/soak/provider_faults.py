"""Makes the payment provider answer wrongly, and reads from its records how often it did."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

from payments.sandbox.models import SandboxAnswer, SandboxFault, SandboxIntent
from tests.harness.customers import LOSES_REPLY

#: The alias of the provider's ledger in this process.
DATABASE = "provider"
#: The request takes effect, and the client gets no good answer.
LATE = ("timeout_after", "saved_500_after")
KINDS = (*LATE, *LATE, "timeout_before", "saved_500", "error_500", "rate_limited", "conflict", "garbage")
#: The requests that have an effect at the provider.
OPERATIONS = (
    "create_intent", "confirm_intent", "cancel_intent", "capture_intent", "create_refund", "create_transfer",
    "reverse_transfer",
)  # fmt: skip
MOST_TIMES = 6


@dataclass
class ProviderFaults:
    """Wrong answers of the provider, and how many of them were given."""

    #: How often each fault shall happen, by its id.
    added: dict[int, int] = field(default_factory=dict)

    def add(self, chance: random.Random) -> None:
        """Let the provider answer its next few requests of one kind wrongly."""
        times = chance.randint(2, MOST_TIMES)
        fault = SandboxFault.objects.using(DATABASE).create(
            kind=chance.choice(KINDS), operation=chance.choice(OPERATIONS), times_left=times
        )
        self.added[fault.pk] = times

    def given(self) -> int:
        left = SandboxFault.objects.using(DATABASE).values_list("pk", "times_left")
        return sum(self.added.get(pk, 0) - times for pk, times in left)


def late_effects() -> int:
    """How many requests took effect while their reply was lost.

    With some cards the provider loses the first reply to each request. It stores every answer, so these can be counted.
    """
    losing = set(SandboxIntent.objects.using(DATABASE).filter(payment_method=LOSES_REPLY).values_list("pk", flat=True))
    bodies = SandboxAnswer.objects.using(DATABASE).filter(status=200).values_list("body", flat=True)
    return sum(_is_about(json.loads(body), losing) for body in bodies.iterator())


def _is_about(answer: dict[str, Any], intents: set[str]) -> bool:
    return answer["id"] in intents or answer.get("payment_intent") in intents
