"""The whole protocol for one worker at a time, and as much of it as fits for two: nothing wrong, nothing stuck.

`python -m tests.proofs.model --workers 3` searches further.
"""

from __future__ import annotations

import pytest

from sagas.definition.saga import Saga
from tests.proofs.model.machine import running
from tests.proofs.model.protocols import PROTOCOLS
from tests.proofs.model.search import Search

pytestmark = [pytest.mark.embedded, pytest.mark.slow]

EVERY_STATUS = {"STARTED", "COMPLETED", "COMPENSATING", "COMPENSATED", "CANCELLING", "CANCELLED", "NEEDS_ATTENTION"}


def searched(saga: Saga, **bounds: int) -> Search:
    with running(saga) as machine:
        return Search(machine, **bounds).run()


def explain(search: Search) -> list[str]:
    return [f"{what} <= {' ; '.join(search.trace(number))}" for what, number in search.violations.items()]


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize(
    "bounds", [{"workers": 1, "messages": 1}, {"workers": 2, "messages": 2, "limit": 40_000}], ids=["one", "two"]
)
def test_nothing_is_ever_wrong_and_everything_can_end(name: str, bounds: dict[str, int]) -> None:
    search = searched(PROTOCOLS[name], **bounds)
    assert not explain(search)
    assert [search.trace(number) for number in search.stuck()[:1]] == []
    assert len(search.ids) > 10_000


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_search_meets_everything(name: str) -> None:
    search = searched(PROTOCOLS[name], workers=1, messages=1)
    assert {state.key.status for state in search.ids} >= EVERY_STATUS
    done = {event for result in search.machine.memory.values() for event in result.events}
    assert done >= {"step_fenced", "undo_fenced", "step_timed_out", "redriven", "parked", "retried", "undo_failed",
                    "held", "let_go"}  # fmt: skip
