from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone

from sagas.verification.invariants import Invariant
from sagas.verification.verify import Verdict, codes, invariants, verify

#: How long it works without a word on a terminal.
QUIET_SECONDS = 2.0
#: Exit codes: 1 means that a breach was found, 2 that nothing could be judged.
FOUND, FAILED = 1, 2


class Command(BaseCommand):
    help = (
        "Judges all rows by the invariants: what must always be true. Reads one snapshot, writes nothing, locks "
        "nothing; safe beside a running system. Exit 1 on a breach, 2 if it could not look."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON document")
        parser.add_argument("--only", type=_codes, default=[], metavar="I5,I7", help=f"some of {', '.join(codes())}")
        parser.add_argument("--limit", type=int, default=5, help="examples shown for each invariant (default: 5)")

    def handle(self, *, as_json: bool, only: list[str], limit: int, **_: Any) -> None:
        began_at, moment = time.monotonic(), timezone.now()
        chosen = [invariant for invariant in invariants() if not only or invariant.code in only]
        try:
            verdicts = verify(chosen, limit=limit, tell=self._progress())
        except DatabaseError as error:
            message = f"The database cannot be judged ({error}). Has `manage.py migrate` run?"
            raise CommandError(message, returncode=FAILED) from error
        took = time.monotonic() - began_at
        if as_json:
            self.stdout.write(json.dumps(_document(verdicts, moment.isoformat(), took)))
        else:
            self.stdout.write("\n".join(_report(verdicts, f"{moment:%Y-%m-%d %H:%M:%S} UTC", took)))
        if any(verdict.breaches for verdict in verdicts):
            sys.exit(FOUND)

    def _progress(self) -> Any:
        """Say on a terminal what is being looked at, once it takes a while."""
        began_at = time.monotonic()

        def tell(invariant: Invariant) -> None:
            seconds = time.monotonic() - began_at
            if seconds > QUIET_SECONDS and self.stderr.isatty():
                self.stderr.write(f"{seconds:4.0f} s  {invariant.code} {invariant.says} …")

        return tell


def _codes(text: str) -> list[str]:
    wanted = [code.strip().upper() for code in text.split(",")]
    unknown = [code for code in wanted if code not in codes()]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(codes())}")
    return wanted


def _document(verdicts: Sequence[Verdict], moment: str, took: float) -> dict[str, Any]:
    breaches = sum(verdict.breaches for verdict in verdicts)
    return {
        "at": moment,
        "seconds": round(took, 3),
        "breaches": breaches,
        "invariants": [_entry(verdict) for verdict in verdicts],
    }


def _entry(verdict: Verdict) -> dict[str, Any]:
    invariant = verdict.invariant
    return {
        "code": invariant.code,
        "says": invariant.says,
        "looked_at": verdict.looked_at,
        "of": invariant.of,
        "seconds": round(verdict.seconds, 3),
        "breaches": verdict.breaches,
        "examples": [breach.__dict__ for breach in verdict.examples],
        "advice": invariant.advice,
    }


def _report(verdicts: Sequence[Verdict], moment: str, took: float) -> Iterator[str]:
    """A line for each invariant, then what was found, then the sum."""
    rows = [("", "invariant", "looked at", "", "breaches"), *(_row(verdict) for verdict in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for code, says, figure, of, broken in rows:
        yield (
            f"{code:<{widths[0]}}  {says:<{widths[1]}}  {figure:>{widths[2]}} {of:<{widths[3]}}  {broken:>{widths[4]}}"
        )
    for verdict in verdicts:
        yield from _finding(verdict)
    breaches = sum(verdict.breaches for verdict in verdicts)
    yield ""
    if breaches:
        yield f"{_count(breaches, 'breach', 'breaches')}, as of {moment}, in {took:.1f} s"
    else:
        yield f"All {len(verdicts)} invariants hold, as of {moment}, in {took:.1f} s"


def _row(verdict: Verdict) -> tuple[str, ...]:
    invariant = verdict.invariant
    return invariant.code, invariant.says, f"{verdict.looked_at:,}", invariant.of, f"{verdict.breaches:,}"


def _finding(verdict: Verdict) -> Iterator[str]:
    if not verdict.breaches:
        return
    yield ""
    yield f"{verdict.invariant.code} BROKEN: {verdict.invariant.says}: {_count(verdict.breaches, 'breach', 'breaches')}"
    for breach in verdict.examples:
        yield f"    {breach.subject}: {breach.detail}"
    if verdict.breaches > len(verdict.examples):
        yield f"    … and {verdict.breaches - len(verdict.examples):,} more (--limit)"
    yield f"    next: {verdict.invariant.advice}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
