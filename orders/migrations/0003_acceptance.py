import uuid

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("orders", "0002_restaurant_staff")]

    operations = [
        migrations.AddField("order", "payment_id", models.UUIDField(default=uuid.uuid4), preserve_default=False),
        migrations.AddField("order", "restaurant", models.CharField(blank=True, default="", max_length=100)),
        migrations.AddField("order", "accepted_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("order", "completed_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddIndex(
            "order",
            models.Index(
                condition=~Q(restaurant=""), fields=["restaurant", "-created_at"], name="orders_order_by_restaurant"
            ),
        ),
    ]
