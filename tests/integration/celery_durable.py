"""The application of `celery_app`, durable: what its owner adds."""

from __future__ import annotations

from celery_app import app

from reconciler import durable

add = durable(app.tasks["shop.add"])
reports = durable(app.tasks["shop.reports"])
TASKS = {name: durable(app.tasks[name]) for name in sorted(app.tasks) if name.startswith("shop.")}
