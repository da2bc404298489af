"""Check that the needed workers live, agree with each other and with this machine, and that their work goes on.

An action that is submitted now runs if a steps worker steps it, beat makes up for lost messages, and a worker consumes the
queue its launches wait in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing

import msgspec

from reconciler.api.errors import StoreUnavailable
from reconciler.broker.check import answering
from reconciler.cli.finding import Finding, skipped
from reconciler.core.counted import counted
from reconciler.core.liveness import (
    OF_ALL,
    OF_STEPS,
    OF_WORKERS,
    WorkerFacts,
    differing,
    digests,
    read_facts,
    release,
)
from reconciler.core.ordering import natural_key
from reconciler.core.times import span
from reconciler.settings import Settings
from reconciler.stores.lines import QueueState
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.redis.surveying import Late

Workers = Mapping[str, WorkerFacts]
NAMES = ("workers", "steps", "attempts", "beat", "settings of workers", "remote control")

_SILENT = 15_000
"""How long beat may send no tick, of which there is one every 2 s, ms."""
_UNCOLLECTED = 900_000
"""How long nothing may be collected, which happens every minute, ms."""
_LATE = 15_000
"""How late a step may be, ms."""
_YOUNG = 10_000
_SETTLES = 4.0
"""Seconds in which workers that have only just started may show their first signs."""


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """The workers, as the records show them.

    Attributes:
        workers: those that are alive.
        now: the server's time, ms.
        resynced, collected: how long ago beat's ticks were served, ms; None: never.
        late: what waits longest for a step.
        waiting: launches by queue.
        rules: of these queues, and of the default one.
    """

    workers: Workers
    now: int
    resynced: int | None
    collected: int | None
    late: Late
    waiting: Mapping[str, int]
    rules: Mapping[str, QueueState]

    def consumers(self, queue: str) -> list[str]:
        """Tell which workers consume a queue, and which may (those of a release that does not say)."""
        return sorted(n for n, facts in self.workers.items() if facts.queues is None or queue in facts.queues)

    @property
    def youngest(self) -> int:
        """Tell how long the youngest worker has been up, ms."""
        return min((self.now - facts.started_at for facts in self.workers.values()), default=_YOUNG)


def survey(store: RedisStore, settings: Settings) -> Survey:
    """Read the workers from the records."""
    waiting = store.launches_waiting()
    queues = {settings.attempts_queue, *(queue for queue, count in waiting.items() if count)}
    workers = {name: read_facts(facts) for name, facts in store.workers().items()}
    consumed = {queue for facts in workers.values() for queue in facts.queues or ()}
    queues |= store.queues_with_rules() & consumed
    return Survey(
        workers=workers,
        now=store.now(),
        resynced=store.swept_ago("resync"),
        collected=store.swept_ago("collect"),
        late=store.latest(),
        waiting=waiting,
        rules={queue: store.set_queue(queue) for queue in sorted(queues)},
    )


def check_workers(settings: Settings) -> list[Finding]:
    """Make all checks of the workers, in the order of `NAMES`."""
    try:
        with closing(RedisStore(settings)) as store:
            seen = survey(store, settings)
            ends = time.monotonic() + _SETTLES
            while _troubled(seen, settings) and seen.youngest < _YOUNG and time.monotonic() < ends:
                time.sleep(0.25)
                seen = survey(store, settings)
    except StoreUnavailable:
        return [skipped(name, "not known while Redis does not answer") for name in NAMES]
    return [
        living(seen),
        steps(seen, settings),
        attempts(seen),
        beat(seen, settings),
        agreement(seen, settings),
        remote(seen, settings),
    ]


def _troubled(seen: Survey, settings: Settings) -> bool:
    found = (living(seen), steps(seen, settings), attempts(seen), beat(seen, settings))
    return any(finding.problems for finding in found)


def living(seen: Survey) -> Finding:
    """List the living workers and their complaints."""
    ours = release()
    problems = [
        problem
        for name in sorted(seen.workers, key=natural_key)
        for problem in _complaints(name, seen.workers[name], ours)
    ]
    shown = [_shown(name, seen.workers[name], seen.now) for name in sorted(seen.workers, key=natural_key)]
    if not shown:
        start = "celery -A worker worker -P threads -Q steps -n steps@%h"
        problems = [
            f"no worker is alive, so nothing is done: start some, as `{start}` (docker-compose.yml has all)"
        ]
    return Finding(name="workers", detail=", ".join(shown), problems=tuple(problems))


def _complaints(name: str, facts: WorkerFacts, ours: str) -> list[str]:
    found = [f"{name}: {trouble}" for trouble in facts.troubles]
    if facts.queues is None:
        found.append(
            f"{name} does not say what it does, as an older release: restart it with this one ({ours})"
        )
    elif facts.release != ours:
        found.append(
            f"{name} runs release {facts.release or 'unknown'}, and this is {ours or 'unknown'}: "
            "restart it with the same one"
        )
    if facts.twin:
        found.append(
            f"two workers are named {name} ({facts.process}, {facts.twin}), and take each other's messages back: "
            "give each a name of its own, as with `-n steps1@%h`"
        )
    if facts.slots == 0:
        found.append(
            f"{name} has no slot left, so nothing it takes begins: `celery -A worker control pool_grow 1 -d {name}`, "
            "or restart it"
        )
    if facts.functions == 0 and facts.queues:
        found.append(
            f"{name} consumes {', '.join(facts.queues or ())}, but knows no function: "
            "name the modules that declare them in its RECONCILER_IMPORTS, and restart it"
        )
    return found


def _shown(name: str, facts: WorkerFacts, now: int) -> str:
    queues = f", queues {' '.join(facts.queues)}" if facts.queues else ""
    return f"{name} (pid {facts.pid or '?'}{queues}, up for {span(now - facts.started_at)})"


def steps(seen: Survey, settings: Settings) -> Finding:
    """Check that somebody takes steps, and in time."""
    queue, late = settings.steps_queue, seen.late
    who = seen.consumers(queue)
    problems = []
    if not who:
        problems.append(
            f"no living worker consumes {queue!r}, so no action moves: "
            f"start one with `celery -A worker worker -P threads -Q {queue} -n steps@%h`"
        )
    elif late.by > _LATE:
        problems.append(
            f"steps are late: shard {late.shard} has waited {span(late.by)} although {', '.join(who)} is alive; "
            "it is stuck or overloaded: look at its log, restart it, or start another one"
        )
    detail = (
        f"{', '.join(who)}; nothing is late" if late.by < 1000 else f"{', '.join(who)}; {span(late.by)} late"
    )
    return Finding(name="steps", detail=detail, problems=tuple(problems))


def attempts(seen: Survey) -> Finding:
    """Check that the default queue, and each queue in which launches wait, is consumed, and gives work."""
    problems = []
    for queue, rules in seen.rules.items():
        if rules.paused:
            problems.append(
                f"the queue {queue!r} is paused, so nothing in it begins: `reconciler queue resume {queue}`"
            )
        if rules.limit == 0:
            problems.append(
                f"the queue {queue!r} takes nothing, as its limit is 0: `reconciler queue limit {queue} none`"
            )
        if not seen.consumers(queue):
            count = seen.waiting.get(queue, 0)
            what = (
                f"{counted(count, 'launch waits', 'launches wait')} in the queue"
                if count
                else "functions are sent to the queue"
            )
            problems.append(
                f"{what} {queue!r}, which no living worker consumes: "
                f"start one with `celery -A worker worker -P prefork -Q {queue} -n {queue}@%h`"
            )
    shown = [f"{queue}: {seen.waiting.get(queue, 0)} waiting" for queue in seen.rules]
    return Finding(name="attempts", detail=", ".join(shown), problems=tuple(problems))


def beat(seen: Survey, settings: Settings) -> Finding:
    """Check that beat's ticks are served."""
    if not seen.consumers(settings.steps_queue):
        return skipped("beat", "not known while no worker consumes the steps queue, which takes its ticks")
    if seen.resynced is None or seen.resynced > _SILENT:
        since = (
            "no tick of beat was ever served"
            if seen.resynced is None
            else f"the last tick of beat was served {span(seen.resynced)} ago"
        )
        problem = (
            f"{since}: start `celery -A worker beat`; if it runs, the steps workers are stuck, "
            "or it sends to another broker: look at their logs"
        )
        return Finding(name="beat", problems=(problem,))
    up = max((seen.now - facts.started_at for facts in seen.workers.values()), default=0)
    if (up if seen.collected is None else seen.collected) > _UNCOLLECTED:
        problem = "nothing has been collected for longer than 15 minutes: look for collect in the logs of the steps workers"
        return Finding(name="beat", problems=(problem,))
    return Finding(name="beat", detail=f"its last tick was served {span(seen.resynced)} ago")


