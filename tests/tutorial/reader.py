"""A reader who does what the tutorial says, in an empty folder, and compares what is printed with the text."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.tutorial.terminals import Failed, Terminal
from tests.tutorial.text import STOP, Command, File, Step, matches, missing

#: Commands that only look: a reader repeats them until they show what the text shows.
LOOKS = re.compile(r"^python manage\.py (sagas (list|show)|verify)")
PATIENCE_SECONDS = 40
#: Stands in the text for the first id in what was printed last.
PLACEHOLDER = "SAGA_ID"
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass
class Reader:
    """`first_done_after` is how many seconds passed before the first saga was seen COMPLETED."""

    folder: Path
    environment: dict[str, str]
    logs: Path
    files: dict[str, int] = field(default_factory=dict)
    commands: int = 0
    first_done_after: float = 0.0
    _last_id: str = ""
    _began_at: float = field(default_factory=time.monotonic)
    _others: dict[str, Terminal] = field(default_factory=dict)

    def carry_out(self, steps: list[Step]) -> None:
        """Raises `Failed` at the first step that does not do what the text says."""
        for step in steps:
            if isinstance(step, File):
                self._write(step)
            elif step.terminal:
                self._elsewhere(step)
            else:
                self._here(step)

    def leave(self) -> None:
        for terminal in self._others.values():
            terminal.interrupt()

    @cached_property
    def main(self) -> Terminal:
        return self._terminal(self.folder, "first")

    @property
    def project(self) -> Path:
        """The folder the first terminal is in."""
        folders = [line.removeprefix("cd ") for line in self.main.remembered if line.startswith("cd ")]
        return self.folder.joinpath(*folders)

    def terminal(self, name: str) -> Terminal:
        if name not in self._others:
            self._others[name] = self._terminal(self.project, name)
        return self._others[name]

    def _terminal(self, folder: Path, name: str) -> Terminal:
        return Terminal(folder, self.environment, self.logs / f"{name}.log")

    # -- steps --------------------------------------------------------------------------------------------------
    def _write(self, file: File) -> None:
        path = self.project / file.path
        with path.open("a" if file.is_added else "w") as out:
            out.write(file.content)
        self.files[file.path] = self.files.get(file.path, 0) + len(file.content.splitlines())
        self._say(f"{'adds to' if file.is_added else 'writes'} {file.path}")

    def _here(self, command: Command) -> None:
        line = command.line.replace(PLACEHOLDER, self._last_id)
        self._say(f"$ {line}")
        self.commands += 1
        printed = self.main.run(line)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while command.expected and not matches(command.expected, printed):
            if time.monotonic() > deadline or not LOOKS.match(line):
                raise Failed("\n".join([f"$ {line}", "The text says:", *command.expected, "It printed:", printed]))
            self._require_others()
            time.sleep(0.3)
            printed = self.main.run(line)
        if found := ID.findall(printed):
            self._last_id = found[0]
        if "COMPLETED" in "".join(command.expected) and not self.first_done_after:
            self.first_done_after = time.monotonic() - self._began_at

    def _elsewhere(self, command: Command) -> None:
        terminal = self.terminal(command.terminal)
        if command.line == STOP:
            self._say(f"({command.terminal}) stops it")
            terminal.interrupt()
        elif command.line:
            self._say(f"({command.terminal}) $ {command.line}")
            self.commands += 1
            terminal.begin(command.line)
        elif absent := missing(command.expected, terminal.printed):
            raise Failed("\n".join(["The text shows, and it was not printed:", *absent, "", terminal.printed]))

    def _require_others(self) -> None:
        for name, terminal in self._others.items():
            if terminal.has_ended:
                raise Failed(f"({name}) ended by itself:\n{terminal.printed[-3_000:]}")

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began_at:6.1f} s  {what}", flush=True)
