"""The provider's tables. Installations of earlier releases have them already, made by `payments` 0001 and 0002."""

import django.utils.timezone
from django.db import migrations, models


class CreateMissingModel(migrations.CreateModel):
    """Creates the table unless it is there; what is there is taken over with its rows."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        table = to_state.apps.get_model(app_label, self.name)._meta.db_table
        with schema_editor.connection.cursor() as cursor:
            if table in schema_editor.connection.introspection.table_names(cursor):
                return
        super().database_forwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('payments', '0003_append_only_ledger'),
    ]

    operations = [
        CreateMissingModel(
            name='SandboxAnswer',
            fields=[
                ('key', models.CharField(max_length=255, primary_key=True, serialize=False)),
                ('fingerprint', models.CharField(max_length=64)),
                ('status', models.PositiveSmallIntegerField(default=0)),
                ('body', models.TextField(blank=True, default='')),
                ('lost_replies', models.PositiveSmallIntegerField(default=0)),
                ('created_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={
                'db_table': 'sandbox_answer',
            },
        ),
        CreateMissingModel(
            name='SandboxFault',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('timeout_before', 'Timeout Before'), ('timeout_after', 'Timeout After'), ('rate_limited', 'Rate Limited'), ('conflict', 'Conflict'), ('error_500', 'Error 500'), ('saved_500', 'Saved 500'), ('saved_500_after', 'Saved 500 After'), ('garbage', 'Garbage'), ('wrong_amount', 'Wrong Amount'), ('slow', 'Slow')], max_length=32)),
                ('operation', models.CharField(blank=True, default='', max_length=32)),
                ('order_id', models.CharField(blank=True, default='', max_length=64)),
                ('times_left', models.PositiveIntegerField(blank=True, default=1, null=True)),
                ('seconds', models.DecimalField(decimal_places=3, default=0, max_digits=6)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'db_table': 'sandbox_fault',
            },
        ),
        CreateMissingModel(
            name='SandboxRefund',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('intent_id', models.CharField(db_index=True, max_length=64)),
                ('amount', models.BigIntegerField()),
                ('metadata', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'db_table': 'sandbox_refund',
            },
        ),
        CreateMissingModel(
            name='SandboxIntent',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('status', models.CharField(max_length=32)),
                ('amount', models.BigIntegerField()),
                ('amount_capturable', models.BigIntegerField(default=0)),
                ('amount_received', models.BigIntegerField(default=0)),
                ('amount_refunded', models.BigIntegerField(default=0)),
                ('currency', models.CharField(max_length=3)),
                ('payment_method', models.CharField(max_length=64)),
                ('transfer_group', models.CharField(blank=True, default='', max_length=255)),
                ('metadata', models.JSONField(default=dict)),
                ('charge_id', models.CharField(blank=True, default='', max_length=64)),
                ('decline_code', models.CharField(blank=True, default='', max_length=64)),
                ('authorizations', models.PositiveSmallIntegerField(default=0)),
                ('capture_before', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'db_table': 'sandbox_intent',
                'indexes': [models.Index(fields=['-created_at', '-id'], name='sandbox_intent_newest')],
                'constraints': [models.CheckConstraint(condition=models.Q(('amount_received__lte', models.F('amount')), ('amount_refunded__lte', models.F('amount_received'))), name='sandbox_intent_sums')],
            },
        ),
        CreateMissingModel(
            name='SandboxTransfer',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('amount', models.BigIntegerField()),
                ('amount_reversed', models.BigIntegerField(default=0)),
                ('currency', models.CharField(max_length=3)),
                ('destination', models.CharField(max_length=255)),
                ('transfer_group', models.CharField(blank=True, db_index=True, default='', max_length=255)),
                ('source_transaction', models.CharField(blank=True, default='', max_length=64)),
                ('metadata', models.JSONField(default=dict)),
                ('reversals', models.JSONField(default=list)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'db_table': 'sandbox_transfer',
                'constraints': [models.CheckConstraint(condition=models.Q(('amount_reversed__gte', 0), ('amount_reversed__lte', models.F('amount'))), name='sandbox_transfer_sums')],
            },
        ),
    ]
