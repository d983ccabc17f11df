"""The package `campusg-sagas`, built and installed alone."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

from tests.tutorial.terminals import Failed

#: In the folder, and not in the wheel.
ABOUT_IT = {"pyproject.toml", "README.md", "LICENSE"}
#: What comes with an extra only.
EXTRAS = ("djangorestframework", "django-filter", "django-unfold", "psycopg2-binary", "drf-spectacular")
RUNS = 3


def check(root: Path, folder: Path, environment: dict[str, str]) -> float:
    """Build, install and run it. Returns how many seconds the README's first file takes. Raises `Failed`."""
    folder.mkdir()
    run([sys.executable, "-m", "venv", str(folder / "venv")], environment)
    python = folder / "venv" / "bin" / "python"
    wheel = build(python, root, folder, environment)
    require_every_file(root, wheel)
    run([str(python), "-m", "pip", "install", "-q", str(wheel)], environment)
    require_no_extra(python, environment)
    (folder / "first_saga.py").write_text(first_file(root / "sagas" / "README.md"))
    return statistics.median(seconds([str(python), "first_saga.py"], folder, environment) for _ in range(RUNS))


def first_file(readme: Path) -> str:
    return re.findall(r"^```python\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)[0]


def build(python: Path, root: Path, folder: Path, environment: dict[str, str]) -> Path:
    run([str(python), "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(root / "sagas")], environment)
    [wheel] = folder.glob("*.whl")
    return wheel


def require_every_file(root: Path, wheel: Path) -> None:
    """The wheel holds every file of the folder that git knows, below `sagas/`, and nothing else."""
    known = run(["git", "-C", str(root), "ls-files", "sagas"], environment=None).splitlines()
    wanted = {path for path in known if path.removeprefix("sagas/") not in ABOUT_IT}
    packed = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    if wanted != packed:
        raise Failed(f"Not in the wheel: {sorted(wanted - packed)}; only there: {sorted(packed - wanted)}")


def require_no_extra(python: Path, environment: dict[str, str]) -> None:
    installed = run([str(python), "-m", "pip", "list", "--format=freeze"], environment).lower()
    if found := [name for name in EXTRAS if f"{name}==" in installed]:
        raise Failed(f"Installed without being asked for: {found}")


def seconds(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    began_at = time.monotonic()
    printed = run(command, environment, folder)
    took = time.monotonic() - began_at
    if "status  COMPENSATED" not in printed:
        raise Failed(f"The first file printed:\n{printed}")
    return took


def run(command: list[str], environment: dict[str, str] | None, folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"$ {' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return done.stdout
