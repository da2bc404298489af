"""Celery tasks as actions: a registered task, unchanged, runs in the process of functions."""

from reconciler.celery_tasks.declaring import DurableTask, durable

__all__ = ["DurableTask", "durable"]
