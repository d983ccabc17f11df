"""Reads a tutorial: what its reader writes and runs, in the order of the text.

    Write `PATH`: / Add to the end of `PATH`:    the next block is that file, or its end
    ```console                                   `$ ` begins a command; the lines below it are what it prints
    ```console NAME                              the same in another terminal, where a command goes on running
    ^C                                           in such a block: stop what runs there

In what a command prints `…` stands for anything on a line, and alone on a line for any lines. A block of another
terminal without a command shows what that one has printed so far.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

FENCE = re.compile(r"^```(\w*) ?(\w*)$")
FILE = re.compile(r"(Write|Add to the end of) `([^`]+)`:$")
STOP = "^C"


class Unreadable(Exception):
    """A block that a reader would not know what to do with."""


@dataclass(frozen=True)
class File:
    """A file to write, or to add to."""

    path: str
    content: str
    is_added: bool


@dataclass
class Command:
    """A line to type in a terminal (empty to look only), and what it prints. The first terminal has no name."""

    terminal: str
    line: str
    expected: list[str] = field(default_factory=list)


Step = File | Command


def read(path: Path) -> list[Step]:
    """Raises `Unreadable`."""
    return [step for before, language, name, lines in _blocks(path) for step in _steps(before, language, name, lines)]


def _blocks(path: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """Each fenced block: the last line of text before it, its language, its terminal, and its lines."""
    lines = path.read_text().splitlines()
    fences = [number for number, line in enumerate(lines) if line.startswith("```")]
    if len(fences) % 2:
        raise Unreadable(f"{path} has a block without an end.")
    for start, end in list(pairwise(fences))[::2]:
        found = FENCE.match(lines[start])
        if found is None:
            raise Unreadable(f"{path}:{start + 1}: {lines[start]}")
        before = next((line for line in reversed(lines[:start]) if line.strip()), "")
        yield before, found[1], found[2], lines[start + 1 : end]


def _steps(before: str, language: str, name: str, lines: list[str]) -> Iterator[Step]:
    if language == "console":
        yield from _commands(name, lines)
        return
    found = FILE.search(before)
    if found is None:
        raise Unreadable(f"Nothing says what to do with the block below: {before}")
    yield File(found[2], "\n".join(lines) + "\n", is_added=found[1] != "Write")


def _commands(name: str, lines: list[str]) -> Iterator[Command]:
    commands: list[Command] = []
    for line in lines:
        if line.startswith("$ ") or line == STOP:
            commands.append(Command(name, line.removeprefix("$ ")))
        elif not commands:
            commands.append(Command(name, "", [line]))
        else:
            commands[-1].expected.append(line)
    yield from commands


def matches(expected: list[str], printed: str) -> bool:
    """Whether this is what was to be printed; `…` stands for anything."""
    parts = ["(?:.*\n)*?" if line == "…" else _line(line) + "\n" for line in expected]
    return re.fullmatch("".join(parts), "".join(f"{line.rstrip()}\n" for line in printed.splitlines())) is not None


def missing(expected: list[str], printed: str) -> list[str]:
    """The lines that do not occur in this order among what was printed."""
    lines = iter(printed.splitlines())
    return [line for line in expected if not any(re.fullmatch(_line(line), found.rstrip()) for found in lines)]


def _line(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.rstrip().split("…"))
