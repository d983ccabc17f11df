"""Terminals of a reader: one in which commands end, and others in which they go on running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

#: What a shell remembers; everything else is run in a shell of its own.
REMEMBERED = (". ", "cd ", "export ")
COMMAND_SECONDS = 120
STOP_SECONDS = 20


class Failed(Exception):
    """A command did not do what the text says."""


@dataclass
class Terminal:
    """Runs commands one after the other, as a shell would that remembers folder and environment."""

    folder: Path
    environment: dict[str, str]
    log: Path
    remembered: list[str] = field(default_factory=list)
    running: subprocess.Popen[bytes] | None = None

    def run(self, line: str) -> str:
        """Returns what the command printed on its standard output. Raises `Failed`."""
        if line.startswith(REMEMBERED):
            self.remembered.append(line)
        with self.log.open("ab") as errors:
            done = subprocess.run(
                self._shell(line), cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=errors,
                timeout=COMMAND_SECONDS, check=False,
            )  # fmt: skip
        if done.returncode:
            raise Failed(f"$ {line}\n{done.stdout.decode()}\n{self.printed[-3_000:]}\nexit code {done.returncode}")
        return done.stdout.decode()

    def begin(self, line: str) -> None:
        """Start a command and let it run."""
        if line.startswith(REMEMBERED):
            self.remembered.append(line)
            return
        log: IO[bytes] = self.log.open("ab")
        with log:
            self.running = subprocess.Popen(
                self._shell(f"exec {line}"), cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def interrupt(self) -> None:
        """What Ctrl-C does; a process that does not end is killed."""
        if self.running is None:
            return
        for number in (signal.SIGINT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.running.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.running.wait(STOP_SECONDS)
                break
        self.running = None

    @property
    def has_ended(self) -> bool:
        """Whether what should still run has ended by itself."""
        return self.running is not None and self.running.poll() is not None

    @property
    def printed(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _shell(self, line: str) -> list[str]:
        before = [command for command in self.remembered if command != line]
        return ["bash", "-ec", "\n".join([*before, line])]
