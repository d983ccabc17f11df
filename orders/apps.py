"""The product as a Django app: orders, the menu and its stock, and the sagas that connect them to money and time."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "orders"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Orders"

    def ready(self) -> None:
        from orders import integration

        integration.register()
