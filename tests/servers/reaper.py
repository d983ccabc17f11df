"""Stops the servers of a process that was killed before it could stop them.

A reaper is a process beside its owner. It reads one JSON document a line from the owner: `{"watch": process group}`,
`{"forget": process group}`, `{"afterwards": [command]}`. Its input ends when the owner ends, however that happens.
Then it kills the process groups it still watches, runs the commands and removes the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path


class Reaper:
    """The owner's side."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-I", __file__, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True, cwd="/")

    def watch(self, group: int) -> None:
        self._send({"watch": group})

    def forget(self, group: int) -> None:
        self._send({"forget": group})

    def afterwards(self, command: list[str]) -> None:
        self._send({"afterwards": command})

    def _send(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it clean up, and wait until it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main(folder: str) -> None:
    groups: set[int] = set()
    commands: list[list[str]] = []
    for line in sys.stdin:
        message = json.loads(line)
        groups |= {message["watch"]} if "watch" in message else set()
        groups -= {message["forget"]} if "forget" in message else set()
        commands += [message["afterwards"]] if "afterwards" in message else []
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    for command in commands:
        subprocess.run(command, capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
