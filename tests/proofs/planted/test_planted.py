"""A suite that never saw a failure proves nothing: each planted defect is noticed by the check named beside it."""

from __future__ import annotations

import inspect

import pytest
from django.db import DatabaseError, IntegrityError

from tests.proofs.planted.__main__ import PAGE, page
from tests.proofs.planted.checks import Check
from tests.proofs.planted.defects import DEFECTS, Defect

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.embedded]

#: What a mistake in the planting looks like, and not a defect that was noticed.
MISTAKES = (NameError, TypeError, SyntaxError, AttributeError, LookupError, DatabaseError)
CHECKS = {defect.check.name: defect.check for defect in DEFECTS}


def run(check: Check, request: pytest.FixtureRequest) -> None:
    """Run a check with the fixtures that it names."""
    wanted = inspect.signature(check.run).parameters.values()
    check.run(**{p.name: request.getfixturevalue(p.name) for p in wanted if p.default is p.empty})


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_without_a_defect_the_check_passes(check: Check, request: pytest.FixtureRequest) -> None:
    run(check, request)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_noticed(defect: Defect, request: pytest.FixtureRequest) -> None:
    with defect.planting.planted(), pytest.raises((Exception, pytest.fail.Exception)) as noticed:
        run(defect.check, request)
    assert isinstance(noticed.value, IntegrityError) or not isinstance(noticed.value, MISTAKES), (
        "the planting is broken"
    )


def test_the_page_of_planted_bugs_is_current() -> None:
    """`docs/reference/planted-bugs.md` is written by `python -m tests.proofs.planted`."""
    assert PAGE.read_text() == page()