def agreement(seen: Survey, settings: Settings) -> Finding:
    """Check that all workers have the same settings, and the same as we."""
    name, problems = "settings of workers", []
    saying = {worker: facts for worker, facts in sorted(seen.workers.items()) if facts.settings}
    if not saying:
        return skipped(name, "no living worker tells its settings")
    first = next(iter(saying))
    steppers = [w for w, facts in saying.items() if facts.queues and settings.steps_queue in facts.queues]
    ours = digests(settings)
    for worker, facts in saying.items():
        wrong = differing(ours, facts.settings, OF_ALL)
        problems += [f"{variable} is another one here than at {worker}: {_SAME}" for variable in wrong]
        there = differing(saying[first].settings, facts.settings, OF_WORKERS)
        if worker in steppers:
            there += differing(saying[steppers[0]].settings, facts.settings, OF_STEPS[len(OF_WORKERS) :])
        problems += [
            f"{variable} is another one at {worker} than at the other workers: {_SAME}"
            for variable in there
            if variable not in wrong
        ]
    return Finding(name=name, detail="those that matter are the same everywhere", problems=tuple(problems))


_SAME = "give all processes of an installation the same, and restart those that had another one"


def remote(seen: Survey, settings: Settings) -> Finding:
    """Check that the workers listen to our broker: a worker on another broker seems well but gets no messages."""
    name = "remote control"
    if not seen.workers:
        return skipped(name, "there is no living worker to talk with")
    try:
        twins = sum(bool(facts.twin) for facts in seen.workers.values())
        heard = answering(settings, sorted(seen.workers), len(seen.workers) + twins)
    except Exception:  # noqa: BLE001  # the check of the broker tells what is wrong with it
        return skipped(name, "not known while the broker does not answer")
    mute = sorted(seen.workers.keys() - heard)
    problems = [
        f"{worker} is alive, but does not answer at our message broker: it is stuck, or its RECONCILER_BROKER_URL or "
        "RECONCILER_REDIS_URL names another server than ours; look at its log, and restart it"
        for worker in mute
    ]
    return Finding(name=name, detail="all living workers answer at the broker", problems=tuple(problems))
