"""`manage.py verify`: finds nothing wrong in whatever a healthy system does."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import InternalError, OperationalError, connection
from django.db.models import F

from orders.models import MenuItem, Order, StockReservation
from orders.sagas import create_order
from sagas.definition.saga import Compensation
from sagas.engine import commands
from sagas.failpoints import Failpoint, installed
from sagas.holds import holds
from sagas.machine.transitions import TRANSITIONS
from sagas.models import SagaInstance
from sagas.statuses import Action
from sagas.verification import verify as verifying
from tests.orders.campus import DECLINED, ORDERS_BY_STATUS, Campus, found, publish_all
from timers.models import ScheduledEvent

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]
#: Places where a transaction is open; a snapshot is taken between transactions.
INSIDE = {
    Failpoint.STEP_MATCHED, Failpoint.STEP_MOVED, Failpoint.STEP_DONE, Failpoint.CALL_RECORDING,
    Failpoint.FAILURE_RECORDING,
}  # fmt: skip


# -- healthy --------------------------------------------------------------------------------------------------------
def test_orders_of_every_fate_are_in_order(campus: Campus) -> None:
    assert campus.expired().status == "CANCELLED"
    assert campus.refunded().status == "CANCELLED"
    for status, come_to in ORDERS_BY_STATUS.items():
        assert come_to(campus).status == status
    publish_all()
    assert found() == set()


@pytest.mark.slow
@pytest.mark.parametrize("run_inline", [True, False], ids=["inline", "a message a step"])
@pytest.mark.parametrize(
    "come_to", [*ORDERS_BY_STATUS.values(), Campus.refunded, Campus.expired], ids=lambda come_to: come_to.__name__
)
def test_nothing_is_found_at_any_commit_on_the_way(campus: Campus, come_to: Any, run_inline: bool) -> None:
    looked: list[Failpoint] = []

    def look(point: Failpoint) -> None:
        if point not in INSIDE and not connection.in_atomic_block:
            looked.append(point)
            assert found() == set(), point

    campus.runner.run_inline = run_inline
    with installed(look):
        come_to(campus)
    assert {Failpoint.START_COMMITTED, Failpoint.STEP_COMMITTED, Failpoint.CALL_COMMITTED} <= set(looked)


@pytest.mark.slow
@pytest.mark.parametrize("steps_done", range(9))
def test_nothing_is_found_while_a_saga_is_cancelled_from_any_step(campus: Campus, steps_done: int) -> None:
    campus.runner.run_inline = False
    order = campus.place()
    for _ in range(steps_done):
        campus.runner.deliver()
    commands.cancel(order.saga_id, reason_code="other", reason="", actor="olga")
    assert found() == set()
    while campus.runner.deliver() or campus.runner.wait_for_next():
        assert found() == set()
    order.refresh_from_db()
    assert order.status == "CANCELLED"


def test_a_parked_saga_is_no_breach_and_neither_is_what_an_operator_makes_of_it(campus: Campus) -> None:
    for settle in (commands.retry, commands.skip, commands.close):
        with a_compensation_that_fails():
            order = campus.place(payment_method=DECLINED)
            campus.runner.run_to_end()
        assert SagaInstance.objects.get(pk=order.saga_id).status == "NEEDS_ATTENTION"
        assert found() == set()
        if settle is not commands.retry:
            StockReservation.objects.filter(order=order).update(status="RELEASED")
            MenuItem.objects.update(reserved=0)
        settle(order.saga_id, reason="mended", actor="olga")
        campus.runner.run_to_end()
        assert found() == set()


@pytest.mark.parametrize("way_out", ["released", "cancelled"])
def test_nothing_is_found_while_sagas_wait_for_the_provider(campus: Campus, way_out: str) -> None:
    order = campus.place()
    holds.hold_dependency("stripe", reason="down", actor="olga")
    campus.runner.run()
    assert SagaInstance.objects.get(pk=order.saga_id).held_by == "stripe"
    assert found() == set()
    if way_out == "cancelled":
        commands.cancel(order.saga_id, reason_code="other", reason="", actor="olga")
        campus.runner.run()
        assert found() == set()
    holds.release_dependency("stripe", reason="up", actor="olga")
    campus.runner.run_to_end()
    assert found() == set()
    order.refresh_from_db()
    assert order.status == ("CREATED" if way_out == "released" else "CANCELLED")


def test_every_fact_the_engine_can_state_is_understood() -> None:
    assert set(TRANSITIONS) == set(Action)


def test_another_writer_is_neither_waited_for_nor_seen(campus: Campus) -> None:
    """The snapshot is of one moment: what is committed while it is looked at does not show, and is not held up."""
    order = campus.placed()
    with verifying.snapshot():
        assert Order.objects.count() == 1
        _in_another_thread(lambda: Order.objects.filter(pk=order.pk).update(reason="seen"))
        assert Order.objects.get(pk=order.pk).reason == ""
    assert Order.objects.get(pk=order.pk).reason == "seen"


def test_it_cannot_write(campus: Campus) -> None:
    with pytest.raises((InternalError, OperationalError), match=r"read-only|readonly"), verifying.snapshot():
        MenuItem.objects.update(stock=1)
    MenuItem.objects.update(stock=2)
    assert MenuItem.objects.get().stock == 2


@contextmanager
def a_compensation_that_fails() -> Iterator[None]:
    """Nothing gives the food back while this lasts."""
    before = create_order.steps

    @functools.wraps(before[2].compensation.function)
    def fail(**_: Any) -> None:
        raise ConnectionError("reset")

    create_order.steps = [*before[:2], dataclasses.replace(before[2], compensation=Compensation(fail)), *before[3:]]
    try:
        yield
    finally:
        create_order.steps = before


def _in_another_thread(work: Callable[[], Any]) -> None:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=10)
    assert not thread.is_alive(), "the writer waits for the reader"


# -- the command ----------------------------------------------------------------------------------------------------
def verify(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `manage.py verify`."""
    output = io.StringIO()
    try:
        call_command("verify", *arguments, stdout=output)
    except SystemExit as ended:
        return int(str(ended.code)), output.getvalue()
    return 0, output.getvalue()


