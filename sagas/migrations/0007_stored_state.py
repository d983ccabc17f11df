"""Where a saga stands becomes columns of its own, and some fields get plainer names; their columns keep theirs.

Every new column has a default in the database, because processes of the release before go on inserting rows meanwhile.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("sagas", "0006_idempotency_keys"),
    ]

    operations = [
        migrations.AlterField(
            "sagainstance", "drives", models.PositiveSmallIntegerField(db_column="drives", default=0)
        ),
        migrations.RenameField("sagainstance", "drives", "dispatches"),
        migrations.AlterField(
            "sagahold", "ramped_at", models.DateTimeField(blank=True, db_column="ramped_at", null=True)
        ),
        migrations.RenameField("sagahold", "ramped_at", "resumed_until"),
        migrations.AlterField(
            "sagadependency", "troubles", models.PositiveIntegerField(db_column="troubles", default=0)
        ),
        migrations.RenameField("sagadependency", "troubles", "failures"),
        migrations.AlterField(
            "sagadependency", "first_trouble_at", models.DateTimeField(db_column="first_trouble_at")
        ),
        migrations.RenameField("sagadependency", "first_trouble_at", "first_failure_at"),
        migrations.AddField(
            "sagainstance",
            "direction",
            models.CharField(
                choices=[("FORWARD", "Forward"), ("BACK", "Back")],
                db_default="FORWARD",
                default="FORWARD",
                max_length=8,
            ),
        ),
        migrations.AddField(
            "sagainstance",
            "phase",
            models.CharField(
                choices=[
                    ("READY", "Ready"),
                    ("RUNNING", "Running"),
                    ("RETRYING", "Retrying"),
                    ("HELD", "Held"),
                    ("PARKED", "Parked"),
                    ("DONE", "Done"),
                ],
                db_default="READY",
                default="READY",
                max_length=8,
            ),
        ),
        migrations.AddField("sagainstance", "may_have_run", models.BooleanField(db_default=False, default=False)),
        migrations.AddField("sagainstance", "state_seq", models.PositiveIntegerField(db_default=0, default=0)),
        migrations.AddField(
            "sagainstance",
            "actor",
            models.CharField(blank=True, db_default="", help_text="Who cancelled it.", max_length=150),
        ),
        migrations.AddField(
            "sagainstance",
            "cancel_key",
            models.CharField(
                blank=True,
                db_default="",
                help_text="The Idempotency-Key of the request that cancelled it.",
                max_length=410,
            ),
        ),
        migrations.AlterField(
            "sagaevent",
            "action",
            models.CharField(
                choices=[
                    ("saga_started", "Saga started"),
                    ("step_claimed", "Step claimed"),
                    ("step_completed", "Step completed"),
                    ("step_retrying", "Step will be retried"),
                    ("step_failed", "Step failed"),
                    ("step_refused", "Step refused"),
                    ("step_timed_out", "Step timed out"),
                    ("step_fenced", "Late result kept"),
                    ("compensation_started", "Going back"),
                    ("cancellation_started", "Cancelling"),
                    ("undo_claimed", "Compensation claimed"),
                    ("undo_completed", "Compensation completed"),
                    ("undo_retrying", "Compensation will be retried"),
                    ("undo_failed", "Compensation failed"),
                    ("undo_timed_out", "Compensation timed out"),
                    ("undo_fenced", "Late compensation result kept"),
                    ("redriven", "Sent again"),
                    ("parked", "Needs attention"),
                    ("retried", "Retried by an operator"),
                    ("skipped", "Skipped by an operator"),
                    ("closed", "Closed by an operator"),
                    ("held", "Held"),
                    ("let_go", "No longer held"),
                    ("auto_retried", "Retried automatically"),
                    ("finished", "Finished"),
                ],
                max_length=32,
            ),
        ),
    ]
