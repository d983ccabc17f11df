"""Before a deploy: which sagas the new code would strand, and what to do about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from sagas.definition import registry
from sagas.definition.saga import Saga, Step, seconds
from sagas.engine import commands, versions
from sagas.models import SagaDefinition, SagaInstance
from sagas.testing import Runner
from tests.sagas import toy as steps
from tests.sagas.toy import Started, ToyInput, World, toy

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def messages(transactional_db: None) -> Iterator[Runner]:
    with Runner() as runner:
        versions.record()
        yield runner


@contextmanager
def code_with(definition: Saga | None) -> Iterator[None]:
    """The code about to be deployed has this definition in the toy's place, or none."""
    registry.unregister(toy)
    if definition is not None:
        registry.register(definition)
    try:
        yield
    finally:
        if definition is not None:
            registry.unregister(definition)
        registry.register(toy)


def changed(*new_steps: Step, version: int = 1) -> Saga:
    saga = Saga("toy", takes=ToyInput, version=version)
    saga.steps = [dataclasses.replace(step, position=position) for position, step in enumerate(new_steps)]
    return saga


def check() -> str:
    out = StringIO()
    call_command("sagas", "deploycheck", stdout=out)
    return out.getvalue()


def test_a_saga_that_was_cancelled_relies_on_nothing_any_more(messages: Runner) -> None:
    row = Started().start()
    commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    messages.run_to_end()
    with code_with(None):
        assert versions.stranded() == []


def test_code_that_knows_everything_may_be_deployed(messages: Runner) -> None:
    Started().start()
    assert check() == "Every saga in the database can go on with this code.\n"


def test_a_version_that_open_sagas_need_must_stay(messages: Runner) -> None:
    Started().start()
    Started().start()
    with (
        code_with(changed(*toy.steps, version=2)),
        pytest.raises(CommandError, match="toy v1: this code does not know it") as failed,
    ):
        check()
    assert "2 sagas may still move. Keep it registered beside the new version" in str(failed.value)


def test_what_has_ended_for_good_needs_nothing(messages: Runner) -> None:
    Started().start()
    messages.run()
    with code_with(None), pytest.raises(CommandError, match="1 sagas may still move"):
        check()
    SagaInstance.objects.update(created_at=SagaInstance.objects.get().created_at - timedelta(days=2))
    with code_with(None):
        assert "can go on" in check()


def test_a_table_that_changed_without_its_version_is_found(messages: Runner) -> None:
    Started().start()
    with code_with(changed(*toy.steps[:1], *toy.steps[2:])), pytest.raises(CommandError) as failed:
        check()
    assert "the table changed, the version did not: 6 steps became 5; step 2 was tests.look and is tests.cook" in str(
        failed.value
    )
    assert "1 sagas may still move. Leave version 1 as it was, and write the change as version 2" in str(failed.value)


def test_policies_may_change_without_a_version(messages: Runner) -> None:
    Started().start()
    slower = [dataclasses.replace(step, timeout=seconds(99), uses="") for step in toy.steps]
    with code_with(changed(*slower)):
        assert "can go on" in check()


def test_a_missing_undo_is_a_changed_table(messages: Runner) -> None:
    Started().start()
    careless = [dataclasses.replace(step, compensation=None) for step in toy.steps]
    with code_with(changed(*careless)), pytest.raises(CommandError, match=r"step 1 \(tests.open_tab\) differs in undo"):
        check()


def test_a_step_that_sagas_stand_at_must_not_go(messages: Runner) -> None:
    World.failures["charge before"] = [ConnectionError("x")] * 9
    row = Started().start()
    messages.run()
    without = [step for step in toy.steps if step.function is not steps.charge]
    with code_with(changed(*without)), pytest.raises(CommandError) as failed:
        check()
    assert "they stand at step 4 (tests.charge), which is tests.serve" in str(failed.value)
    commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    with code_with(changed(*without)), pytest.raises(CommandError, match=r"step 4 \(tests.give_back\), which is gone"):
        check()


def test_sagas_of_a_definition_never_recorded_are_checked_by_their_place(messages: Runner) -> None:
    Started().start()
    messages.lose_messages()
    SagaDefinition.objects.all().delete()
    with code_with(changed(*toy.steps[:1])), pytest.raises(CommandError, match=r"step 2 \(unknown\), which is gone"):
        check()


def test_a_definition_is_kept_as_it_was_while_sagas_rely_on_it(messages: Runner) -> None:
    kept = SagaDefinition.objects.get(name="toy")
    Started().start()
    with code_with(changed(*toy.steps[:2])):
        versions.record()
    assert SagaDefinition.objects.get(name="toy").digest == kept.digest
    SagaInstance.objects.all().delete()
    with code_with(changed(*toy.steps[:2])):
        versions.record()
    assert len(SagaDefinition.objects.get(name="toy").shape["steps"]) == 2
