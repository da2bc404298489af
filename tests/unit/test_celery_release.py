"""What we rely on in Celery and kombu is there and looks as it did: these tests tell when another release changes it."""

from __future__ import annotations

import inspect
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from celery import concurrency, signals
from celery.app.defaults import NAMESPACES, flatten
from celery.beat import PersistentScheduler
from celery.worker import control, state
from celery.worker.request import Request
from kombu.connection import Connection
from kombu.transport import TRANSPORT_ALIASES, redis, virtual

from reconciler.broker import conf
from reconciler.broker.releases import PACKAGES, RELEASE, release_problems
from reconciler.settings import Settings

ROOT = Path(__file__).parents[2]
SIGNATURES = {
    (redis.QoS, "restore_unacked"): "(self, client=None)",
    (redis.QoS, "restore_visible"): "(self, start=0, num=10, interval=10)",
    (redis.QoS, "ack"): "(self, delivery_tag)",
    (redis.QoS, "reject"): "(self, delivery_tag, requeue=False)",
    (virtual.QoS, "restore_unacked"): "(self)",
    (redis.Channel, "_create_client"): "(self, asynchronous=False)",
    (redis.Channel, "_get_pool"): "(self, asynchronous=False)",
    (redis.Channel, "_put"): "(self, queue, message, **kwargs)",
    (redis.Channel, "_brpop_start"): "(self, timeout=None)",
    (redis.Channel, "_brpop_read"): "(self, **options)",
    (redis.Channel, "_subscribe"): "(self)",
    (redis.Channel, "_receive"): "(self)",
    (redis.Transport, "register_with_event_loop"): "(self, connection, loop)",
    (virtual.Transport, "_deliver"): "(self, message, queue)",
    (Request, "send_event"): "(self, type, **fields)",
    (PersistentScheduler, "apply_entry"): "(self, entry, producer=None)",
}
"""What we override, with what its callers hand in."""
READ = [
    (redis.SentinelChannel, "from_transport_options"),
    (Connection, "resolve_aliases"),
    (concurrency, "get_implementation"),
    (control.Panel, "register"),
    (control, "nok"),
    (state, "active_requests"),
    (signals, "worker_init"),
    (signals, "celeryd_init"),
    (signals, "worker_process_init"),
    (signals, "beat_init"),
]
"""What we read or call, and no document promises."""
ELSEWHERE = {"max_retries", "ack_emulation"}
"""Transport options that are read by other parts of kombu than the channel: its connection, its QoS."""


@pytest.mark.parametrize(("owner", "name"), SIGNATURES, ids=[f"{o.__name__}.{n}" for o, n in SIGNATURES])
def test_what_we_override_is_called_as_before(owner: type, name: str) -> None:
    """It exists in its class, and takes what it took."""
    assert str(inspect.signature(getattr(owner, name))) == SIGNATURES[owner, name]


@pytest.mark.parametrize(("owner", "name"), READ, ids=[name for _, name in READ])
def test_what_we_read_is_there(owner: Any, name: str) -> None:
    """Under the name we know it by."""
    assert hasattr(owner, name)
    assert "redis" in TRANSPORT_ALIASES


def test_each_setting_is_known() -> None:
    """Celery passes over a setting it does not know in silence: a renamed one would be ours no more."""
    known = {name for name, _ in flatten(NAMESPACES)}
    settings = Settings()
    address = conf.read_address(settings.effective_broker_url())
    ours = {*conf._worker(settings), *conf._messages(settings, "cr:"), *conf._connection(settings, address)}
    ours |= {*conf.attempts_settings(settings)}
    assert ours - known == set()
    assert len(ours) > 25


def test_each_transport_option_is_known() -> None:
    """As kombu does with an option."""
    settings = Settings()
    given = conf._wake_up_options(settings, conf.read_address(settings.effective_broker_url()))
    known = {*redis.Channel.from_transport_options, *ELSEWHERE}
    source = inspect.getsource(redis)
    assert [name for name in given if name not in known and f"'{name}'" not in source] == []


def test_one_release_is_allowed() -> None:
    """The packages, what is installed and what a worker accepts are of one release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for package in PACKAGES:
        [wanted] = [line for line in project["dependencies"] if re.match(rf"{package}\b", line)]
        assert wanted.partition(">=")[2] == f"{RELEASE},<5.8"
        assert metadata.version(package).startswith(f"{RELEASE}.")
    assert release_problems() == []


@pytest.mark.parametrize("other", ["5.8.0", "5.6.3", "6.0.0rc1"])
def test_another_release_is_refused_with_the_remedy(other: str) -> None:
    """By a worker that starts, and by doctor; each package by itself."""
    assert release_problems(lambda package: other if package == "celery" else "5.7.3") == [
        f"celery {other} is installed, and this release works with 5.7 alone: run pip install 'celery>=5.7,<5.8'"
    ]
    assert len(release_problems(lambda _: other)) == 2
