"""Decide whether this worker can run a launch. If not, it hands the launch back, which costs the action nothing."""

from __future__ import annotations

import socket
from contextlib import suppress

from reconciler.api.action import TaskAction
from reconciler.api.errors import PluginError, Unavailable
from reconciler.api.remembered import Remembered
from reconciler.api.template import Interface, shared_template, template_or_none
from reconciler.core.functions import interface_digest
from reconciler.plugins.function import config_of
from reconciler.stores.known import Known
from reconciler.wiring import Engine
from worker.attempts.broken import broken
from worker.attempts.heartbeat import Heartbeat
from worker.runner.runner import NotStarted, Runner, Stopped, Unknown

_LONGEST = 4_096
"""Most characters of a reason: it is stored with the record."""


_digests: Remembered[bytes, str] = Remembered(1024 * 1024)
"""Of interfaces, by the bytes of templates."""


class CannotRun(Exception):  # no error, a turn of events: the launch goes back
    """This worker cannot run the launch, for the given reason; `unfit`, `lacks`: see `HandBack`."""

    def __init__(self, why: str, unfit: str = "", lacks: str = "") -> None:
        """Keep them."""
        super().__init__(why)
        self.unfit, self.lacks = unfit, lacks


def check_fit(engine: Engine, runner: Runner, record: TaskAction, beat: Heartbeat) -> None:
    """Make the child ready, and check that it knows the function with the interface the action was submitted for.

    With another interface it runs all the same, unless a living worker of the queue has the very one: types are often
    renamed without harm, and while a new release replaces an old one both are there.

    Raises:
        CannotRun: it is somebody else's, or nobody's.
    """
    found = runner.functions(stop=beat.reason, poll=1.0)
    if isinstance(found, Stopped):
        return  # the call will be told the same
    if isinstance(found, NotStarted):
        raise cannot(found)
    broken.mend()
    template = template_or_none(record)
    try:
        config = config_of(template.custom if template else {})
    except PluginError:
        return  # reported as the error of the action it is
    digest = found.get(config.function)
    if digest is None:
        raise cannot(Unknown(config.function, tuple(found)))
    wanted = _wanted(record.spec.task_template)
    if wanted not in {"", digest} and wanted in _known(engine, config.queue, config.function).digests:
        raise CannotRun(f"worker {socket.gethostname()} has {config.function!r} with another interface")


def check_unfit(runner: Runner, record: TaskAction, beat: Heartbeat, problem: str) -> None:
    """Check that stored inputs, which do not fit the function, were made for it as this worker has it.

    If so, it is the submitter's mistake. If not, a deploy is under way: they may fit elsewhere, or here after it.

    Raises:
        CannotRun: they were made for another interface.
    """
    wanted = _wanted(record.spec.task_template)
    found = runner.functions(stop=beat.reason, poll=1.0)
    if not wanted or isinstance(found, Stopped):
        return
    if isinstance(found, NotStarted):  # its child ended since it said so: another one shall say it again
        raise cannot(found)
    digest = found.get(config_of(shared_template(record.spec.task_template).custom).function, "")
    if digest != wanted:
        raise CannotRun(f"worker {socket.gethostname()}: {problem[:_LONGEST]}", digest)


def _wanted(template: bytes) -> str:
    """Digest the interface of a template, once for all calls of a function; empty when it has none."""
    found = _digests.get(template)
    if found is not None:
        return found
    task = shared_template(template)
    interface = task.interface or Interface()
    told = interface.inputs or interface.outputs
    digest = interface_digest(interface.inputs, interface.outputs, task.secrets) if told else ""
    return _digests.keep(template, digest, len(template))


def cannot(found: NotStarted | Unknown) -> CannotRun:
    """Say why not: this worker has no process of functions, or that process does not know the function."""
    if isinstance(found, NotStarted):
        broken.say(found.message)
        text = f"cannot run functions: {' '.join(found.message.split())[:_LONGEST]}"
    else:
        text = f"does not know the function {found.function!r}"
    return CannotRun(f"worker {socket.gethostname()} {text}")


def _known(engine: Engine, queue: str, function: str) -> Known:
    with suppress(Unavailable):  # asked for nothing but a better place: it runs here
        return engine.store.find_function(queue or engine.settings.attempts_queue, function)
    return Known()
