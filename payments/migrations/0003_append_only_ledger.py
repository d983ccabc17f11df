"""The database itself refuses to change or delete what is in the ledger."""

from django.db import migrations

TABLES = ("payments_ledgertransaction", "payments_ledgerentry")

POSTGRESQL_FUNCTION = """
CREATE FUNCTION payments_ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The ledger is append-only: book a correction instead.' USING ERRCODE = 'check_violation';
END $$
"""


def statements(vendor):
    if vendor == "postgresql":
        yield POSTGRESQL_FUNCTION
        for table in TABLES:
            yield (
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION payments_ledger_is_append_only()"
            )
        return
    for table in TABLES:
        for event in ("UPDATE", "DELETE"):
            yield (
                f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'The ledger is append-only: book a correction instead.'); END"
            )


def undo_statements(vendor):
    if vendor == "postgresql":
        for table in TABLES:
            yield f"DROP TRIGGER {table}_append_only ON {table}"
        yield "DROP FUNCTION payments_ledger_is_append_only()"
        return
    for table in TABLES:
        for event in ("update", "delete"):
            yield f"DROP TRIGGER {table}_no_{event}"


def forwards(apps, schema_editor):
    for statement in statements(schema_editor.connection.vendor):
        schema_editor.execute(statement, params=None)


def backwards(apps, schema_editor):
    for statement in undo_statements(schema_editor.connection.vendor):
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("payments", "0002_ledger_and_payouts")]

    operations = [migrations.RunPython(forwards, backwards)]
