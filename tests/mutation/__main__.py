"""Mutate the rooms and see which mutants no test notices: `python -m tests.mutation [room ...]`.

A run goes on where it stopped: only mutants without a result, and those of changed functions, are tested. `report` in
place of a room writes the page of results.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.mutation import report
from tests.mutation.rooms import ROOMS
from tests.mutation.workplace import ROOT, prepare

#: Matches no mutant: mutmut then only makes the mutants and looks which tests call them.
NONE = "none"
#: mutmut's mark of a mutant that was left out.
SKIPPED = 34


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rooms", nargs="*", choices=[*ROOMS, "report", []], default=list(ROOMS))
    parser.add_argument("--survivors", action="store_true", help="test those again that survived")
    parser.add_argument("--share", type=float, default=1.0, help="test this share of the mutants, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--place", type=Path, default=ROOT / "var" / "mutation", help="where the copies are")
    options = parser.parse_args()
    if options.rooms == ["report"]:
        report.write(options.place)
        return 0
    for name in options.rooms:
        place = options.place / name
        prepare(ROOMS[name], place)
        print(f"--- {name}", flush=True)  # noqa: T201
        if options.survivors:
            test_survivors(place)
        else:
            mutmut(place, "run", NONE, output=subprocess.DEVNULL)
            sample(place, options.share, options.seed)
            mutmut(place, "run", "--max-children", "1")
    return 0


def mutmut(place: Path, *arguments: str, output: int | None = None) -> None:
    """One child at a time: all of them have the name of one test database."""
    environment = os.environ | {"CAMPUSG_VAR_DIR": str(place / "var")}
    command = [Path(sys.executable).parent / "mutmut", *arguments]
    subprocess.run(command, cwd=place, env=environment, check=False, stdout=output, stderr=output)


def sample(place: Path, share: float, seed: int) -> None:
    """Mark the mutants that the sample leaves out as skipped. With one seed a larger share holds the smaller one."""
    names = sorted(name for meta in _metas(place).values() for name in meta["exit_code_by_key"])
    random.Random(seed).shuffle(names)
    chosen = set(names[: round(share * len(names))])
    _change(place, lambda name, result: SKIPPED if name not in chosen else None if result == SKIPPED else result)


def test_survivors(place: Path) -> None:
    """Test those again that survived. mutmut forgets all results when the choice of tests changes; here they stay."""
    before: dict[str, int | None] = {}
    for meta in _metas(place).values():
        before |= meta["exit_code_by_key"]
    survivors = [name for name, result in before.items() if report.verdict(result) == "survived"]
    mutmut(place, "run", "--max-children", "1", *survivors)
    _change(place, lambda name, result: result if name in survivors else before.get(name, result))


def _change(place: Path, new_result: Callable[[str, int | None], int | None]) -> None:
    for path, meta in _metas(place).items():
        results = meta["exit_code_by_key"]
        meta["exit_code_by_key"] = {name: new_result(name, result) for name, result in results.items()}
        path.write_text(json.dumps(meta, indent=4))


def _metas(place: Path) -> dict[Path, dict[str, Any]]:
    """mutmut's own files of results, one for each mutated file."""
    return {path: json.loads(path.read_text()) for path in sorted((place / "mutants").rglob("*.meta"))}


if __name__ == "__main__":
    sys.exit(main())