def test_the_command_prints_each_invariant_with_its_figure(campus: Campus) -> None:
    campus.placed()
    code, output = verify()
    lines = output.splitlines()
    assert code == 0
    assert len(lines) == len(verifying.invariants()) + 3
    [authorized] = [line for line in lines if "one authorization of its total" in line]
    assert authorized.split() == [
        "I1", "a", "created", "or", "accepted", "order", "has", "one", "authorization", "of", "its", "total",
        "1", "orders", "0",
    ]  # fmt: skip
    assert lines[-1].startswith(f"All {len(verifying.invariants())} invariants hold")


def test_the_command_names_what_it_found_and_what_to_do(campus: Campus) -> None:
    orders = [campus.placed() for _ in range(3)]
    ScheduledEvent.objects.all().delete()
    code, output = verify("--limit", "2", "--only", "i14,I6")
    assert code == 1
    assert "I14 BROKEN: an order that waits for a runner has its timer: 3 breaches" in output
    assert [str(order.pk) in output for order in orders] == [True, True, False]
    assert "… and 1 more (--limit)" in output
    assert "next: The order sweep will cancel it" in output
    assert "I5" not in output
    assert "3 breaches, as of " in output


def test_the_command_speaks_json(campus: Campus) -> None:
    order = campus.placed()
    MenuItem.objects.update(reserved=F("reserved") + 1)
    code, output = verify("--json", "--only", "I6")
    document = json.loads(output)
    assert code == document["breaches"] == 1
    [stock, food] = document["invariants"]
    assert (stock["code"], stock["looked_at"], stock["of"], stock["breaches"]) == ("I6", 1, "items", 1)
    assert stock["examples"] == [{"subject": "item product-guid", "detail": "2 reserved, 1 in reservations of orders"}]
    assert stock["advice"]
    assert food["breaches"] == 0
    assert order.status == "CREATED"


def test_the_command_refuses_what_is_no_invariant(db: None) -> None:
    with pytest.raises(CommandError, match="I99 is none of I1, I2"):
        verify("--only", "I99")


def test_without_tables_it_says_that_it_could_not_look(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "CAMPUSG_BOOTSTRAP": "0",
        "CAMPUSG_ENV_FILE": os.devnull,
        "CAMPUSG_VAR_DIR": str(tmp_path),
    }
    command = [sys.executable, "manage.py", "verify"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "manage.py migrate" in done.stderr
    assert "Traceback" not in done.stderr
