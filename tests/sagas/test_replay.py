"""Replaying a history: it leads to where its row stands, and one that cannot have happened says where it breaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sagas.engine import commands
from sagas.machine.replay import Fact, Place, replay
from sagas.machine.transitions import Unlawful
from sagas.statuses import Action, Direction, Phase, Status
from sagas.storage import storage
from sagas.storage.base import StoredEvent
from sagas.testing import Runner
from tests.sagas.toy import SoldOut, Started, World, toy

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def runner(transactional_db: None) -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


def fact_of(stored: StoredEvent) -> Fact:
    event = stored.event
    return Fact(
        stored.seq, event.action, event.step, event.status, event.attempt, stored.saga_status, stored.position,
        stored.epoch,
    )  # fmt: skip


@pytest.fixture
def history(runner: Runner) -> list[Fact]:
    """A saga whose charge was made though its reply was lost, and which went back after that."""
    World.failures["charge after"] = [TimeoutError("lost"), SoldOut("no")]
    row = Started().start()
    runner.run_to_end()
    return [fact_of(stored) for stored in storage().events_of(row.id)]


def test_a_history_leads_to_where_its_saga_ended(history: list[Fact]) -> None:
    place = replay(toy, history)
    assert place == Place(Status.COMPENSATED, -1, history[-1].epoch, Direction.BACK, Phase.DONE, False)
    assert str(place) == f"COMPENSATED at -1, epoch {history[-1].epoch}, BACK DONE"


def test_a_history_leads_to_where_its_saga_stands_on_the_way(history: list[Fact]) -> None:
    until_the_retry = history[: next(n for n, fact in enumerate(history) if fact.action == Action.STEP_RETRYING) + 1]
    place = replay(toy, until_the_retry)
    assert place == Place(Status.STARTED, 3, 2, Direction.FORWARD, Phase.RETRYING, True)
    assert str(place) == "STARTED at 3, epoch 2, FORWARD RETRYING, may have run"
    assert str(place.short) == "STARTED at 3, epoch 2"


@pytest.mark.parametrize("field", ["saga_status", "position", "epoch"])
def test_each_part_of_the_place_after_a_commit_is_compared(history: list[Fact], field: str) -> None:
    wrong = {"saga_status": Status.CANCELLING, "position": 7, "epoch": 9}[field]
    for number, fact in enumerate(history):
        damaged = [*history]
        damaged[number] = fact._replace(**{field: wrong})
        with pytest.raises(Unlawful):
            replay(toy, damaged)


def test_a_breach_names_the_fact_what_it_says_and_what_led_there(history: list[Fact]) -> None:
    damaged = [*history]
    damaged[2] = history[2]._replace(position=9)
    with pytest.raises(Unlawful) as breach:
        replay(toy, damaged)
    says, led = "STARTED at 9, epoch 1", "STARTED at 2, epoch 1"
    assert str(breach.value) == f"#3 step_completed says {says}; what led there, {led}"


@pytest.mark.parametrize(
    "action", [Action.STEP_COMPLETED, Action.STEP_RETRYING, Action.COMPENSATION_STARTED, Action.UNDO_COMPLETED]
)
def test_a_fact_that_is_missing_is_noticed(history: list[Fact], action: Action) -> None:
    for number, fact in enumerate(history):
        if fact.action == action:
            with pytest.raises(Unlawful):
                replay(toy, history[:number] + history[number + 1 :])


def test_what_is_no_action_is_named(history: list[Fact]) -> None:
    with pytest.raises(Unlawful, match="#1 'jumped' is no action"):
        replay(toy, [history[0]._replace(action="jumped")])


def test_an_unlawful_fact_is_named_with_its_step_and_the_reason(history: list[Fact]) -> None:
    with pytest.raises(Unlawful, match="#2 step_completed serve: next is look"):
        replay(toy, [history[0], history[1], history[2]._replace(seq=2, step="serve")])


# -- what each fact requires ----------------------------------------------------------------------------------------
def test_a_saga_starts_once(history: list[Fact]) -> None:
    with pytest.raises(Unlawful, match="a saga starts once, and first"):
        replay(toy, [history[0], history[0]._replace(seq=2)])


@pytest.mark.parametrize("action", ["skipped", "closed", "retried"])
def test_only_a_parked_saga_is_settled_by_hand(history: list[Fact], action: str) -> None:
    with pytest.raises(Unlawful, match=f"{action}.*the saga is STARTED, not parked"):
        replay(toy, [*history[:2], history[2]._replace(seq=3, action=action)])


def test_a_history_with_what_an_operator_did_is_replayed(runner: Runner) -> None:
    World.failures["ring_bell"] = [RuntimeError("no bell")] * 8
    row = Started().start()
    runner.run_to_end()
    commands.retry(row.id, reason="try again", actor="op")
    runner.run_to_end()
    commands.skip(row.id, reason="done by hand", actor="op")
    runner.run_to_end()
    facts = [fact_of(stored) for stored in storage().events_of(row.id)]
    assert [fact.action for fact in facts].count("retried") == 1
    assert replay(toy, facts).short == Place(Status.COMPLETED, 6, facts[-1].epoch)


def test_a_saga_does_not_end_before_its_last_compensation(history: list[Fact]) -> None:
    last = max(number for number, fact in enumerate(history) if fact.action == Action.UNDO_COMPLETED)
    with pytest.raises(Unlawful, match="the saga stands at 0"):
        replay(toy, after(history[:last], (Action.FINISHED, "", 0, Place(Status.COMPENSATED, 0, history[-1].epoch))))


# -- what releases before 0.2 left out ------------------------------------------------------------------------------
def after(history: list[Fact], *facts: tuple[Action, str, int, Place]) -> list[Fact]:
    """The history, and more facts: action, step, try, and the place after the commit."""
    found = [*history]
    for action, step, attempt, place in facts:
        status = place.status if action is Action.FINISHED else ""
        found.append(Fact(len(found) + 1, action, step, status, attempt, *place.short[:3]))
    return found


def test_a_first_try_that_failed_is_undone(history: list[Fact]) -> None:
    claimed = next(n for n, fact in enumerate(history) if fact.action == Action.STEP_CLAIMED) + 1
    facts = after(
        history[:claimed],
        (Action.STEP_FAILED, "charge", 1, Place(Status.COMPENSATING, 3, 2)),
        (Action.COMPENSATION_STARTED, "", 0, Place(Status.COMPENSATING, 3, 2)),
    )
    assert replay(toy, facts) == Place(Status.COMPENSATING, 3, 2, Direction.BACK, Phase.READY, False)


def test_a_first_try_that_was_refused_without_a_fact_is_not_undone(history: list[Fact]) -> None:
    claimed = next(n for n, fact in enumerate(history) if fact.action == Action.STEP_CLAIMED) + 1
    facts = after(
        history[:claimed],
        (Action.STEP_FAILED, "charge", 1, Place(Status.COMPENSATING, 2, 2)),
        (Action.COMPENSATION_STARTED, "", 0, Place(Status.COMPENSATING, 2, 2)),
    )
    assert replay(toy, facts) == Place(Status.COMPENSATING, 2, 2, Direction.BACK, Phase.READY, False)


def test_a_best_effort_that_was_left_behind_without_a_fact_is_passed_over(runner: Runner) -> None:
    row = Started().start()
    runner.run()
    commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    facts = [fact_of(stored) for stored in storage().events_of(row.id)]
    assert facts[-1].position == 5
    moved_on = after(facts, (Action.REDISPATCHED, "give_back", 0, Place(Status.CANCELLING, 3, facts[-1].epoch)))
    assert replay(toy, moved_on).position == 3
