"""Plain names for the two permissions. An installation that has them keeps the old names; nothing depends on them."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("timers", "0001_initial")]

    operations = [
        migrations.AlterModelOptions(
            name="scheduledevent",
            options={
                "ordering": ("-created_at",),
                "permissions": [
                    ("schedule_scheduledevent", "Can schedule timers"),
                    ("cancel_scheduledevent", "Can cancel timers"),
                ],
            },
        ),
    ]
