"""`reconciler doctor --probe`: submit actions that do nothing, and wait until they end. It removes nothing."""

from __future__ import annotations

import time
import uuid
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from reconciler.api.action import ActionSpec, TaskAction
from reconciler.api.errors import ReconcilerError, ResultTimeout
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskMetadata, TaskTemplate, Timeouts, encode_template
from reconciler.cli.documents import waiting_reason
from reconciler.cli.exits import sentence_of
from reconciler.cli.finding import Finding
from reconciler.cli.session import Place, connected
from reconciler.client import Client, Run
from reconciler.core.liveness import read_facts
from reconciler.core.probe import PROBE, probe
from reconciler.core.signature import Signature
from reconciler.core.times import span
from reconciler.plugins.function import TASK_TYPE as FUNCTION
from reconciler.plugins.function_config import FunctionConfig
from reconciler.plugins.sleep import TASK_TYPE as SLEEP
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore

REASON = "the probe of doctor took too long"


class Probe(NamedTuple):
    """One action on its way."""

    name: str
    run: Run[Any]
    began: float


def queues_in_use(settings: Settings) -> list[str]:
    """List the queues of attempts in use: the default one, those that living workers consume, those in which launches wait.

    Raises:
        StoreUnavailable: the records do not answer.
    """
    with closing(RedisStore(settings)) as store:
        consumed = {queue for facts in store.workers().values() for queue in read_facts(facts).queues or ()}
        waiting = {queue for queue, count in store.launches_waiting().items() if count}
    return sorted({settings.attempts_queue, *consumed, *waiting} - {settings.steps_queue})


def probes(settings: Settings, within: float) -> list[Finding]:
    """Submit one action for the steps and one for each queue in use, at the same time, and wait for their ends.

    What has not ended in time is aborted, so that it does not run later. The records go as those of any ended action.

    Args:
        settings: where to submit.
        within: longest wait for all of them together, seconds.
    """
    try:
        queues = queues_in_use(settings)
        with connected(Place("", "")) as client:
            mark, ends = uuid.uuid4().hex[:8], time.monotonic() + within
            specs = {"probe of steps": _sleep(mark, within)}
            specs |= {
                f"probe of {queue}": _call(queue, f"{mark}-{n}", within) for n, queue in enumerate(queues)
            }
            sent = [_sent(client, name, spec) for name, spec in specs.items()]
            return [
                one if isinstance(one, Finding) else _seen(client, one, ends - time.monotonic())
                for one in sent
            ]
    except ReconcilerError as error:
        return [_refused("probe", error)]


def _sent(client: Client, name: str, spec: ActionSpec) -> Probe | Finding:
    try:
        return Probe(name, client.submit(spec), time.monotonic())
    except ReconcilerError as error:
        return _refused(name, error)


def _refused(name: str, error: ReconcilerError) -> Finding:
    return Finding(name=name, problems=(f"nothing could be submitted: {sentence_of(error)}",))


def _sleep(mark: str, within: float) -> ActionSpec:
    template = TaskTemplate(
        type=SLEEP, interface=Interface(inputs={"duration": "duration"}), metadata=_limits(within)
    )
    return ActionSpec(
        run_name=f"doctor-{mark}",
        task_type=SLEEP,
        task_template=encode_template(template),
        inputs=b'{"duration":0}',
    )


def _call(queue: str, mark: str, within: float) -> ActionSpec:
    interface = Signature.of(probe).interface
    template = TaskTemplate(
        type=FUNCTION,
        interface=Interface(inputs=interface["inputs"], outputs=interface["outputs"]),
        metadata=_limits(within),
        custom=msgspec.to_builtins(FunctionConfig(function=PROBE, queue=queue)),
    )
    return ActionSpec(
        run_name=f"doctor-{mark}", task_type=FUNCTION, task_template=encode_template(template), inputs=b"{}"
    )


def _limits(within: float) -> TaskMetadata:
    """Limit the probe in time: it ends by itself if this process is killed before."""
    return TaskMetadata(timeouts=Timeouts(overall=timedelta(seconds=max(within, 1) * 2)))


def _seen(client: Client, one: Probe, left: float) -> Finding:
    try:
        record = one.run.wait(max(left, 0.0))
    except ResultTimeout:
        record = client.get(one.run.action)
        if not record.phase.is_terminal():
            with suppress(ReconcilerError):
                client.abort(one.run.action, REASON)
            return _late(one, record)
    took = span(int((time.monotonic() - one.began) * 1000))
    if record.phase is ActionPhase.SUCCEEDED:
        return Finding(name=one.name, detail=f"{one.run.action} ended within {took}")
    error = record.status.error_state
    why = f"{error.code}: {error.message}" if error else "it was stopped by somebody"
    problem = f"{one.run.action} is {record.phase} ({why}): look at the logs of the workers"
    return Finding(name=one.name, problems=(problem,))


def _late(one: Probe, record: TaskAction) -> Finding:
    problem = (
        f"{one.run.action} had not ended in time: it is {record.phase}, {waiting_reason(record) or 'and says nothing'}; "
        "look at the checks above and at the logs of the workers; if all slots are busy, ask with a longer --within"
    )
    return Finding(name=one.name, problems=(problem,), late=True)
