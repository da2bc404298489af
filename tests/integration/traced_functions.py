"""Functions that look at the trace they run in, for `test_traces`."""

from __future__ import annotations

import asyncio
import os
import sys

from reconciler import TaskEnvironment

env = TaskEnvironment("traced")


def current() -> str:
    """Return the current span as any library of the user finds it; empty when nobody has OpenTelemetry here."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return ""
    found = api.get_current_span().get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"


@env.task()
def looks() -> list[str]:
    """Tell both."""
    return [os.environ.get("TRACEPARENT", ""), current()]


@env.task()
async def looks_async() -> list[str]:
    """Tell both from a task of the event loop."""
    return await asyncio.gather(_looks(), _looks())


async def _looks() -> str:
    await asyncio.sleep(0)
    return current()


@env.task(retries=1)
def parent(secret: str) -> list[list[str]]:
    """Start a child and wait without a worker; fail the first attempt."""
    del secret
    found = [looks.delay().result()]
    from reconciler import current_attempt  # noqa: PLC0415  # of the call

    attempt = current_attempt()
    assert attempt is not None
    if attempt.attempt == 1:
        raise ValueError("the canary-in-a-message")
    return found


@env.task()
def apart() -> str:
    """Start a run of its own."""
    run = looks.submit(run="apart-run", detached=True)
    return run.id.run if hasattr(run.id, "run") else str(run.id)
