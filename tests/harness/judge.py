"""The oracle as a process: `python -m tests.harness.judge` prints what it sees as JSON.

For a test whose own process is connected to another database.
"""

from __future__ import annotations

import json
import sys

import django


def main() -> None:
    django.setup()
    from sagas.models import SagaEvent, SagaInstance
    from sagas.statuses import OPEN
    from tests.harness import oracle

    seen = oracle.snapshot()
    orders, sagas = oracle.statuses(seen)
    unsent = SagaEvent.objects.filter(published_at=None).exclude(type="").count()
    json.dump(
        {
            "breaches": [str(breach) for breach in oracle.judge(seen)],
            "orders": orders,
            "sagas": sagas,
            "order_ids": {str(order.pk): order.status for order in seen.orders.values()},
            "open": SagaInstance.objects.filter(status__in=OPEN).count() + unsent,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
