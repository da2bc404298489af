"""A Django application with Celery tasks."""
