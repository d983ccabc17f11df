"""Search both protocols exhaustively; exit 1 on a violation or a state that can never end.

python -m tests.proofs.model --workers 3
"""

from __future__ import annotations

import argparse
import os
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.model", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--messages", type=int, default=1, help="messages in flight at once")
    parser.add_argument("--limit", type=int, default=10**9, help="stop each search at this many states")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "campusg.settings")
    import django

    django.setup()
    from tests.proofs.model.machine import running
    from tests.proofs.model.protocols import PROTOCOLS
    from tests.proofs.model.search import Search

    bad = 0
    for name, saga in PROTOCOLS.items():
        began_at = time.monotonic()
        with running(saga) as machine:
            search = Search(machine, options.workers, options.messages, options.limit).run()
        stuck = search.stuck()
        took = time.monotonic() - began_at
        print(  # noqa: T201
            f"{name:8} workers={options.workers} messages={options.messages} states={len(search.ids)} "
            f"transitions={search.transitions} steps={len(machine.memory)} violations={len(search.violations)} "
            f"stuck={len(stuck)} {took:.0f} s"
        )
        examples = [*search.violations.items(), *(("STUCK", number) for number in stuck[:1])]
        for what, number in examples:
            print(f"  {what} <= {' ; '.join(search.trace(number))}\n     {list(search.ids)[number]}")  # noqa: T201
        bad += len(examples)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
