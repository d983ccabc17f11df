"""`manage.py reconcile`: compare our books with the payment provider's. Exit 1 if they differ."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from payments.reconcile import GRACE, reconcile


class Command(BaseCommand):
    help = "Compare payments, payouts and ledger with the payment provider. Exit 1 if something differs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-heal", action="store_true", help="report only, change nothing")
        parser.add_argument(
            "--grace-seconds",
            type=int,
            default=int(GRACE.total_seconds()),
            help="leave out what changed in the last so many seconds",
        )
        parser.add_argument("--json", action="store_true", help="one JSON document per line")

    def handle(self, *_args: Any, **options: Any) -> None:
        findings = reconcile(heal=not options["no_heal"], grace=timedelta(seconds=options["grace_seconds"]))
        for finding in findings:
            if options["json"]:
                self.stdout.write(json.dumps(finding.__dict__))
            else:
                outcome = "healed" if finding.is_healed else "open"
                self.stdout.write(f"{finding.drift} ({outcome}) payment {finding.payment_id}: {finding.detail}")
        drifts = [finding for finding in findings if not finding.is_warning]
        if not options["json"]:
            self.stdout.write(f"{len(drifts)} drifts, {len(findings) - len(drifts)} warnings")
        if drifts:
            sys.exit(1)
