"""What a definition says about itself, and what `manage.py check` finds wrong with one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn, TypedDict

import pytest

from sagas.definition import checks, registry
from sagas.definition import saga as definition
from sagas.definition.checks import check_definition
from sagas.definition.saga import Retry, Saga, seconds
from tests.sagas.toy import toy

if TYPE_CHECKING:
    from orders.models import Order


@dataclass(frozen=True)
class Input:
    order_id: str


class Made(TypedDict):
    cake_id: str


class Wanted(TypedDict):
    order_id: str


@dataclass(frozen=True)
class Baked:
    cake_id: str


class Ordered(TypedDict):
    order: Order


@dataclass(frozen=True)
class OrderInput:
    order: Order


def bake(*, order_id: str) -> Made:
    return {"cake_id": order_id}


def bin_cake(*, order_id: str, cake_id: str) -> None: ...


def bin_oven(*, order_id: str) -> None: ...


def eat(*, cake_id: str) -> None: ...


def weigh(*, cake_id: int) -> None: ...


def sing(*, song: str) -> None: ...


def shout(words: str) -> None: ...


def bake_again(*, order_id: str) -> Made:
    return {"cake_id": order_id}


def buy(*, order: Order) -> None: ...


def bake_badly(*, order_id: str) -> str:
    return order_id


def bake_object(*, order_id: str) -> Baked:
    return Baked(order_id)


def look_up() -> Ordered:
    raise AssertionError


def never(*, order_id: str) -> NoReturn:
    raise AssertionError


def saga(**options: object) -> Saga:
    return Saga("cake", takes=Input, **options)  # type: ignore[arg-type]


WRONG = {
    "sagas.E001 no steps": saga(),
    "sagas.E001 two pivots": saga().pivot(bin_oven).pivot(bin_oven),
    "sagas.E002 nothing offers it": saga().step(sing, compensate=bin_oven),
    "sagas.E002 offered only later": saga().step(eat, compensate=bin_oven).step(bake, compensate=bin_oven),
    "sagas.E003 another type": saga().step(bake, compensate=bin_oven).read(weigh),
    "sagas.E004 its own result": saga().step(bake, compensate=bin_cake),
    "sagas.E005 offered twice": saga().step(bake, compensate=bin_oven).step(bake_again, compensate=bin_oven),
    "sagas.E006 positional": saga().read(shout),
    "sagas.E007 no event of the engine": saga(aliases={"oven.binned": ("x",)}).read(bin_oven),
    "sagas.E007 no such field": saga(publishes=("wings",)).read(bin_oven),
    "sagas.E008 a local step that uses": saga().then(bin_oven, uses="bank"),
    "sagas.E006 a type imported for type checkers only": saga().read(buy),
    "sagas.E006 a result with such a type": saga().read(look_up),
    "sagas.E006 an input with such a type": Saga("cake", takes=OrderInput).read(bin_oven),
    "sagas.E010 takes a TypedDict": Saga("cake", takes=Wanted).read(bin_oven),
    "sagas.E010 takes a dict": Saga("cake", takes=dict).read(bin_oven),
    "sagas.E010 takes a dataclass's instance": Saga("cake", takes=Input("1")).read(bin_oven),  # type: ignore[arg-type]
    "sagas.E012 returns a plain value": saga().read(bake_badly),
    "sagas.E012 returns a dataclass": saga().read(bake_object),
    "sagas.W001 no way back": saga().step(bake).pivot(bin_oven),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_definition_is_named(case: str) -> None:
    expected = case.split(maxsplit=1)[0]
    assert expected in {problem.id for problem in check_definition(WRONG[case])}


def test_the_hint_says_how_to_write_what_a_saga_takes() -> None:
    [problem] = check_definition(WRONG["sagas.E010 takes a TypedDict"])
    assert problem.msg == "cake takes Wanted, which is not a dataclass."
    assert "@dataclass(frozen=True)" in problem.hint


def test_a_step_may_never_return() -> None:
    assert check_definition(saga().read(never)) == []


def test_two_functions_may_not_claim_one_task() -> None:
    def other(*, order_id: str) -> None: ...

    other.__name__ = "bin_oven"
    one, two = Saga("one", takes=Input).read(bin_oven), Saga("two", takes=Input).read(other)
    registry.register(one, two)
    try:
        found = [problem for problem in checks.check_definitions() if problem.id == "sagas.E009"]
    finally:
        registry.unregister(one)
        registry.unregister(two)
    assert [problem.msg for problem in found] == ["Two functions claim the task tests.bin_oven."]


def test_every_id_is_listed_and_has_its_case() -> None:
    listed = set(re.findall(r"^sagas\.\w\d+", checks.__doc__, re.MULTILINE))
    elsewhere = {"sagas.E009", "sagas.E011"}  # below, and in test_values.py
    assert listed == {case.split()[0] for case in WRONG} | elsewhere


def test_a_right_definition_has_no_problems() -> None:
    assert check_definition(toy) == []


def test_a_saga_prints_itself_as_a_table() -> None:
    lines = str(toy).splitlines()
    assert lines[0] == "toy v1: takes ToyInput, 5 min until the pivot"
    assert lines[6].split() == [
        "4",
        "tests.charge",
        "call",
        "tests.give_back",
        "timeout",
        "10",
        "s,",
        "3",
        "retries",
        "from",
        "1",
        "s,",
        "uses",
        "bank",
    ]
    assert lines[7].split() == ["5", "tests.serve", "pivot", "-", "default"]
    assert lines[8].split()[:6] == ["6", "tests.ring_bell", "then", "tests.mute_bell", "(best", "effort)"]


def test_delays_double_and_stay_within_their_jitter() -> None:
    retry = Retry(first=seconds(5), jitter=0.2)
    for attempt, exact in ((1, 5), (2, 10), (3, 20)):
        for _ in range(50):
            assert timedelta(seconds=exact) <= retry.delay(attempt) <= timedelta(seconds=exact * 1.2)
    assert retry.delay(500) <= retry.longest * 1.2


def test_the_definition_needs_only_the_standard_library() -> None:
    import subprocess
    import sys

    code = "import sys, sagas.definition.saga; print([m for m in ('django', 'celery', 'kombu') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert definition.__name__ == "sagas.definition.saga"
