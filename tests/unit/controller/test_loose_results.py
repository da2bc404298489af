"""Results of plugins that say a thing less strictly than our own constructors do (R17, R18, R22)."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from control_support import FULL, MINUTE, lab_of, stored

from reconciler.api.event import ClusterEvent
from reconciler.api.transition import (
    ExecutionError,
    ExternalResource,
    TaskInfo,
    initializing,
    system_retryable_failure,
)


@pytest.mark.rule("R17", "R57")
def test_details_without_a_time_happened_now() -> None:
    """A later reason whose details bear no time has the time of its own round, not that of the phase before."""
    lab = lab_of(initializing(0, 0, "pulling", TaskInfo()), initializing(0, 1, "starting", TaskInfo()))
    action = stored(lab, FULL)
    lab.reconcile(action)
    lab.clock.advance(MINUTE)
    lab.reconcile(action)
    assert lab.events(action)[-1].cluster_events == (ClusterEvent("starting", lab.store.now()),)


@pytest.mark.rule("R22", "R26")
def test_the_kind_of_an_error_may_be_a_plain_text() -> None:
    """`"SYSTEM"` is the platform's failure like `ErrorKind.SYSTEM`: it spends the system budget, no user attempt."""
    error = ExecutionError("Gone", "the node is lost", cast("Any", "SYSTEM"))
    lab = lab_of(msgspec.structs.replace(system_retryable_failure("", ""), err=error))
    action = stored(lab, FULL)
    lab.reconcile(action)
    status = lab.get(action).status
    assert (status.system_failures, lab.get(action).is_terminal) == (1, False)


@pytest.mark.rule("R18")
def test_an_external_resource_has_a_log_context() -> None:
    """Each external resource can say where its own log lines are."""
    resource = ExternalResource(external_id="job", log_context={"pod": "p1"})
    again = msgspec.json.decode(msgspec.json.encode(resource), type=ExternalResource)
    assert again.log_context == {"pod": "p1"}
