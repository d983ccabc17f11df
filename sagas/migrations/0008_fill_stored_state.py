"""Fills the new columns of sagas that are there, some thousand at a time, so that nobody waits for a lock for long.

What a process of the release before moves after that is inferred when it is read (`sagas.storage.legacy`). PostgreSQL also
gets room on each page, so that most steps change a row in place, and loses an index on `key` that no query uses.
"""

from django.db import migrations

ROWS_AT_A_TIME = 5_000

FINAL = "('COMPLETED', 'COMPENSATED', 'CANCELLED', 'FAILED')"
GOING_BACK = "('COMPENSATING', 'CANCELLING')"
KEYS = {
    "postgresql": ("(data->>'tried_before_parking')::int", "data->>'cancel_key'"),
    "sqlite": ("json_extract(data, '$.tried_before_parking')", "json_extract(data, '$.cancel_key')"),
}


def fill(apps, schema_editor):
    connection = schema_editor.connection
    last = "00000000-0000-0000-0000-000000000000"
    if connection.vendor == "sqlite":
        last = last.replace("-", "")
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT id FROM sagas_sagainstance WHERE id > %s ORDER BY id LIMIT %s", [last, ROWS_AT_A_TIME]
            )
            page = [saga_id for (saga_id,) in cursor.fetchall()]
            if not page:
                return
            cursor.execute(_statement(connection.vendor), [page[0], page[-1]])
            last = page[-1]


def _statement(vendor):
    tried_at, cancel_key = KEYS[vendor]
    is_tried = f"(resume_status NOT IN {GOING_BACK} AND status NOT IN {GOING_BACK} AND {tried_at} = position)"
    return f"""
        UPDATE sagas_sagainstance SET
            direction = CASE
                WHEN status IN ('COMPENSATING', 'CANCELLING', 'COMPENSATED', 'CANCELLED', 'FAILED') THEN 'BACK'
                WHEN resume_status IN {GOING_BACK} THEN 'BACK'
                ELSE 'FORWARD' END,
            phase = CASE
                WHEN status IN {FINAL} THEN 'DONE'
                WHEN status = 'NEEDS_ATTENTION' THEN 'PARKED'
                WHEN held_by <> '' THEN 'HELD'
                WHEN lease_token IS NOT NULL THEN 'RUNNING'
                WHEN attempt > 0 AND drives = 0 THEN 'RETRYING'
                ELSE 'READY' END,
            may_have_run = status NOT IN {FINAL} AND (
                attempt > CASE WHEN lease_token IS NULL THEN 0 ELSE 1 END OR COALESCE({is_tried}, FALSE)),
            deadline_at = CASE WHEN COALESCE({is_tried}, FALSE) THEN NULL ELSE deadline_at END,
            cancel_key = COALESCE({cancel_key}, ''),
            actor = COALESCE((
                SELECT event.actor FROM sagas_sagaevent AS event
                WHERE event.saga_id = sagas_sagainstance.id AND event.action = 'cancellation_started'
                ORDER BY event.seq LIMIT 1), ''),
            state_seq = seq
        WHERE id BETWEEN %s AND %s AND state_seq <> seq
    """


def make_room(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sagas_sagainstance SET (fillfactor = 70)")
        cursor.execute(
            "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() "
            "AND tablename = 'sagas_sagainstance' AND indexname LIKE 'sagas\\_sagainstance\\_key\\_%\\_like'"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f'DROP INDEX "{name}"')


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ("sagas", "0007_stored_state"),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunPython(make_room, migrations.RunPython.noop),
    ]
