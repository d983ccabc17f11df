"""Cleans up after a process that was killed before it could do so itself.

A guardian runs beside its owner and reads from it, one JSON document a line: `{"watch": process group}`,
`{"forget": process group}`, `{"afterwards": [command]}`. The input ends when the owner does, however it ends; then
what is still watched is killed, the commands are run and the folder is removed.
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


class Guardian:
    """The owner's end."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-I", __file__, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True, cwd="/")

    def watch(self, group: int) -> None:
        self._tell({"watch": group})

    def forget(self, group: int) -> None:
        self._tell({"forget": group})

    def afterwards(self, command: list[str]) -> None:
        self._tell({"afterwards": command})

    def _tell(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it do its work and wait for that."""
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
