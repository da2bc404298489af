"""A durable task that looks at its database connection, in a Django project."""

from __future__ import annotations

from django.db import connection
from shop.celery import app

from reconciler import durable


@app.task(name="shop.connects")  # type: ignore[untyped-decorator]  # Celery has no types
def connects() -> bool:
    """Tell whether the connection is a new one."""
    fresh = connection.connection is None
    connection.ensure_connection()
    return fresh


connects_durably = durable(connects)
