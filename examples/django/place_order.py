"""Place an order and ship it durably.

Start the backend in this folder, with the project's settings, and run this in a second terminal:

    DJANGO_SETTINGS_MODULE=shop.settings reconciler dev --app shop.durable
    python place_order.py
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()

from django.db import connection  # noqa: E402  # Django has to be set up first
from shop.durable import ship  # noqa: E402  # as above
from shop.models import Order  # noqa: E402  # as above


def main() -> None:
    """Ship one order; two carriers are busy, so Celery's own `retry` is used twice."""
    if "shop_order" not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(Order)
    order = Order.objects.create(item="a lamp")
    run = ship.delay(order.pk, ["busy", "busy", "snail"])
    print(run.result(timeout=60))
    order.refresh_from_db()
    print(order)


if __name__ == "__main__":
    main()
