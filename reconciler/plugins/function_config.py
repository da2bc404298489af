"""`custom` of a function's template: what it may say, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from reconciler.api.errors import BadTaskSpecification, InvalidInput
from reconciler.api.names import check_name
from reconciler.api.queues import check_attempts_queue
from reconciler.api.resource import check_resource
from reconciler.settings import Settings

TASK_TYPE = "function"
_MOST_UNITS = 10**9


class FunctionConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`custom` of a function's template: its stored name, the queue of its workers, the units of a quota it needs.

    `suspend` is whether it gives its worker away while it waits for what it has started.
    """

    function: str
    queue: str = ""
    resource: str = ""
    units: int = 1
    suspend: bool = True


class Kept(NamedTuple):
    """The queues an installation keeps from users.

    Attributes:
        steps_queue: where reconcile steps run.
        exchange: where events are forwarded to; empty: nowhere.
    """

    steps_queue: str = ""
    exchange: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Kept:
        """Return the queues that these settings keep."""
        return cls(settings.steps_queue, settings.events_exchange)


NOT_KEPT = Kept()


def config_of(custom: Mapping[str, object]) -> FunctionConfig:
    """Read `custom`.

    Raises:
        BadTaskSpecification: it names no function.
    """
    try:
        return msgspec.convert(custom, FunctionConfig)
    except msgspec.ValidationError as error:
        raise BadTaskSpecification(
            f"the template of a function must name it in custom.function: {error}"
        ) from error


def config_problems(config: FunctionConfig, kept: Kept) -> list[str]:
    """List what no attempt can have, one sentence each."""
    found = []
    try:
        check_name("function", config.function, 63)
        if config.queue:
            check_attempts_queue(config.queue, kept.steps_queue, kept.exchange)
        if config.resource:
            check_resource(config.resource)
    except InvalidInput as error:
        found.append(str(error))
    if not 1 <= config.units <= _MOST_UNITS:
        found.append(f"units must be between 1 and {_MOST_UNITS}, got {config.units}")
    return found


def function_types(settings: Settings) -> frozenset[str]:
    """Name the task types whose `custom` is read as that of a function."""
    routes = (text.partition("=") for text in settings.plugin_routes)
    return frozenset({TASK_TYPE, *(task_type for task_type, _, plugin in routes if plugin == TASK_TYPE)})
