"""Check the servers of an installation: records, objects, broker, and the exchange of events."""

from __future__ import annotations

import time
from contextlib import closing

from reconciler.address import mask
from reconciler.api.errors import InvalidSettings, Unavailable
from reconciler.broker.check import look_at_broker
from reconciler.broker.exchange import EventExchange
from reconciler.cli.finding import Finding, skipped
from reconciler.settings import Settings
from reconciler.stores.owner import foreign_problem
from reconciler.stores.redis.allocator import allocator_note
from reconciler.stores.redis.check import store_problems
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.s3 import S3Blobs
from reconciler.stores.s3.errors import safe_endpoint

_SKEW = 60.0
"""How far the clock of this machine may be off, seconds: wake-ups carry times of the sender's clock."""


def check_redis(settings: Settings) -> Finding:
    """Check whether the record server answers, lets us do all we must, and keeps what it accepts."""
    with closing(RedisStore(settings)) as store:
        problems = tuple(store_problems(store))
        note = "" if problems else allocator_note(store)
    detail = f"{mask(settings.redis_url)} answers, allows all we need, keeps an append-only file and evicts nothing"
    return Finding(name="redis", detail=f"{detail}; {note}" if note else detail, problems=problems)


def check_clock(settings: Settings) -> Finding:
    """Check whether the clocks of this machine and of the record server agree."""
    try:
        with closing(RedisStore(settings)) as store:
            ahead = time.time() - store.now() / 1000
    except Unavailable:
        return skipped("clock", "not known while Redis does not answer")
    if abs(ahead) <= _SKEW:
        return Finding(name="clock", detail=f"{abs(ahead):.1f} s from that of Redis")
    way = "ahead of" if ahead > 0 else "behind"
    problem = f"the clock of this machine is {abs(ahead):.0f} s {way} that of Redis: set both right (NTP)"
    return Finding(name="clock", problems=(problem,))


def check_s3(settings: Settings) -> Finding:
    """Check whether objects can be created once, read and deleted; remark where those that lie there are not ours."""
    blobs = S3Blobs(settings)
    problems = tuple(blobs.check())
    where = safe_endpoint(settings.s3_endpoint)
    detail = f"bucket {settings.s3_bucket!r} at {where} can be used"
    if not problems and (foreign := _foreign(settings, blobs)):
        detail += f"; but {foreign}"
    return Finding(name="s3", detail=detail, problems=problems)


def _foreign(settings: Settings, blobs: S3Blobs) -> str:
    """Say whose objects they are if not ours; not known while Redis does not answer."""
    try:
        with closing(RedisStore(settings)) as store:
            return foreign_problem(store, blobs)
    except Unavailable:
        return ""


def check_broker(settings: Settings) -> Finding:
    """Check whether the broker answers and lets us do what workers do; count the messages that wait in our queues."""
    report = look_at_broker(settings, (settings.steps_queue, settings.attempts_queue))
    waiting = ", ".join(
        f"{queue} {'none' if count is None else count}" for queue, count in report.waiting.items()
    )
    detail = f"{report.shown} answers; messages: {waiting}"
    return Finding(name="broker", detail=detail, problems=report.problems)


def check_exchange(settings: Settings) -> Finding:
    """Check whether the exchange that events are forwarded to can be reached."""
    if not settings.events_exchange:
        return skipped("exchange", "RECONCILER_EVENTS_EXCHANGE names none: events are not forwarded")
    try:
        exchange = EventExchange(settings)
        try:
            exchange.publish([])
        finally:
            exchange.close()
    except InvalidSettings as error:
        return Finding(name="exchange", problems=tuple(error.problems))
    except Unavailable as error:
        return Finding(name="exchange", problems=(str(error),))
    return Finding(name="exchange", detail=f"{settings.events_exchange!r} can be reached")
