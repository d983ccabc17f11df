"""The product as a Django app: orders, the menu and its stock, and the sagas that tie them to money and time."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "orders"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Orders"

    def ready(self) -> None:
        from orders import payment_guards
        from orders.use_cases import expire, preview
        from sagas.engine import preview as saga_preview

        expire.register_timer_handler()
        payment_guards.register()
        saga_preview.explain_cancellation("create_order", preview.explain)
