"""A suite that never saw a failure proves nothing: each planted defect is caught by the check that is named for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import DatabaseError, IntegrityError
from rest_framework.test import APIClient

from orders.models import MenuItem
from payments.testing import let_tests_empty_the_ledger
from sagas.definition import registry
from sagas.storage import clock
from sagas.testing import Runner
from tests.orders import builders
from tests.payments.builders import Case
from tests.proofs.planted.checks import Check
from tests.proofs.planted.defects import DEFECTS, Defect
from tests.proofs.planted.planting import all_planted
from tests.proofs.simulation.test_resumed_sagas import pay_last, pay_or_not
from tests.sagas.toy import World, toy
from tests.timers.conftest import Bell
from timers import registry as alarms

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.embedded, pytest.mark.slow]

TABLE = Path(settings.BASE_DIR) / "docs" / "reference" / "planted-bugs.md"
#: What a mistake in the planting looks like, and not a caught defect.
BROKEN = (NameError, TypeError, SyntaxError, AttributeError, LookupError, DatabaseError)
CHECKS = {defect.check.name: defect.check for defect in DEFECTS}


@pytest.fixture(autouse=True)
def _sagas(transactional_db: None) -> Iterator[None]:
    let_tests_empty_the_ledger()
    registry.register(toy, pay_last, pay_or_not)
    World.reset()
    with clock.moved():
        yield
    for saga in (toy, pay_last, pay_or_not):
        registry.unregister(saga)


@pytest.fixture
def runner(transactional_db: None) -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


@pytest.fixture
def alice(transactional_db: None) -> APIClient:
    return builders.client("alice")


@pytest.fixture
def laptop(transactional_db: None) -> MenuItem:
    return builders.laptop()


@pytest.fixture
def case(transactional_db: None) -> Case:
    case = Case()
    case.authorize()
    case.hold()
    return case


@pytest.fixture
def bell() -> Iterator[Bell]:
    bell = Bell()
    alarms.register("test.bell", bell)
    yield bell
    alarms.unregister("test.bell")


def run(check: Check, request: pytest.FixtureRequest) -> None:
    """Run a check with the fixtures it names."""
    wanted = inspect.signature(check.run).parameters.values()
    check.run(**{p.name: request.getfixturevalue(p.name) for p in wanted if p.default is p.empty})


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_without_a_defect_the_check_passes(check: Check, request: pytest.FixtureRequest) -> None:
    run(check, request)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_caught(defect: Defect, request: pytest.FixtureRequest) -> None:
    with all_planted(defect.changes), pytest.raises((Exception, pytest.fail.Exception)) as caught:
        run(defect.check, request)
    assert isinstance(caught.value, IntegrityError) or not isinstance(caught.value, BROKEN), (
        "the defect itself is broken"
    )
    if "simulator" in defect.check.name or "model" in defect.check.name:
        assert isinstance(caught.value, AssertionError), caught.value


def test_the_table_in_the_documents_is_this_one() -> None:
    """`docs/reference/planted-bugs.md` is written by `python -m tests.proofs.planted`."""
    from tests.proofs.planted.__main__ import table

    assert len(DEFECTS) >= 25
    assert TABLE.read_text() == table()
