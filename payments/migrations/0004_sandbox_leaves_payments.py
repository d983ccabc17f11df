"""The sandbox's five tables leave this app. `payments.sandbox` takes them over, under the names they have always had.

If that app is not installed (a Stripe key is set) and the tables are empty, they are dropped: migrations 0001 and 0002
made them in every installation. The rows of a trial are never dropped here; docs/how-to/real-payments.md says how to do
that on purpose.
"""

from django.apps import apps as installed_apps
from django.db import migrations

MODELS = ("SandboxAnswer", "SandboxFault", "SandboxIntent", "SandboxRefund", "SandboxTransfer")


def existing_tables(schema_editor):
    with schema_editor.connection.cursor() as cursor:
        return schema_editor.connection.introspection.table_names(cursor)


def drop_unused_tables(apps, schema_editor):
    if installed_apps.is_installed("payments.sandbox"):
        return
    existing = existing_tables(schema_editor)
    models = [apps.get_model("payments", name) for name in MODELS]
    models = [model for model in models if model._meta.db_table in existing]
    if schema_editor.connection.vendor == "postgresql":
        # A process of the release before must not write a row between the look and the drop.
        for model in models:
            schema_editor.execute(f"LOCK TABLE {model._meta.db_table} IN ACCESS EXCLUSIVE MODE")
    if any(model.objects.using(schema_editor.connection.alias).exists() for model in models):
        return
    for model in models:
        schema_editor.delete_model(model)


def restore_missing_tables(apps, schema_editor):
    existing = existing_tables(schema_editor)
    for name in MODELS:
        model = apps.get_model("payments", name)
        if model._meta.db_table not in existing:
            schema_editor.create_model(model)


class Migration(migrations.Migration):
    dependencies = [("payments", "0003_append_only_ledger")]

    operations = [
        migrations.RunPython(drop_unused_tables, restore_missing_tables),
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel(name) for name in MODELS]),
    ]
