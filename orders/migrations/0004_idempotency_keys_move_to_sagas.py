from django.db import migrations


class Migration(migrations.Migration):
    """The model is an app's own no more: `sagas.0006_idempotency_keys` takes over the table, so this one leaves it alone."""

    dependencies = [("orders", "0003_acceptance")]
    run_before = [("sagas", "0006_idempotency_keys")]

    operations = [
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("IdempotencyKey")]),
    ]
