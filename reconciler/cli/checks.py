"""List what `reconciler doctor` looks at. Each check ends in time, whatever its server does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from reconciler.api.errors import InvalidSettings
from reconciler.broker.address import read_address
from reconciler.cli import check_functions, check_workers
from reconciler.cli.check_local import (
    check_callbacks,
    check_extras,
    check_machine,
    check_metrics,
    check_modules,
    check_plugins,
    check_secrets,
)
from reconciler.cli.check_servers import check_broker, check_clock, check_exchange, check_redis, check_s3
from reconciler.cli.check_traces import check_traces
from reconciler.cli.exits import sentence_of
from reconciler.cli.finding import Finding, skipped
from reconciler.settings import PREFIX, Settings


class Check(NamedTuple):
    """A check: its name, its function, and the settings it needs."""

    name: str
    run: Callable[[Settings], Finding | list[Finding]]
    needs: tuple[str, ...]


def examine() -> list[Finding]:
    """Make all checks; those of servers at the same time, because a dead server takes long to be found dead.

    What looks along `sys.path` comes before that: Celery changes the list while it makes an application, and who walks along
    it in another thread at that moment misses a folder.
    """
    settings, broken, finding = check_settings(os.environ)
    imported = [found for check in _IMPORTS for found in _ask(check, settings, broken)]
    with ThreadPoolExecutor(len(_SERVERS)) as pool:
        asked = [pool.submit(_ask, check, settings, broken) for check in _SERVERS]
        local = [found for check in _LOCAL for found in _ask(check, settings, broken)]
        servers = [found for answer in asked for found in answer.result()]
    return [finding, *servers, *imported, *local, *check_extras()]


def check_settings(env: Mapping[str, str]) -> tuple[Settings, frozenset[str], Finding]:
    """Read the settings, the names of unusable fields, and the problems.

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
    """Read settings from the variables that are well by themselves, and name the fields of the others."""
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


def _ask(check: Check, settings: Settings, broken: frozenset[str]) -> list[Finding]:
    several = {"workers": check_workers.NAMES, "functions": check_functions.NAMES}
    names = several.get(check.name, (check.name,))
    if broken & set(check.needs):
        return [skipped(name) for name in names]
    try:
        found = check.run(settings)
    except Exception as error:  # noqa: BLE001  # whatever a server does is what doctor looks for
        return [Finding(name=check.name, problems=(sentence_of(error),))]
    return found if isinstance(found, list) else [found]


_RECORDS = ("redis_url", "key_prefix", "shards")
_BROKER = ("redis_url", "broker_url", "key_prefix", "steps_queue", "attempts_queue")
_SERVERS = (
    Check("redis", check_redis, (*_RECORDS, "durability")),
    Check("clock", check_clock, _RECORDS),
    Check("s3", check_s3, ("s3_endpoint", "s3_bucket", "s3_prefix", "s3_region")),
    Check("broker", check_broker, _BROKER),
    Check("exchange", check_exchange, (*_BROKER, "events_exchange", "events_exchange_url")),
    Check("workers", check_workers.check_workers, (*_RECORDS, *_BROKER)),
    # the imports in a process of its own, which takes its time
    Check(
        "functions",
        check_functions.check_functions,
        ("imports", "import_timeout", *_RECORDS, "attempts_queue"),
    ),
)
_IMPORTS = (
    Check("modules", check_modules, ()),
    Check("plugins", check_plugins, ("plugins", "plugin_routes")),
)
_LOCAL = (
    Check("secrets", check_secrets, ("secrets",)),
    Check("callbacks", check_callbacks, ("callback_secret_file",)),
    Check("metrics", check_metrics, ("metrics_port", "metrics_address")),
    Check("traces", check_traces, ()),
    Check("machine", check_machine, ()),
)
