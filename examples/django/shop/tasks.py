"""Celery tasks. They know nothing of us either."""

from celery import Task, shared_task
from django.db.models import F

from shop.models import Order


class CarrierBusy(Exception):
    """Nobody picks it up right now."""


@shared_task(name="shop.ship", bind=True, max_retries=5, default_retry_delay=1)
def ship(self: Task, number: int, carriers: list[str]) -> str:
    """Ship an order with the first carrier that has time; those asked already are left out of the next try."""
    order = Order.objects.get(pk=number)
    Order.objects.filter(pk=number).update(tries=F("tries") + 1)
    if carriers[0] == "busy":
        raise self.retry(args=[number, carriers[1:]], exc=CarrierBusy(carriers[0]))
    order.refresh_from_db()
    order.state = f"shipped by {carriers[0]}"
    order.save()
    return order.state
