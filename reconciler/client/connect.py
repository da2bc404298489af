"""Connects a client to the servers of its settings. A client builds no engine: it imports no controller."""

from __future__ import annotations

from reconciler.broker.messages import Messenger
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.objects import BlobStore
from reconciler.stores.quotas import Holdings


def connect(settings: Settings) -> tuple[Store, BlobStore, Messenger]:
    """Make what a client needs: records, objects, and a way to send wake-ups. Nothing is connected before it is used."""
    # Celery, redis-py and botocore are 20 MB. Processes of functions import this module too, and never connect.
    from reconciler.broker.conf import build_app  # noqa: PLC0415  # as above
    from reconciler.broker.messenger import CeleryMessenger  # noqa: PLC0415  # as above
    from reconciler.stores.redis.first_use import ClientStore  # noqa: PLC0415  # as above
    from reconciler.stores.s3 import S3Blobs  # noqa: PLC0415  # as above

    return (
        ClientStore(settings),
        S3Blobs(settings),
        CeleryMessenger(build_app(settings, "reconciler-client"), settings),
    )


def holdings_of(store: Store, settings: Settings) -> Holdings | None:
    """Return the book of who holds units of quotas, on the server of a store; None for one that is not on Redis."""
    from reconciler.stores.redis.quotas import RedisQuotas  # noqa: PLC0415  # as above
    from reconciler.stores.redis.store import RedisStore  # noqa: PLC0415  # as above

    return RedisQuotas(settings, store.client) if isinstance(store, RedisStore) else None
