import django.core.serializers.json
import django.utils.timezone
from django.db import migrations, models


class CreateOrAdoptModel(migrations.CreateModel):
    """Creates the table, or takes over the one that is there.

    Until this migration the answers were kept by another app, whose table stays as it is: a process of the release
    before reads and writes it meanwhile. Going back leaves the table for the same reason.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if self.options["db_table"] not in schema_editor.connection.introspection.table_names():
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        pass


class Migration(migrations.Migration):
    dependencies = [("sagas", "0005_auto_retry")]

    operations = [
        CreateOrAdoptModel(
            name="IdempotencyKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user", models.CharField(max_length=150)),
                ("method", models.CharField(max_length=8)),
                ("path", models.CharField(max_length=200)),
                ("key", models.CharField(max_length=255)),
                ("body_sha256", models.CharField(max_length=64)),
                ("status_code", models.PositiveSmallIntegerField()),
                ("location", models.CharField(blank=True, default="", max_length=200)),
                ("response", models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "db_table": "orders_idempotencykey",
                "indexes": [models.Index(fields=["created_at"], name="orders_idempotency_age")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "method", "path", "key"), name="orders_idempotency_once"
                    )
                ],
            },
        )
    ]
