"""The new columns must fit the others, unless a process of the release before wrote the row last.

On PostgreSQL the rows that are there are checked without keeping anybody from writing.
"""

from django.db import migrations, models
from django.db.models import F, Q


class AddCheck(migrations.AddConstraint):
    """AddConstraint that PostgreSQL validates in a second statement, under a weaker lock."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        table = schema_editor.quote_name(model._meta.db_table)
        schema_editor.execute(f"{self.constraint.create_sql(model, schema_editor)} NOT VALID", params=None)
        schema_editor.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {self.constraint.name}")


def same(one, other):
    return one & other | ~one & ~other


FINAL = ["COMPLETED", "COMPENSATED", "CANCELLED", "FAILED"]
IS_OLD = ~Q(state_seq=F("seq"))
PHASE_FITS = (
    Q(phase__in=["READY", "RUNNING", "RETRYING", "HELD", "PARKED", "DONE"])
    & same(Q(phase="DONE"), Q(status__in=FINAL))
    & same(Q(phase="PARKED"), Q(status="NEEDS_ATTENTION"))
    & same(Q(phase="HELD"), ~Q(held_by=""))
    & same(Q(phase="RUNNING"), Q(lease_token__isnull=False))
)
DIRECTION_FITS = same(
    Q(direction="BACK"),
    Q(status__in=("COMPENSATING", "CANCELLING", "COMPENSATED", "CANCELLED", "FAILED"))
    | Q(status="NEEDS_ATTENTION", resume_status__in=("COMPENSATING", "CANCELLING")),
) & Q(direction__in=["FORWARD", "BACK"])


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ("sagas", "0008_fill_stored_state"),
    ]

    operations = [
        AddCheck("sagainstance", models.CheckConstraint(name="saga_phase_fits", condition=IS_OLD | PHASE_FITS)),
        AddCheck("sagainstance", models.CheckConstraint(name="saga_direction_fits", condition=IS_OLD | DIRECTION_FITS)),
    ]
