"""The tasks that are durable: RECONCILER_IMPORTS of the attempts workers names this module."""

from reconciler import durable
from shop.celery import app

ship = durable("shop.ship", app=app, retries=2)
