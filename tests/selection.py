"""What `manage.py test --quick` runs: the tests of what changed, without those marked `slow`.

What changed is the difference to the merge base with `main`, and what is not committed yet. Without a change, or
outside of a git repository, all tests run that are not slow.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.options import Options

EVERYTHING = "tests"
#: The test folders of an app and of the apps that import it. The stories use all apps.
TESTS_OF = {
    "sagas": (EVERYTHING,),
    "payments": ("tests/payments", "tests/orders", "tests/campusg", "tests/stories"),
    "timers": ("tests/timers", "tests/orders", "tests/campusg", "tests/stories"),
    "orders": ("tests/orders", "tests/campusg", "tests/stories"),
    "campusg": ("tests/campusg", "tests/stories"),
    "docs": ("tests/test_documents.py", "tests/campusg/test_configuration.py"),
    "benchmarks": (),
}
MAIN = ("main", "origin/main")


def narrow(wanted: Options, root: Path) -> tuple[Options, str]:
    """The options for the quick run, and a sentence for the user.

    Paths among the arguments are kept. The slow tests of a file run if the file itself is selected, not its folder.
    """
    given = [path for argument in wanted.arguments if (root / (path := argument.split("::")[0])).exists()]
    changed = [] if given else changed_files(root)
    selected = [] if given else tests_for(changed, root)
    files = [path for path in given or selected if (root / path).is_file()]
    arguments = ["--without-slow", *(f"--slow-from={file}" for file in files), *wanted.arguments, *selected]
    sentence = "the given tests" if given else f"{len(changed)} changed files, so {' '.join(selected)}"
    return dataclasses.replace(wanted, arguments=arguments), f"{sentence}, without the slow tests"


def tests_for(changed: Iterable[str], root: Path) -> list[str]:
    """The test files and folders for these changed files, all relative to `root`."""
    paths = {path for name in changed for path in _tests_of(name, root)}
    return sorted(paths) if paths and EVERYTHING not in paths else [EVERYTHING]


def _tests_of(name: str, root: Path) -> Iterable[str]:
    file = Path(name)
    if file.parts[0] == "tests":
        return _tests_beside(file, root)
    if file.suffix == ".md":
        return TESTS_OF["docs"]
    return TESTS_OF.get(file.parts[0], (EVERYTHING,))


def _tests_beside(file: Path, root: Path) -> Iterable[str]:
    """A test file itself; for any other file in a folder of tests, the tests of that folder."""
    if file.name.startswith("test_"):
        return (str(file),) if (root / file).exists() else ()
    has_tests = any((root / file.parent).glob("test_*.py"))
    return (str(file.parent),) if has_tests else (EVERYTHING,)


def changed_files(root: Path) -> list[str]:
    """Sorted and relative to `root`; of a renamed file both names."""
    base = next((found[0] for branch in MAIN if (found := _git(root, "merge-base", "HEAD", branch))), "HEAD")
    changed = _git(root, "diff", "--name-only", "--no-renames", base)
    return sorted({*changed, *_git(root, "ls-files", "--others", "--exclude-standard")})


def _git(root: Path, *arguments: str) -> list[str]:
    """The lines it prints; none if it fails or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return done.stdout.splitlines()
