"""A copy of the project for one room, in which mutmut works: `var/mutation/<room>/`.

mutmut mutates no decorated function. In the copy each decorator becomes an assignment below its function, which means
the same, so that functions in a transaction are mutated like all others.
"""

from __future__ import annotations

import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import libcst

from tests.mutation.rooms import SLOW, Room

ROOT = Path(__file__).resolve().parents[2]
#: Lines in which nothing is mutated: what they say is for people's eyes.
FOR_PEOPLE = (
    r"logger\.",
    r"log_extra",
    r"_log_on_commit\(",
    r"extra=",
    r"^\s*f?\"",
    r"^\s*message = ",
    r"return f\"\{place\}",
)


def prepare(room: Room, place: Path) -> None:
    """Bring the copy up to date. Results of an earlier run stay; mutmut tests again what changed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    kept = {Path(name) for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    for path in kept:
        _copy(path, place, is_mutated=any(fnmatch(str(path), pattern) for pattern in room.files))
    _remove_others(place, kept)
    (place / "setup.cfg").write_text(_settings(room, {path.parts[0] for path in kept}))


def _copy(path: Path, place: Path, *, is_mutated: bool) -> None:
    source, target = ROOT / path, place / path
    content = source.read_bytes()
    if is_mutated:
        content = undecorated(content.decode()).encode()
    if not target.exists() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        shutil.copymode(source, target)


def _remove_others(place: Path, kept: set[Path]) -> None:
    """Files that the project no longer has, also from mutmut's own copy."""
    for copy in (place, place / "mutants"):
        for found in list(copy.rglob("*.py")):
            inside = found.relative_to(copy)
            if inside.parts[0] != "mutants" and inside not in kept:
                found.unlink()


def _settings(room: Room, copied: set[str]) -> str:
    """`setup.cfg` for mutmut: which files, which tests, and how long a mutant may take."""
    roots = sorted({pattern.partition("/")[0] for pattern in room.files})
    options = {
        "source_paths": roots,
        "only_mutate": room.files,
        "also_copy": sorted(copied - set(roots) - {"tests", "pyproject.toml"}),
        "do_not_mutate_patterns": FOR_PEOPLE,
        "pytest_add_cli_args_test_selection": (*room.tests, *(f"--deselect={name}" for name in SLOW)),
        "pytest_add_cli_args": ("-p", "no:cacheprovider", "-p", "no:xdist", "--reuse-db"),
    }
    # From the fork server children start without what earlier tests left in memory, such as cached replays.
    lines = ["[mutmut]", "process_isolation = forkserver", "timeout_multiplier = 2", "timeout_constant = 10"]
    for name, values in options.items():
        lines += [f"{name} =", *(f"    {value}" for value in values)]
    return "\n".join(lines) + "\n"


# -- decorators -----------------------------------------------------------------------------------------------------
def undecorated(source: str) -> str:
    """The same module with each function's decorators applied by assignments below it."""
    return libcst.parse_module(source).visit(_Undecorate()).code


class _Undecorate(libcst.CSTTransformer):
    def leave_FunctionDef(  # noqa: N802 - the library's name
        self, original_node: libcst.FunctionDef, updated_node: libcst.FunctionDef
    ) -> libcst.FunctionDef | libcst.FlattenSentinel[libcst.BaseStatement]:
        if not updated_node.decorators:
            return updated_node
        name = updated_node.name
        value: libcst.BaseExpression = name
        for decorator in reversed(updated_node.decorators):
            value = libcst.Call(decorator.decorator, [libcst.Arg(value)])
        assignment = libcst.Assign([libcst.AssignTarget(name)], value)
        line = libcst.SimpleStatementLine([assignment])
        return libcst.FlattenSentinel([updated_node.with_changes(decorators=[]), line])
