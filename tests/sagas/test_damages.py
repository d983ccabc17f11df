"""`manage.py verify` finds each kind of damage done by hand, and blames nothing else."""

from __future__ import annotations

import pytest

from sagas.storage import clock
from sagas.verification import verify as verifying
from tests.orders.campus import ORDERS_BY_STATUS, Campus, found, publish_all
from tests.sagas.damages import DAMAGES, copied, unprotected

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_damage_is_found_and_nothing_else_is_blamed(campus: Campus) -> None:
    """Damage one healthy campus in one way after the other, and compare what should be found with what was."""
    for come_to in ORDERS_BY_STATUS.values():
        come_to(campus)
    publish_all()
    assert found() == set()
    seen = {}
    with unprotected(), copied() as put_back:
        for damage in DAMAGES:
            with clock.moved():
                expected = damage(campus)
                seen[damage.__name__] = (found(), expected)
            campus.runner.lose_messages()
            put_back()
        assert found() == set()
    assert {name: both for name, both in seen.items() if both[0] != both[1]} == {}


def test_the_damages_break_every_invariant() -> None:
    """An invariant that no damage breaks would prove nothing."""
    assert len(DAMAGES) > 40
    assert {"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I11", "I13", "I14"} == set(verifying.codes())
