"""One word for one thing. The words this project once used for the field's terms stay out of code, tests and docs.

What is stored or sent keeps its name for good (`KEPT`): columns, history actions and texts of old migrations. Decision
records and the changelog tell of the past and may use any word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

ROOT = Path(settings.BASE_DIR)
KINDS = {".py", ".md", ".html", ".js", ".toml", ".yml", ".sh", ""}
LEFT_OUT = {"migrations", "decisions", "CHANGELOG.md", "test_vocabulary.py", "var"}

#: What is written today for what once was written, as a regular expression.
TERMS = {
    "step message": r"(?<![.\"])\bhint(s|ed)?\b(?! ?[=:\[,)\"]| or| in|\.)",
    "dispatch, redispatch": r"\b(re-?)?(drives?|drove|driven|driving)\b",
    "replay": r"\bfold(s|ed|ing)?\b",
    "release": r"\bramp(s|ed|ing)?\b",
    "process_message": r"\bfollow\(|\bfollowed by the engine\b",
    "run inline": r"\b(run|runs|ran|running)[ _-]ahead\b",
    "failed, compensating": r"\bturned\b",
    "pending_events, record": r"\bnews\b|\bnote\(",
    "resume_held": r"\b(let|lets|letting)[ _]go\b",
    "reaper": r"\bguardians?\b",
    "test environment": r"\blanes?\b",
    "queue repair": r"\bdead[ _]queues?\b",
    "order_locks, checks": r"\bguard(s|ed|ing)?\b",
    "rotate_key": r"\bturn_key\b",
    "payload": r"\bwish(es)?\b",
    "log_extra": r"\btold\b",
    "error, failure": r"\btroubles?\b",
    "returns": r"\"\"\"(?-i:Answers)\b|[;,] answers (how|the|which|those|whether|its|their|it)\b",
    "timer": r"\balarm(s|ed)?\b|\b(ring|rings|ringing|rung|rang)\b",
    "cluster": r"\b(city|town)\b",
    "load": r"\bcrowds?\b",
    "clients": r"\bpeople\b(?= *[=.(\[])|\berrands?\b",
    "monitor": r"\bboards?\b",
    "expected outcomes": r"\bfates?\b",
    "provider faults": r"\bmisbehaviours?\b",
    "fault profile": r"\bweather\b",
    "fixtures": r"\bjourneys\b",
}
#: Names that are stored or sent, and so stay.
KEPT = re.compile(r"""\b(redriven|let_go|ramped_at)\b|["'`](drives|troubles)["'`]|--lane|Ring bell""")


def texts() -> Iterator[tuple[Path, list[str]]]:
    rooms = ("campusg", "orders", "payments", "timers", "sagas", "tests", "benchmarks", "docs", ".ci")
    files = [path for room in rooms for path in (ROOT / room).rglob("*")] + list(ROOT.glob("*"))
    for path in files:
        place = path.relative_to(ROOT)
        if path.is_file() and path.suffix in KINDS and not LEFT_OUT & set(place.parts):
            yield place, path.read_text(errors="replace").splitlines()


def test_old_words_are_gone() -> None:
    found = [
        f"{place}:{number}: {match[0]!r} is now called {term}: {line.strip()[:90]}"
        for place, lines in texts()
        for number, line in enumerate(lines, start=1)
        for term, old in TERMS.items()
        if (match := re.search(old, KEPT.sub("", line), re.IGNORECASE))
    ]
    assert not found, "\n" + "\n".join(found)


def test_the_search_reaches_every_room() -> None:
    places = {place.parts[0] for place, _ in texts()}
    assert places >= {"campusg", "orders", "payments", "timers", "sagas", "tests", "benchmarks", "docs", "README.md"}
