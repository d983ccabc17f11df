"""Makes the project run on a machine with nothing but Python: installs the pinned requirements, once, into `.venv`.

Only the standard library, and only syntax that an older Python can read, so that it can at least say what is wrong.
What a run finds decides what it does:

    CAMPUSG_BOOTSTRAP=0                        run here, whatever is installed
    .venv is complete for these requirements   run there (or here, if this is it)
    this interpreter has every pin             run here: a container, a virtual environment of one's own
    otherwise                                  install into .venv, then run there

No package index is named: pip and uv use what their own configuration says. Every file is checked against its hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where two first starts at once are not kept apart
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

ROOT = Path(__file__).resolve().parents[2]
OLDEST_PYTHON = (3, 11)
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)([^\\]*)")


class CannotInstall(Exception):
    """There is no way to install; the message says what would help."""


def ensure(argv: list[str]) -> None:
    """Return if this interpreter can run the command, else do not return: run it in `.venv`."""
    if os.environ.get("CAMPUSG_BOOTSTRAP") == "0":
        return
    environment = Environment(ROOT, requirements_for(argv))
    try:
        environment.enter([sys.executable, *argv])
    except CannotInstall as reason:
        sys.exit(f"CampusG cannot be installed here: {reason}")
    except KeyboardInterrupt:
        sys.exit("Interrupted; the next start begins again.")


def requirements_for(argv: list[str]) -> list[Path]:
    names = ["requirements.txt"] + (["requirements-test.txt"] if argv[1:2] == ["test"] else [])
    return [ROOT / name for name in names]


def say(message: str) -> None:
    """To stderr: the output of a command belongs to the command."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201


class Environment:
    """The virtual environment in `root/.venv` and what must be installed in it."""

    def __init__(self, root: Path, requirements: list[Path]) -> None:
        self.folder = root / ".venv"
        self.requirements = requirements
        #: Held while installing; one that nobody holds is the mark of an interrupted installation.
        self.lock = root / ".venv.lock"

    @property
    def python(self) -> Path:
        windows = self.folder / "Scripts" / "python.exe"
        return windows if os.name == "nt" else self.folder / "bin" / "python"

    @property
    def is_current(self) -> bool:
        return Path(sys.prefix).resolve() == self.folder.resolve()

    def stamp(self, requirements: Path) -> Path:
        return self.folder / f"{requirements.stem}.installed"

    @property
    def is_complete(self) -> bool:
        return not self.lock.exists() and self.is_stamped

    @property
    def is_stamped(self) -> bool:
        stamps = [(self.stamp(file), fingerprint(file)) for file in self.requirements]
        return self.python.exists() and all(stamp.exists() and stamp.read_text() == wanted for stamp, wanted in stamps)

    def enter(self, argv: list[str]) -> None:
        if not self.is_complete:
            if not self.lock.exists() and has_every_pin(self.requirements):
                return
            self.install()
        if not self.is_current:
            self.run(argv[1:])

    def run(self, argv: list[str]) -> None:
        command = [str(self.python), *argv]
        if os.name == "nt":
            sys.exit(subprocess.call(command))
        os.execv(command[0], command)  # noqa: S606

    def install(self) -> None:
        with one_at_a_time(self.lock) as was_interrupted:
            if was_interrupted:
                say("An earlier installation was interrupted; starting over.")
                shutil.rmtree(self.folder, ignore_errors=True)
            elif self.is_stamped:
                return
            count = sum(len(pins(file)) for file in self.requirements)
            say(f"Installing {count} pinned packages into {self.folder.name} (once; half a minute or so) …")
            began = time.monotonic()
            install_with_first_that_works(self.folder, self.python, self.requirements)
            for file in self.requirements:
                self.stamp(file).write_text(fingerprint(file))
            say(f"Installed in {time.monotonic() - began:.0f} s.")


def fingerprint(requirements: Path) -> str:
    return hashlib.sha256(requirements.read_bytes()).hexdigest()


def pins(requirements: Path) -> dict[str, str]:
    """The packages of a requirements file that every platform needs, with their versions."""
    found = (PIN.match(line) for line in requirements.read_text(encoding="utf-8").splitlines())
    return {match[1]: match[2] for match in found if match and ";" not in match[3]}


