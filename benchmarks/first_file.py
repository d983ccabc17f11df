"""How long a first file takes as a whole process: that of the package's README, and the same with DBOS.

    python -m benchmarks.first_file --runs 9

Each is run in a virtual environment of its own, which pip makes, in turns, with a new SQLite file each time and again
with the one it just made. Prints the medians in seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.tutorial.package import first_file

ROOT = Path(__file__).resolve().parents[1]
#: What each installs, its file, the database it makes, and what it must print.
PROGRAMS = {
    "campusg-sagas": (str(ROOT / "sagas"), first_file(ROOT / "sagas" / "README.md"), "first_saga.sqlite3"),
    "dbos": ("dbos", (ROOT / "benchmarks" / "first_file_dbos.py").read_text(), "first_dbos.sqlite3"),
}


def install(folder: Path, requirement: str) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", requirement], check=True)
    return python


def seconds(python: Path, program: Path) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DJANGO"))}
    began_at = time.monotonic()
    done = subprocess.run(
        [str(python), program.name], cwd=program.parent, env=environment, capture_output=True, text=True, check=True
    )
    took = time.monotonic() - began_at
    if "COMPENSATED" not in done.stdout or "free again" not in done.stdout:
        raise SystemExit(f"{program.name} printed:\n{done.stdout}")
    return took


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory(prefix="campusg-first-") as name:
        installed = {}
        for library, (requirement, text, _) in PROGRAMS.items():
            program = Path(name) / library / "first.py"
            program.parent.mkdir()
            program.write_text(text)
            installed[library] = (install(program.parent / "venv", requirement), program)
        times: dict[tuple[str, str], list[float]] = {}
        for _ in range(runs):
            for library, (python, program) in installed.items():
                for database in program.parent.glob(f"{PROGRAMS[library][2]}*"):
                    database.unlink()
                for kind in ("new database", "again"):
                    times.setdefault((library, kind), []).append(seconds(python, program))
    for (library, kind), found in sorted(times.items()):
        print(f"{library:<14} {kind:<13} median {statistics.median(found):.2f} s, fastest {min(found):.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    main(parser.parse_args().runs)
