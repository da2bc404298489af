"""Define how wake-ups and launches travel: the message protocol, and Celery behind it."""