def has_every_pin(requirements: list[Path]) -> bool:
    if sys.version_info < OLDEST_PYTHON:
        return False
    try:
        return all(
            importlib.metadata.version(name) == version for file in requirements for name, version in pins(file).items()
        )
    except importlib.metadata.PackageNotFoundError:
        return False


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[bool]:
    """Hold `lock`; yields whether its last holder died half way. The file goes away only when the work is done."""
    lay_there = lock.exists()
    with lock.open("a") as file:
        has_waited = hold(file)
        other_finished = has_waited and not lock.exists()
        yield (lay_there or has_waited) and not other_finished
    lock.unlink(missing_ok=True)


def hold(file: IO[str]) -> bool:
    """Lock an open file until it is closed or this process ends; returns whether somebody else had to end first."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Another installation is under way; waiting for it.")
        fcntl.flock(file, fcntl.LOCK_EX)
        return True
    return False


def install_with_first_that_works(folder: Path, python: Path, requirements: list[Path]) -> None:
    failures = []
    for way in (install_with_uv, install_with_own_pip, install_with_outer_pip):
        try:
            way(folder, python, requirements)
            return
        except CannotInstall as reason:
            failures.append(f"  - {reason}")
    # A reason may hold for several ways; said once is enough.
    raise CannotInstall("no way to install worked.\n" + "\n".join(dict.fromkeys(failures)))


def install_with_uv(folder: Path, python: Path, requirements: list[Path]) -> None:
    uv = shutil.which("uv")
    if uv is None:
        raise CannotInstall("uv is not on PATH (https://docs.astral.sh/uv/ installs it without root)")
    if not python.exists():
        wanted = sys.executable if sys.version_info >= OLDEST_PYTHON else f">={dotted(OLDEST_PYTHON)}"
        run([uv, "venv", "--quiet", "--allow-existing", "--python", wanted, str(folder)])
    run([uv, "pip", "install", "--python", str(python), "--require-hashes", *files(requirements)])


def install_with_own_pip(folder: Path, python: Path, requirements: list[Path]) -> None:
    require_python()
    if not python.exists():
        run([sys.executable, "-m", "venv", str(folder)])
    run_pip([str(python), "-m", "pip", *pip_install(requirements)])


def install_with_outer_pip(folder: Path, python: Path, requirements: list[Path]) -> None:
    """For systems that split `ensurepip` off: a venv without pip, filled by the pip of the running interpreter."""
    require_python()
    if not python.exists():
        run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    run_pip([sys.executable, "-m", "pip", "--python", str(python), *pip_install(requirements)])


def require_python() -> None:
    if sys.version_info < OLDEST_PYTHON:
        raise CannotInstall(
            f"this is Python {dotted(sys.version_info[:2])}; Python {dotted(OLDEST_PYTHON)} or newer is needed "
            "(or uv, which can bring its own)"
        )


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def pip_install(requirements: list[Path]) -> list[str]:
    return ["install", "--disable-pip-version-check", "--progress-bar=off", "--require-hashes", *files(requirements)]


def files(requirements: list[Path]) -> list[str]:
    return [word for file in requirements for word in ("-r", str(file))]


def run(command: list[str]) -> None:
    """Run with its output on stderr, so that the user sees what happens."""
    try:
        subprocess.run(command, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotInstall(f"`{' '.join(command[:4])} …` failed: {error}") from error


def run_pip(command: list[str]) -> None:
    """Run pip, with one growing line instead of its hundreds."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        output = [line for line in process.stdout or () if not show_progress(line)]
    print(file=sys.stderr)  # noqa: T201
    if process.returncode:
        say("".join(output[-20:]))
        raise CannotInstall(f"`{' '.join(command[:4])} …` failed with {process.returncode}")


def show_progress(line: str) -> bool:
    """A dot for each package; returns whether the line was one about a package."""
    is_package = line.startswith("Collecting ")
    if is_package or line.startswith("Installing collected packages"):
        print("." if is_package else " unpacking", end="", file=sys.stderr, flush=True)  # noqa: T201
    return is_package
