"""Check that each of our functions could run, and that no action waits for a function or a quota that nobody has."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing

from reconciler.api.action import TaskAction
from reconciler.api.errors import StoreUnavailable
from reconciler.cli.check_local import imported
from reconciler.cli.check_workers import Survey, survey
from reconciler.cli.finding import Finding, skipped
from reconciler.core.functions import Needs
from reconciler.settings import Settings
from reconciler.stores.quotas import QuotaUnknown
from reconciler.stores.redis.store import RedisStore

NAMES = ("imports", "functions", "waiting")
_LOOKED_AT = 100
"""Actions of each shard, those that are due next: one that waits for what nobody has is due within 30 s."""
_SHOWN = 5
_SETTLES = 6.0
"""Seconds in which workers that have only just started may tell what they can run."""
_YOUNG = 15_000
_STUCK = ("no worker of queue", "no worker has the secret", "no quota is registered")
"""How the reason of what nobody can run begins (`plugins/function.py`, `stores/quotas.py`)."""


def check_functions(settings: Settings) -> list[Finding]:
    """Make all checks of functions, in the order of `NAMES`."""
    imports, needs = imported(settings)
    try:
        with closing(RedisStore(settings)) as store:
            return [imports, _functions(store, settings, needs), waiting(store)]
    except StoreUnavailable:
        return [imports, *(skipped(name, "not known while Redis does not answer") for name in NAMES[1:])]


def _functions(store: RedisStore, settings: Settings, needs: Mapping[str, Needs]) -> Finding:
    if not needs:
        return skipped("functions", "no functions are known here")
    ends = time.monotonic() + _SETTLES
    seen = survey(store, settings)
    while problems := function_problems(store, seen, settings, needs):
        if seen.youngest > _YOUNG or time.monotonic() > ends:
            break
        time.sleep(0.5)
        seen = survey(store, settings)
    return Finding(
        name="functions", detail=f"each of {len(needs)} has what it needs", problems=tuple(problems)
    )


def function_problems(
    store: RedisStore, seen: Survey, settings: Settings, needs: Mapping[str, Needs]
) -> list[str]:
    """Say what an action of ours would wait for: a sentence with a remedy for each queue and each resource."""
    by_queue, by_resource = defaultdict(list), defaultdict(list)
    for name, (queue, resource) in sorted(needs.items()):
        by_queue[queue or settings.attempts_queue].append(name)
        by_resource[resource].append(name)
    by_resource.pop("", None)
    problems = [_queue_problem(store, seen, settings, queue, names) for queue, names in by_queue.items()]
    problems += [_quota_problem(seen, settings, resource, names) for resource, names in by_resource.items()]
    return [problem for problem in problems if problem]


def _queue_problem(store: RedisStore, seen: Survey, settings: Settings, queue: str, names: list[str]) -> str:
    if not seen.consumers(queue):
        if queue == settings.attempts_queue:
            return ""  # told of by another check
        start = f"celery -A worker worker -P prefork -Q {queue} -n {queue}@%h"
        return f"{_some(names)} would wait in the queue {queue!r}, which no living worker consumes: start one with `{start}`"
    stuck = {name: known for name in names if not (known := store.find_function(queue, name)).digests}
    lacking = [name for name, known in stuck.items() if known.lacks]
    unknown = [name for name in stuck if name not in lacking]
    if unknown:
        return (
            f"no living worker of the queue {queue!r} knows {_some(unknown)}: name the module that declares it in "
            "RECONCILER_IMPORTS of its workers and restart them, or start one that has it"
        )
    if not lacking:
        return ""
    lacks = sorted({name for function in lacking for name in stuck[function].lacks})
    return (
        f"no living worker of the queue {queue!r} has the secrets of {_some(lacking)}, which would wait: store "
        f"{_some(lacks)} in one of the places of RECONCILER_SECRETS, as its workers see them (variables: restart them)"
    )


def _quota_problem(seen: Survey, settings: Settings, resource: str, names: list[str]) -> str:
    lacking = [
        worker
        for worker in seen.consumers(settings.steps_queue)
        if (known := seen.workers[worker].resources) is not None and resource not in known
    ]
    if not lacking:
        return ""
    return f"{_some(names)} would wait, at {', '.join(lacking)}: {QuotaUnknown.of(resource)}"


def waiting(store: RedisStore) -> Finding:
    """Tell whether actions wait already for a function no worker knows, or a quota no worker has."""
    found: dict[str, list[str]] = defaultdict(list)
    for record in store.get_many(store.due_soon(_LOOKED_AT)):
        if record is not None and (why := _stuck(record)):
            found[why].append(str(record.id))
    problems = [f"{_some(actions)} waits: {why}" for why, actions in sorted(found.items())]
    return Finding(name="waiting", detail="nothing waits for what no worker has", problems=tuple(problems))


def _stuck(record: TaskAction) -> str:
    if record.phase.is_terminal() or record.metadata.deletion is not None:
        return ""
    said = next((c.message for c in record.status.conditions if c.type == "Progressing"), "")
    return said if said.startswith(_STUCK) else ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
