"""Writes `docs/reference/mutation.md` from the results of the last runs and from what `survivors.toml` says of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.mutation.rooms import ROOMS
from tests.mutation.workplace import ROOT

PAGE = ROOT / "docs" / "reference" / "mutation.md"
EXPLAINED = Path(__file__).with_name("survivors.toml")
HEAD = """# Mutation run

A mutant is the product with one small change: a comparison reversed, a value replaced by `None`, an argument missing.
A mutant that no test notices survives; it is explained below or a test is missing. The tests of a room are the quick
ones that are about it, not the whole suite, so some survivors are noticed elsewhere.

```
make mutation                                # all rooms, in full; goes on where it stopped
make mutation ROOM=machine                   # one room
make mutation ROOM=engine ARGS="--share 0.2 --seed 1"    # a fifth of its mutants; the same seed takes the same ones
python -m tests.mutation report              # this page
```

The tool is mutmut: it is maintained, forks one child for each mutant from a process that has imported everything (a
second where a new pytest needs six), runs only the tests that call the mutated function, and replaces assignments and
arguments, which is what a state machine consists of. cosmic-ray starts pytest anew for each mutant and has no such
operators. mutmut skips decorated functions; the run works on a copy in which decorators are assignments below their
functions, so that those in a transaction are mutated too. Not mutated: log lines and messages for readers.

A noticed mutant takes 1 to 2 s on a quiet machine and a survivor up to 15 s; ten times that beside much other work. In
full the four rooms have 4,100 mutants: three to four hours. The figures below are of samples, chosen by seed 1. The
score counts mutants that only change a sentence as survivors. `ARGS=--survivors` tests the survivors again, as after
new tests; the first run is the one before them.

"""


@dataclass(frozen=True)
class Survivor:
    """`change` is the line before and after."""

    room: str
    function: str
    change: tuple[str, str]


def write(place: Path) -> None:
    explained = tomllib.loads(EXPLAINED.read_text())
    results = {name: _results(place / name) for name in ROOMS}
    survivors = [survivor for name, found in results.items() for survivor in _survivors(name, place / name, found)]
    PAGE.write_text(HEAD + _scores(results, explained["first_run"]) + _listed(survivors, explained["survivor"]))


def _results(place: Path) -> dict[str, int | None]:
    """Exit codes of the tests, by mutant; None for those not tested yet, 34 for those the sample leaves out."""
    found: dict[str, int | None] = {}
    for path in sorted((place / "mutants").rglob("*.meta")):
        found |= json.loads(path.read_text())["exit_code_by_key"]
    return found


def _scores(results: dict[str, dict[str, int | None]], first_run: dict[str, str]) -> str:
    lines = [f"Last run: {datetime.now(UTC):%d %B %Y}.\n\n"]
    lines.append("| room | mutants | tested | killed | survived | score | first run |\n|---|---|---|---|---|---|---|\n")
    for room, found in results.items():
        counts = Counter(verdict(code) for code in found.values())
        tested = counts["killed"] + counts["survived"]
        score = f"{counts['killed'] / tested:.1%}" if tested else ""
        files = ", ".join(f"`{pattern}`" for pattern in ROOMS[room].files)
        lines.append(
            f"| {room}: {files} | {len(found)} | {tested} | {counts['killed']} | {counts['survived']} | {score} "
            f"| {first_run.get(room, '')} |\n"
        )
    return "".join(lines)


def verdict(code: int | None) -> str:
    """No test that calls the function is a survivor too."""
    if code is None or code == 34:
        return "left out"
    return "survived" if code in (0, 5, 33) else "killed"


def _survivors(room: str, place: Path, results: dict[str, int | None]) -> list[Survivor]:
    names = [name for name, code in results.items() if verdict(code) == "survived"]
    return [_survivor(room, place, name) for name in sorted(names)]


def _survivor(room: str, place: Path, name: str) -> Survivor:
    shown = subprocess.run(
        [Path(sys.executable).parent / "mutmut", "show", name], cwd=place, check=True, capture_output=True, text=True
    ).stdout
    lines = [line for line in shown.splitlines() if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    before = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
    after = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
    module, _, function = name.partition("__mutmut_")[0].rpartition(".")
    return Survivor(
        room, f"{module}.{function.removeprefix('x_').replace('xǁ', '').replace('ǁ', '.')}", (before, after)
    )


def _listed(survivors: list[Survivor], explained: list[dict[str, str]]) -> str:
    known = {(entry["function"], entry["after"]): entry for entry in explained}
    lines = ["\n## Survivors\n\n| where | before → after | kind | why |\n|---|---|---|---|\n"]
    for survivor in survivors:
        before, after = (side.replace("|", "\\|") for side in survivor.change)
        entry = known.get((survivor.function, survivor.change[1]), _by_itself(survivor.change))
        lines.append(f"| `{survivor.function}` | `{before}` → `{after}` | {entry['kind']} | {entry['why']} |\n")
    return "".join(lines)


def _by_itself(change: tuple[str, str]) -> dict[str, str]:
    """What needs no explanation: another sentence in an error. Anything else is open."""
    before, after = (re.sub(r'^(raise|return) (\w+)\((f?"[^"]*"|None)', r"\2(", side) for side in change)
    if before == after:
        return {"kind": "text", "why": "only the sentence of the error changes"}
    return {"kind": "open", "why": "not looked at yet"}
