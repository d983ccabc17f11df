"""The first start installs the product. No test here needs a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from campusg.launch import bootstrap
from campusg.launch.bootstrap import CannotInstall, Environment

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An installation that needs nothing: its requirements file names no package."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# nothing\n")
    return Environment(tmp_path, [requirements])


def install(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the installation with an installer that only creates the folder. Returns what was done."""
    done: list[str] = []

    def make(folder: Path, python: Path, requirements: list[Path]) -> None:
        done.append("made")
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(bootstrap, "install_with_first_that_works", make)
    environment.install()
    return done


def test_an_installation_is_complete_only_with_its_stamp(environment: Environment, monkeypatch) -> None:
    assert not environment.is_complete
    install(environment, monkeypatch)
    assert environment.is_complete
    assert not environment.lock.exists()


def test_a_changed_lock_file_makes_it_incomplete(environment: Environment, monkeypatch) -> None:
    install(environment, monkeypatch)
    environment.requirements[0].write_text("django==5.2.19\n")
    assert not environment.is_complete


def test_an_interrupted_installation_starts_over(environment: Environment, monkeypatch, capsys) -> None:
    install(environment, monkeypatch)
    leftover = environment.folder / "half-written"
    leftover.touch()
    environment.lock.touch()
    assert not environment.is_complete
    assert install(environment, monkeypatch) == ["made"]
    assert not leftover.exists()
    assert environment.is_complete
    assert "interrupted" in capsys.readouterr().err


def test_a_failed_installation_counts_as_interrupted(environment: Environment, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise CannotInstall("no way")

    monkeypatch.setattr(bootstrap, "install_with_first_that_works", fail)
    with pytest.raises(CannotInstall):
        environment.install()
    assert environment.lock.exists()


def test_two_first_starts_install_once(environment: Environment, monkeypatch, tmp_path: Path) -> None:
    """Another process holds the lock and installs. After that there is nothing left to do."""
    script = (
        "import fcntl, pathlib, sys, time\n"
        "lock = pathlib.Path(sys.argv[1]); file = lock.open('a'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(0.5); lock.unlink()\n"
    )
    install(environment, monkeypatch)
    other = subprocess.Popen([sys.executable, "-c", script, str(environment.lock)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    other.stdout.readline()
    assert install(environment, monkeypatch) == []
    assert other.wait() == 0
    other.stdout.close()


def test_tests_need_the_test_requirements_too() -> None:
    assert [file.name for file in bootstrap.requirements_for(["manage.py", "up"])] == ["requirements.txt"]
    wanted = [file.name for file in bootstrap.requirements_for(["manage.py", "test", "-x"])]
    assert wanted == ["requirements.txt", "requirements-test.txt"]


def test_pins_are_read_and_those_of_other_platforms_left_out(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(
        "celery==5.7.0 \\\n    --hash=sha256:00\n    # via -r requirements.in\n"
        "colorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:00\nkombu[redis]==5.7.0 \\\n"
    )
    assert bootstrap.pins(file) == {"celery": "5.7.0", "kombu": "5.7.0"}


def test_this_interpreter_has_every_pin() -> None:
    assert bootstrap.has_every_pin([ROOT / "requirements.txt"])


def test_an_interpreter_without_a_pin_is_not_enough(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("no-such-package-anywhere==1.0\n")
    assert not bootstrap.has_every_pin([file])


def test_it_can_be_switched_off(monkeypatch) -> None:
    monkeypatch.setenv("CAMPUSG_BOOTSTRAP", "0")
    monkeypatch.setattr(bootstrap, "requirements_for", lambda _: pytest.fail("must not be called"))
    bootstrap.ensure(["manage.py", "up"])


def test_an_old_python_is_refused_with_advice(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CannotInstall, match=r"this is Python 3\.9; Python 3\.11 or newer is needed"):
        bootstrap.install_with_first_that_works(tmp_path / ".venv", tmp_path / "python", [])


def test_it_imports_nothing_but_the_standard_library() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import campusg.launch.bootstrap; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout.split()
    assert {name.split(".")[0] for name in loaded} - {"campusg", "__main__"} <= set(sys.stdlib_module_names)


def test_no_package_index_is_named() -> None:
    source = Path(bootstrap.__file__).read_text()
    assert "--index" not in source
    assert "pypi" not in source.lower()
