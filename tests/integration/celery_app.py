"""An application of Celery tasks of every kind, as somebody has them before they hear of us."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

from celery import Celery, Task, shared_task, signals
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from pydantic import BaseModel

app = Celery("shop")
app.conf.update(
    broker_url=os.environ.get("SHOP_BROKER", "redis://127.0.0.1:1/0"),
    result_backend=os.environ.get("SHOP_BROKER", "redis://127.0.0.1:1/0"),
    broker_connection_retry_on_startup=False,
    redis_socket_connect_timeout=1,
    task_routes={"shop.routed": {"queue": "pictures"}},
)


def note(text: object) -> None:
    """Make a side effect: one line in the file of this side."""
    with Path(os.environ["SHOP_NOTES"]).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


class Size(BaseModel):
    """What the pydantic task takes."""

    width: int
    height: int = 1


class Hooked(Task):  # type: ignore[misc]  # Celery has no types
    """A base class of one's own, with every hook."""

    prefix = "hooked"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # of the task
        """Around each call."""
        note(f"{self.prefix} call {args} {kwargs}")
        return super().__call__(*args, **kwargs)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:  # Celery's
        """First."""
        del task_id
        note(f"before_start {args} {kwargs}")

    def on_success(self, retval: object, task_id: str, args: Any, kwargs: Any) -> None:  # Celery's
        """After a success."""
        del task_id
        note(f"on_success {retval} {args} {kwargs}")

    def on_failure(
        self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: object
    ) -> None:  # Celery's
        """After a failure."""
        del task_id, einfo
        note(f"on_failure {exc!r} {args} {kwargs}")

    def on_retry(
        self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: object
    ) -> None:  # Celery's
        """After a retry."""
        del task_id, einfo
        note(f"on_retry {exc!r} {args} {kwargs}")

    def after_return(
        self, status: str, retval: object, task_id: str, args: Any, kwargs: Any, einfo: object
    ) -> None:  # Celery's
        """Last."""
        del task_id, einfo
        note(f"after_return {status} {retval!r} {args} {kwargs}")


@app.task(name="shop.add")
def add(x: int, y: int = 2) -> int:
    """A plain one."""
    return x + y


@app.task(name="shop.types")
def types(when: dt.datetime, price: Decimal, key: uuid.UUID, pair: tuple[int, int]) -> list[Any]:
    """Takes and gives what Celery's JSON can carry."""
    return [type(when).__name__, when, price * 2, key, type(pair).__name__]


@app.task(name="shop.gathers")
def gathers(first: int, *rest: int, last: int = 0, **more: int) -> list[Any]:
    """Every kind of parameter."""
    return [first, list(rest), last, more]


@app.task(bind=True, name="shop.bound")
def bound(self: Any, x: int) -> list[Any]:  # a task
    """Looks at its request."""
    request = self.request
    assert request.id
    assert request.hostname
    assert request.root_id == request.id
    return [
        request.args,
        request.kwargs,
        request.retries,
        request.is_eager,
        request.called_directly,
        x,
        request.task,
    ]


@app.task(bind=True, name="shop.retries", max_retries=3)
def retries(self: Any, x: int, log: str = "") -> list[Any]:  # a task
    """Asks for a retry with other arguments."""
    note(f"retries {x} {log} {self.request.retries} {self.request.args} {self.request.kwargs}")
    if x < 3:
        raise self.retry(args=[x + 1], kwargs={"log": log + str(x)}, countdown=0)
    return [x, log, self.request.retries]


@app.task(bind=True, name="shop.exhausts", max_retries=2, default_retry_delay=0)
def exhausts(self: Any) -> None:  # a task
    """Runs out of retries; its own error is the end."""
    note(f"exhausts {self.request.retries}")
    try:
        {}["never there"]
    except KeyError as error:
        raise self.retry(exc=error) from error


@app.task(bind=True, name="shop.too_often", max_retries=1, default_retry_delay=0)
def too_often(self: Any) -> None:  # a task
    """Runs out of retries without an error of its own."""
    raise self.retry()


@app.task(
    name="shop.again", autoretry_for=(OSError,), retry_backoff=True, retry_backoff_max=1, retry_jitter=False
)
def again(path: str) -> str:
    """Tried again by Celery when a file is not there."""
    note(f"again {Path(path).exists()}")
    if not Path(path).exists():
        Path(path).touch()
        raise FileNotFoundError(path)
    return "found"


@app.task(name="shop.expected", throws=(LookupError,))
def expected(key: str) -> None:
    """Raises what it said it may."""
    raise LookupError(key)


