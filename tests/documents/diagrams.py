"""The diagrams and tables that the documents take from the code, as Markdown."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from sagas.statuses import Direction, Phase, Status
from tests.documents import imports, order_journey, saga_journey

ROOMS_CONTRACT = "The engine's rooms have one direction"
APPS_CONTRACT = "Imports run one way"
SANDBOX = "payments.sandbox"


# -- the project ----------------------------------------------------------------------------------------------------
def apps() -> list[str]:
    """Every app, highest layer first."""
    named = [app for layer in imports.layers(APPS_CONTRACT) for app in layer]
    return [*named[:-1], SANDBOX, named[-1]]


def project() -> str:
    edges = imports.between(apps())
    lines = [f'{_id(a)} -->|"{_used(names, b)}"| {_id(b)}' for (a, b), names in sorted(edges.items())]
    return _mermaid("flowchart TD", [*(f'{_id(app)}["{app}"]' for app in apps()), *lines])


def _used(names: Iterable[str], package: str) -> str:
    """What is imported from a package: itself, or the parts of it."""
    used = {name.removeprefix(package).removeprefix(".").partition(".")[0] for name in names}
    return ", ".join(part or package for part in sorted(used))


def app_table(present: str) -> str:
    written = _written(present)
    rows = [(_folder(app), written.get(app, ""), ", ".join(imports.parts(app))) for app in apps()]
    return _table(("app", "what is in it", "its parts"), rows)


# -- the engine -----------------------------------------------------------------------------------------------------
def rooms() -> list[str]:
    """Every room of the engine, highest layer first."""
    return [f"sagas.{room}" for layer in imports.layers(ROOMS_CONTRACT) for room in layer]


def engine() -> str:
    edges = imports.without_detours(imports.between(rooms()))
    return _mermaid("flowchart TD", [f"{_room(a)} --> {_room(b)}" for a, b in edges])


def room_table(present: str) -> str:
    written = _written(present)
    rows = [(_folder(room), written.get(room, ""), ", ".join(imports.parts(room))) for room in rooms()]
    return _table(("room", "what is in it", "its modules"), rows)


# -- one order ------------------------------------------------------------------------------------------------------
def order() -> str:
    labels: dict[tuple[str, str], list[str]] = defaultdict(list)
    for change in order_journey.changes():
        how = f"{change.saga} {change.how}".replace("cancelled", "is cancelled").strip()
        labels[change.before or "[*]", change.after].append(f"{change.function} ({how})")
    lines = [f"{before} --> {after} : {'<br/>'.join(texts)}" for (before, after), texts in labels.items()]
    return _mermaid("stateDiagram-v2", lines)


# -- one saga -------------------------------------------------------------------------------------------------------
def saga_statuses() -> str:
    moves = saga_journey.moves()
    seen = {place for pair in moves for place in pair}
    lines = []
    for direction in Direction.values:
        inside = [
            status for status in Status.values if {p.direction for p in seen if p.status == status} == {direction}
        ]
        lines += [f"subgraph {direction}", *(f"    {status}" for status in inside), "end"]
    arrows = _arrows(saga_journey.by(lambda place: place.status), Status.values)
    return _mermaid("flowchart LR", [*lines, 'new((" ")) -->|"saga_started"| STARTED', *arrows])


def saga_phases() -> str:
    arrows = _arrows(saga_journey.by(lambda place: place.phase), Phase.values)
    return _mermaid("flowchart LR", ['new((" ")) -->|"saga_started"| READY', *arrows])


def _arrows(moves: Mapping[tuple[str, str], list[saga_journey.Facts]], order: list[str]) -> list[str]:
    pairs = sorted(moves, key=lambda pair: (order.index(pair[0]), order.index(pair[1])))
    return [f'{a} -->|"{"<br/>".join(" + ".join(facts) for facts in moves[a, b])}"| {b}' for a, b in pairs]


def saga_moves() -> str:
    rows = [
        (_where(before), _where(after), "<br>".join(" + ".join(each) for each in saga_journey.ordered(facts)))
        for (before, after), facts in sorted(saga_journey.moves().items(), key=_in_order)
    ]
    return _table(("stands at", "then at", "facts of the commit"), rows)


def _in_order(item: tuple[tuple[saga_journey.Place, saga_journey.Place], object]) -> list[int]:
    return [number for place in item[0] for number in _rank(place)]


def _rank(place: saga_journey.Place) -> tuple[int, int, int]:
    return (
        Status.values.index(place.status), Direction.values.index(place.direction), Phase.values.index(place.phase)
    )  # fmt: skip


def _where(place: saga_journey.Place) -> str:
    return f"{place.status} · {place.direction} · {place.phase}"


# -- Markdown -------------------------------------------------------------------------------------------------------
def _mermaid(kind: str, lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", kind, *(f"    {line}" for line in lines), "```"])


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _folder(package: str) -> str:
    path = package.replace(".", "/")
    is_folder = (imports.ROOT / path).is_dir()
    return f"`{path}/`" if is_folder else f"`{path}.py`"


def _written(present: str) -> dict[str, str]:
    """The second column of a table, which people write, by the package that the first one names."""
    rows = re.findall(r"^\| `([\w/]+?)/?(?:\.py)?` \| (.*?) \|", present, re.MULTILINE)
    return {path.replace("/", "."): text for path, text in rows}


def _id(app: str) -> str:
    return app.replace(".", "_")


def _room(name: str) -> str:
    return name.removeprefix("sagas.")
