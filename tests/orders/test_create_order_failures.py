"""The failure table of the create-order saga: each step failing in each way, and what must be left of it.

`refusal`: the step says no. `trouble`: it raises until its retries run out; a call has had its effect by then, so
only the replies are lost. `timeout`: nothing is heard of the step any more until its time is up.
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
from tests.orders.failing import KINDS, Killed, Trouble, failing, go_on_until_nothing_moves

pytestmark = pytest.mark.django_db(transaction=True)

RUN_INLINE = pytest.mark.parametrize("run_inline", [True, False], ids=["running-ahead", "message-per-step"])


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


#: A first step that fails rolls the request back that started the saga: nothing is there to be undone.
NOT_STARTED = None
#: After the pivot a failure goes forward: the order stays CREATED and a person is called.
PARKED = Expected([], "NEEDS_ATTENTION", "CREATED")

TABLE: dict[tuple[str, str], Expected | None] = {
    ("create_order", "refusal"): NOT_STARTED,
    ("create_order", "trouble"): NOT_STARTED,
    ("create_order", "timeout"): NOT_STARTED,
    ("validate_inventory", "refusal"): failed(ORDER),
    ("validate_inventory", "trouble"): failed(ORDER),
    ("validate_inventory", "timeout"): failed(ORDER),
    ("reserve_inventory", "refusal"): failed(ORDER),
    ("reserve_inventory", "trouble"): failed(ORDER),
    ("reserve_inventory", "timeout"): failed(ORDER),
    ("get_payment_info", "refusal"): failed(FOOD),
    ("get_payment_info", "trouble"): failed(FOOD),
    ("get_payment_info", "timeout"): failed(FOOD),
    ("authorize_payment", "refusal"): failed(FOOD),
    ("authorize_payment", "trouble"): failed(MONEY),
    ("authorize_payment", "timeout"): failed(MONEY),
    ("hold_escrow", "refusal"): failed(MONEY),
    ("hold_escrow", "trouble"): failed(MONEY),
    ("hold_escrow", "timeout"): failed(MONEY),
    ("confirm_order", "refusal"): failed(ESCROW),
    ("confirm_order", "trouble"): failed(ESCROW),
    ("confirm_order", "timeout"): failed(ESCROW),
    ("start_timer", "refusal"): PARKED,
    ("start_timer", "trouble"): PARKED,
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
        go_on_until_nothing_moves(runner)
        assert_left(order, saga, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_first_step_leaves_nothing(alice: APIClient, laptop: MenuItem, kind: str) -> None:
    with failing(create_order, "create_order", kind), Runner(), pytest.raises((Trouble, Killed, AssertionError)):
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