@app.task(name="shop.fails")
def fails() -> None:
    """Is not tried again."""
    note("fails")
    raise ValueError("no")


@app.task(bind=True, name="shop.ignores")
def ignores(self: Any) -> None:
    """Wants no state."""
    assert self.name == "shop.ignores"
    note("ignores")
    raise Ignore("nothing to do")


@app.task(bind=True, name="shop.marks")
def marks(self: Any) -> None:  # a task
    """Says itself that it has failed."""
    meta = {"exc_type": "ValueError", "exc_message": ["bad input"], "exc_module": "builtins"}
    self.update_state(state="FAILURE", meta=meta)
    raise Ignore


@app.task(name="shop.rejects", acks_late=True)
def rejects() -> None:
    """Drops its message."""
    note("rejects")
    raise Reject("broken message", requeue=False)


@app.task(bind=True, name="shop.requeues", acks_late=True)
def requeues(self: Any, path: str) -> bool:  # a task
    """Gives its message back, once."""
    note("requeues")
    if not Path(path).exists():
        Path(path).touch()
        raise Reject("not now", requeue=True)
    return bool(self.request.delivery_info["redelivered"])


@app.task(name="shop.softly", soft_time_limit=1, time_limit=30)
def softly() -> str:
    """Is told that its time is over."""
    try:
        threading.Event().wait(20)
    except SoftTimeLimitExceeded:
        note("told")
        return "cleaned up"
    return "slept"


@app.task(name="shop.overruns", time_limit=1)
def overruns() -> None:
    """Takes longer than it may."""
    note("overruns")
    threading.Event().wait(20)


@app.task(bind=True, name="shop.progress")
def progress(self: Any, parts: int) -> int:  # a task
    """Says how far it is."""
    for part in range(parts):
        self.update_state(state="PROGRESS", meta={"done": part})
    return parts


@app.task(bind=True, name="shop.reports")
def reports(self: Any, path: str) -> str:  # a task
    """Says how far it is, and goes on once somebody has seen it."""
    for part in (1, 2):
        self.update_state(state="PROGRESS", meta={"done": part, "of": 2})
    ends = time.monotonic() + 30
    while not Path(path).exists() and time.monotonic() < ends:
        threading.Event().wait(0.05)
    return "seen"


@app.task(base=Hooked, name="shop.hooked")
def hooked(x: int, y: int = 0) -> int:
    """Has hooks."""
    return 10 // (x + y)


@app.task(bind=True, base=Hooked, name="shop.hooked_retry", default_retry_delay=0)
def hooked_retry(self: Any, x: int) -> int:  # a task
    """Has hooks, and a retry."""
    if not self.request.retries:
        raise self.retry(exc=ValueError("once"))
    return x


@app.task(name="shop.area", pydantic=True)
def area(size: Size, scale: int = 1) -> Size:
    """Takes a model, gives one."""
    return Size(width=size.width * scale, height=size.height * scale)


@app.task(name="shop.forgets", ignore_result=True)
def forgets() -> object:
    """Has a result nobody wants, which JSON could not carry."""
    note("forgets")
    return object()


@app.task(name="shop.unwritable")
def unwritable() -> object:
    """Has a result JSON cannot carry."""
    return object()


@app.task(name="shop.routed")
def routed() -> str:
    """Has a queue of its own."""
    return "routed"


@shared_task(name="shop.shared")
def shared(x: int) -> int:
    """Belongs to no application."""
    return -x


class ByClass(Task):  # type: ignore[misc]  # Celery has no types
    """A task by class."""

    name = "shop.by_class"

    def run(self, x: int) -> str:
        """Do it."""
        return f"{type(self).__name__} {x}"


app.register_task(ByClass())


@signals.task_prerun.connect
def _prerun(sender: Any, args: Any, kwargs: Any, **_: Any) -> None:  # Celery's
    note(f"prerun {sender.name} {list(args)} {kwargs}")


@signals.task_postrun.connect
def _postrun(sender: Any, retval: object, state: str, **_: Any) -> None:  # Celery's
    note(f"postrun {sender.name} {type(retval).__name__} {state}")


@signals.task_success.connect
def _success(sender: Any, **_: Any) -> None:  # Celery's
    note(f"success {sender.name}")


@signals.task_failure.connect
def _failure(sender: Any, exception: Exception, **_: Any) -> None:  # Celery's
    if not isinstance(exception, Reject):  # Celery's worker tells of it, after the task
        note(f"failure {sender.name} {exception!r}")


@signals.task_retry.connect
def _retry(sender: Any, reason: object, **_: Any) -> None:  # Celery's
    note(f"retry {sender.name} {reason}")
