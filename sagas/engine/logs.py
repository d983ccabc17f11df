"""How the engine's log lines name a saga: in the text for people, and as fields for programs.

The fields are `action`, `saga_id`, `saga` (the name of its definition), `subject`, and `step` where there is one.
"""

from __future__ import annotations

from typing import Any

from sagas.machine.state import Row
from sagas.statuses import Phase


def label(row: Row) -> str:
    return f"{row.name} {row.id} ({row.subject})"


def fields(row: Row, action: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "saga_id": str(row.id), "saga": row.name, "subject": row.subject, **more}


def outlook(row: Row) -> str:
    """The saga and what happens to it next, as a sentence without its full stop."""
    return f"{label(row)} {_next(row)}"


def _next(row: Row) -> str:
    if row.phase is Phase.RETRYING:
        return f"tries it again at {row.wake_at:%H:%M:%S} UTC"
    if row.phase is Phase.HELD:
        return f"waits for {row.held_by}, which is on hold"
    if row.phase is Phase.PARKED:
        return "needs attention"
    if row.phase is Phase.DONE:
        return f"is {row.status.value}"
    return "goes back" if row.is_going_back else "goes on"
