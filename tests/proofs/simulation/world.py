"""What a simulation runs on: a storage in memory whose clock only the simulation moves, and the steps' effects."""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sagas.definition import registry
from sagas.storage.memory import MemoryStorage
from tests.proofs.simulation.fixtures import DEFINITIONS

#: The moment at which every simulation begins.
BEGINNING = datetime(2026, 3, 1, 12, tzinfo=UTC)


def new_storage(kind: type[MemoryStorage], ids: Callable[[], uuid.UUID]) -> MemoryStorage:
    return kind(start=BEGINNING, ids=ids)


@dataclass
class Effects:
    """What local steps wrote, by order. No effect is refused: a doubled one must be seen. A rollback takes it back."""

    storage: MemoryStorage
    written: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def write(self, order_id: str, name: str) -> None:
        self.written[order_id].append(name)
        self.storage.on_rollback(self.written[order_id].pop)

    def of(self, order_id: str) -> list[str]:
        return list(self.written[order_id])


@contextmanager
def prepared() -> Iterator[None]:
    """The definitions are known and nothing is logged; around any number of simulations."""
    logger = logging.getLogger("sagas")
    was_disabled, logger.disabled = logger.disabled, True
    registry.register(*DEFINITIONS)
    try:
        yield
    finally:
        for saga in DEFINITIONS:
            registry.unregister(saga)
        logger.disabled = was_disabled
