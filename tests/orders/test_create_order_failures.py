"""The failure table of the create-order saga: each step fails in each way, and the table says what must be left.

`refusal`: the step refuses. `error`: it raises until no retry is left; a call has its effect each time, and only the
reply is lost. `timeout`: the worker is killed in the step, so the step never ends and times out.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from rest_framework.test import APIClient

from orders.models import MenuItem, Order
from orders.sagas import create_order
from sagas.models import SagaInstance
from sagas.testing import Runner, undone
from tests.orders.builders import (
    BY_USER,
    assert_nothing_left,
    assert_stock_adds_up,
    live_authorizations,
    nothing_written,
    placed,
)
from tests.orders.failing import KINDS, Killed, UnknownOutcome, failing, run_until_the_saga_ends

pytestmark = pytest.mark.django_db(transaction=True)

RUN_INLINE = pytest.mark.parametrize("run_inline", [True, False], ids=["inline", "message-per-step"])


class Expected(NamedTuple):
    undone: list[str]
    saga: str
    order: str


ORDER = ["cancel_order"]
FOOD = ["release_inventory", *ORDER]
MONEY = ["revert_payment", *FOOD]
ESCROW = ["cancel_escrow", *MONEY]


def failed(undos: list[str]) -> Expected:
    return Expected(undos, "COMPENSATED", "FAILED")


#: If the first step fails, the request that started the saga is rolled back, and there is nothing to undo.
NOT_STARTED = None
#: After the pivot the saga cannot go back: the order stays CREATED, and the saga waits for an operator.
PARKED = Expected([], "NEEDS_ATTENTION", "CREATED")

TABLE: dict[tuple[str, str], Expected | None] = {
    ("create_order", "refusal"): NOT_STARTED,
    ("create_order", "error"): NOT_STARTED,
    ("create_order", "timeout"): NOT_STARTED,
    ("validate_inventory", "refusal"): failed(ORDER),
    ("validate_inventory", "error"): failed(ORDER),
    ("validate_inventory", "timeout"): failed(ORDER),
    ("reserve_inventory", "refusal"): failed(ORDER),
    ("reserve_inventory", "error"): failed(ORDER),
    ("reserve_inventory", "timeout"): failed(ORDER),
    ("get_payment_info", "refusal"): failed(FOOD),
    ("get_payment_info", "error"): failed(FOOD),
    ("get_payment_info", "timeout"): failed(FOOD),
    ("authorize_payment", "refusal"): failed(FOOD),
    ("authorize_payment", "error"): failed(MONEY),
    ("authorize_payment", "timeout"): failed(MONEY),
    ("hold_escrow", "refusal"): failed(MONEY),
    ("hold_escrow", "error"): failed(MONEY),
    ("hold_escrow", "timeout"): failed(MONEY),
    ("confirm_order", "refusal"): failed(ESCROW),
    ("confirm_order", "error"): failed(ESCROW),
    ("confirm_order", "timeout"): failed(ESCROW),
    ("start_timer", "refusal"): PARKED,
    ("start_timer", "error"): PARKED,
    ("start_timer", "timeout"): PARKED,
}


def test_every_step_has_its_rows() -> None:
    assert set(TABLE) == {(step.name, kind) for step in create_order.steps for kind in KINDS}


@RUN_INLINE
@pytest.mark.parametrize(("step", "kind"), [at for at, row in TABLE.items() if row])
def test_a_failure_leaves_what_the_table_says(
    alice: APIClient, laptop: MenuItem, step: str, kind: str, run_inline: bool
) -> None:
    expected = TABLE[step, kind]
    assert expected is not None
    with failing(create_order, step, kind), Runner(run_inline=run_inline) as runner:
        order, saga = placed(alice, BY_USER)
        run_until_the_saga_ends(runner)
        assert_left(order, saga, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_first_step_leaves_nothing(alice: APIClient, laptop: MenuItem, kind: str) -> None:
    with failing(create_order, "create_order", kind), Runner(), pytest.raises((UnknownOutcome, Killed, AssertionError)):
        placed(alice, BY_USER)
    assert nothing_written()


def assert_left(order: Order, saga: SagaInstance, expected: Expected) -> None:
    order.refresh_from_db()
    saga.refresh_from_db()
    assert (undone(saga.pk), saga.status, order.status) == expected
    assert_stock_adds_up()
    if expected.order == "CREATED":
        assert live_authorizations(order.pk) == 1
    else:
        assert order.reason
        assert_nothing_left(order.pk)
