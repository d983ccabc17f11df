from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('sagas', '0002_operator_actions'),
    ]

    operations = [
        migrations.AddField(
            model_name='sagaevent',
            name='subject_sequence',
            field=models.PositiveIntegerField(blank=True, help_text='Given by the relay.', null=True),
        ),
    ]
