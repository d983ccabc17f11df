"""The diagrams and tables of the documents are what the code says now. `make docs` writes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orders.models import OrderStatus
from sagas.machine.transitions import TRANSITIONS
from sagas.statuses import Action, Status
from tests.documents import blocks, diagrams, imports, order_journey, saga_journey
from tests.documents.imports import ROOT

pytestmark = pytest.mark.embedded

ARCHITECTURE = ROOT / "docs/explanation/architecture.md"
README = (ROOT / "README.md").read_text()
ROW = re.compile(r"^\| `([\w./]+)` \| (.*?) \|", re.MULTILINE)
#: A link whose text is a name of the code.
NAMED = re.compile(r"\[`(\w+)`\]\(([^)#\s]+)\)")


@pytest.mark.django_db
@pytest.mark.parametrize("document", blocks.DOCUMENTS, ids=lambda path: path.name)
def test_what_comes_from_the_code_is_up_to_date(document: Path) -> None:
    text = document.read_text()
    assert blocks.current(text) == text, "run `make docs`"


def test_every_block_stands_in_one_document() -> None:
    found = [name for document in blocks.DOCUMENTS for name in blocks.names(document.read_text())]
    assert sorted(found) == sorted(blocks.BLOCKS)


def test_a_block_is_written_anew_and_the_text_around_it_stays() -> None:
    text = "Before\n<!-- from the code: engine -->\nof yesterday\n<!-- end -->\nAfter\n"
    written = blocks.current(text)
    assert written.startswith("Before\n<!-- from the code: engine -->\n```mermaid\n")
    assert written.endswith("```\n<!-- end -->\nAfter\n")
    assert "yesterday" not in written


def test_every_app_and_every_room_is_described() -> None:
    described = dict(ROW.findall(ARCHITECTURE.read_text()))
    assert len(described) == len(diagrams.apps()) + len(diagrams.rooms())
    assert [path for path, text in described.items() if not text.strip()] == []


def test_what_people_wrote_into_a_table_stays() -> None:
    table = "| `sagas/ids.py` | ids | gone |\n| `sagas/engine/` | the engine |\n"
    rows = dict(ROW.findall(diagrams.room_table(table)))
    assert (rows["sagas/ids.py"], rows["sagas/engine/"], rows["sagas/rest/"]) == ("ids", "the engine", "")


def test_the_readme_describes_the_apps_in_the_same_words() -> None:
    described = dict(ROW.findall(ARCHITECTURE.read_text()))
    apps = {f"{app.replace('.', '/')}/" for app in diagrams.apps()}
    assert dict(ROW.findall(README)) == {path: text for path, text in described.items() if path in apps}


def test_every_fact_and_every_status_has_a_place_in_the_diagrams() -> None:
    assert saga_journey.facts_met() | {Action.STARTED.value} == {action.value for action in TRANSITIONS}
    places = {place for pair in saga_journey.moves() for place in pair}
    assert {place.status for place in places} == set(Status.values)


def test_the_readme_draws_every_change_of_a_sagas_status() -> None:
    diagram = README.split("```mermaid")[1].split("```")[0]
    drawn = set(re.findall(r"^ +(\w+) --> (\w+):", diagram, re.MULTILINE))
    assert drawn == set(saga_journey.by(lambda place: place.status))


@pytest.mark.django_db
def test_an_order_can_get_every_status_and_the_readme_names_each() -> None:
    reached = {change.after for change in order_journey.changes()}
    (line,) = [line for line in README.splitlines() if line.startswith("Orders: ")]
    assert reached == set(OrderStatus.values) == set(re.findall(r"`(\w+)`", line))


def test_names_that_link_to_a_file_stand_in_it() -> None:
    named = NAMED.findall(ARCHITECTURE.read_text())
    missing = [(name, path) for name, path in named if name not in (ARCHITECTURE.parent / path).read_text()]
    assert named
    assert missing == []


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    edges = [("rest", "engine"), ("engine", "storage"), ("rest", "storage"), ("storage", "models"), ("rest", "models")]
    assert imports.without_detours(edges) == [("engine", "storage"), ("rest", "engine"), ("storage", "models")]


def test_imports_are_read_from_the_source() -> None:
    found = imports.between(["sagas.machine", "sagas.definition", "orders"])
    assert found["sagas.machine", "sagas.definition"] == {"sagas.definition.saga", "sagas.definition.options"}
    assert ("sagas.definition", "sagas.machine") not in found
