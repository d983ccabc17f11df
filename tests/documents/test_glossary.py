"""The glossary has every word once, and what it says of the code is so."""

from __future__ import annotations

import re

import sagas
from sagas.statuses import Action, Direction, Phase, Status
from tests.documents.imports import ROOT

GLOSSARY = ROOT / "docs/reference/glossary.md"
SECTIONS = {text.partition("\n")[0]: text for text in re.split(r"^## ", GLOSSARY.read_text(), flags=re.MULTILINE)[1:]}
ROW = re.compile(r"^\| (.+?) \| (.+?) \|(?: \[[^\]]+\]\((.+?)\) \|)?$", re.MULTILINE)
#: The words of the design that are not names of the code.
NOUNS = (
    "saga", "definition", "step", "call", "read", "pivot", "then", "compensation", "best effort", "participant",
    "subject", "status", "direction", "phase", "position", "epoch", "attempt", "deadline", "lease", "claim", "record",
    "fact", "history", "replay", "step message", "dispatch", "redispatch", "run inline", "sweep", "park", "preview",
    "dependency", "hold", "circuit breaker", "probe", "release", "event", "outbox", "relay", "dead letter", "storage",
    "invariant", "problem document", "idempotency key", "order", "reservation", "authorization", "capture", "void",
    "refund", "escrow", "payout", "ledger", "timer", "handler", "embedded", "test environment", "model", "simulator",
    "soak", "crash point",
)  # fmt: skip


def rows(section: str) -> dict[str, tuple[str, str]]:
    """Word: its meaning and the file it lives in, without the heading."""
    return {word.strip("`"): (meaning, path) for word, meaning, path in ROW.findall(SECTIONS[section])[1:]}


def words() -> list[str]:
    """The first column of every table but that of the public names."""
    return [word for section in SECTIONS if not section.startswith("Public") for word in rows(section)]


def test_every_word_stands_once() -> None:
    found = words()
    assert sorted(found) == sorted(set(found))
    assert set(NOUNS) - set(found) == set()


def test_every_status_direction_and_phase_is_explained() -> None:
    explained = set(rows("Where a saga stands"))
    assert {*Status.values, *Direction.values, *Phase.values} - explained == set()


def test_every_fact_is_explained() -> None:
    assert list(rows("Facts")) == [action.value for action in Action]


def test_every_public_name_is_explained_and_its_file_is_right() -> None:
    homes = {name: f"{module.replace('.', '/')}.py" for module, names in sagas._HOMES.items() for name in names}
    explained = {name: path.removeprefix("../../") for name, (_, path) in rows("Public names of `sagas`").items()}
    assert explained == homes
    assert list(explained) == sagas.__all__


def test_every_meaning_is_one_or_two_sentences() -> None:
    meanings = {word: meaning for section in SECTIONS for word, (meaning, _) in rows(section).items()}
    long = {word: meaning for word, meaning in meanings.items() if len(re.findall(r"\.(?: |$)", meaning)) > 2}
    unfinished = {word: meaning for word, meaning in meanings.items() if not meaning.endswith(".")}
    assert (long, unfinished) == ({}, {})
