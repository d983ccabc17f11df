"""How the tutorial is read, and that nothing in it is left out. `python -m tests.tutorial` carries it out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorial.terminals import Failed, Terminal
from tests.tutorial.text import Command, File, Unreadable, matches, missing, read

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial" / "book-a-seat.md"


def written(folder: Path, text: str) -> Path:
    path = folder / "tutorial.md"
    path.write_text(text)
    return path


def test_files_and_commands_come_in_the_order_of_the_text(tmp_path: Path) -> None:
    text = written(
        tmp_path,
        "Some words. Write `a/b.py`:\n\n```python\nx = 1\n```\n"
        "```console\n$ one\nprinted\n$ two\n```\n"
        "Add to the end of `a/b.py`:\n```python\ny = 2\n```\n"
        "```console server\n$ serve\n^C\n```\n```console server\nit said\nso\n```\n",
    )
    assert read(text) == [
        File("a/b.py", "x = 1\n", is_added=False),
        Command("", "one", ["printed"]),
        Command("", "two"),
        File("a/b.py", "y = 2\n", is_added=True),
        Command("server", "serve"),
        Command("server", "^C"),
        Command("server", "", ["it said", "so"]),
    ]


@pytest.mark.parametrize(
    "block",
    ["For example:\n```python\nx = 1\n```\n", "Write `a.py`:\n```python\nx = 1\n", "```python numbers=1\nx\n```\n"],
    ids=["nobody says what it is", "no end", "unknown words"],
)
def test_a_block_that_a_reader_could_not_place_is_an_error(tmp_path: Path, block: str) -> None:
    with pytest.raises(Unreadable):
        read(written(tmp_path, block))


@pytest.mark.parametrize(
    ("expected", "printed", "is_right"),
    [
        (["a … c"], "a b c\n", True),
        (["a … c"], "a b d\n", False),
        (["a"], "a\nb\n", False),
        (["…", "b"], "x\ny\nb\n", True),
        (["…", "b"], "b\n", True),
        (["a  b"], "a b\n", False),
        (["a (b)"], "a (b)   \n", True),
    ],
)
def test_what_is_printed_is_compared_line_by_line(expected: list[str], printed: str, is_right: bool) -> None:
    assert matches(expected, printed) is is_right


def test_lines_of_another_terminal_must_come_in_their_order() -> None:
    assert missing(["a …", "c"], "a 1\nb\nc\n") == []
    assert missing(["c", "a …"], "a 1\nb\nc\n") == ["a …"]


def test_a_terminal_remembers_its_folder_and_its_environment(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, {"PATH": "/usr/bin:/bin"}, tmp_path / "log")
    for line in ("mkdir inside", "cd inside", "export SEAT=12A"):
        terminal.run(line)
    assert terminal.run('echo "$(basename "$PWD") $SEAT"') == "inside 12A\n"
    with pytest.raises(Failed, match="exit code 3"):
        terminal.run("exit 3")


def test_the_tutorial_can_be_read_and_its_python_compiles() -> None:
    steps = read(TUTORIAL)
    files = [step for step in steps if isinstance(step, File)]
    for file in files:
        if file.path.endswith(".py"):
            compile(file.content, file.path, "exec")
    assert len({file.path for file in files}) == 9
    assert [step.line for step in steps if isinstance(step, Command)][-1] == "python -m pytest -q"
