"""The effects in plain SQL, so that only the engines are compared and not the ORMs."""

from __future__ import annotations

from typing import Any

STEPS = 5

SCHEMA = """
CREATE TABLE IF NOT EXISTS bench_order (id uuid PRIMARY KEY, step integer NOT NULL, updated_at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS bench_effect (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id uuid NOT NULL, step integer NOT NULL,
    is_undo boolean NOT NULL, at timestamptz NOT NULL
);
"""


class Refused(Exception):
    """Step 4 raises this in the variants that fail."""


def do(cursor: Any, order_id: str, step: int) -> None:
    cursor.execute(
        "INSERT INTO bench_effect (order_id, step, is_undo, at) VALUES (%s, %s, false, now())", [order_id, step]
    )
    cursor.execute("UPDATE bench_order SET step = %s, updated_at = now() WHERE id = %s", [step, order_id])


def undo(cursor: Any, order_id: str, step: int) -> None:
    cursor.execute(
        "INSERT INTO bench_effect (order_id, step, is_undo, at) VALUES (%s, %s, true, now())", [order_id, step]
    )
    cursor.execute("UPDATE bench_order SET step = %s, updated_at = now() WHERE id = %s", [-step, order_id])
