"""Traces of a real installation, sent to a collector: threads for steps, a pool of processes for attempts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_processes import environment, started
from cli_support import SLEEP, Backend, backend_on, eventually
from opentelemetry.sdk.trace import TracerProvider
from otlp_receiver import Received, Receiver, receiving

from reconciler.api.action import ActionSpec
from reconciler.client import Client
from reconciler.embedded.servers import EmbeddedServers
from reconciler.otel.current import join_trace

pytestmark = [pytest.mark.rule("R93"), pytest.mark.servers]
FASTER = {"OTEL_BSP_SCHEDULE_DELAY": "100", "RECONCILER_SUSPEND_AFTER": "0"}
SECRET = "canary-of-inputs"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Valkey and S3 of this module."""
    running = EmbeddedServers(tmp_path_factory.mktemp("servers"))
    running.start()
    yield running
    running.stop()


@contextmanager
def workers(folder: Path, *roles: tuple[str, str, str], **more: str) -> Iterator[None]:
    """Provide workers, by queues, pool and size; they are ended as an operator ends them, which takes no minute."""
    env = environment(RECONCILER_IMPORTS="traced_functions", **FASTER, **more)
    env["PYTHONPATH"] += f":{Path(__file__).parent}"
    celery = (
        sys.executable,
        "-m",
        "celery",
        "-A",
        "worker",
        "worker",
        "--without-gossip",
        "--without-mingle",
    )
    with ExitStack() as stack:
        made = [
            stack.enter_context(
                started((*celery, "-Q", q, "-P", p, "-c", c, "-n", f"{p}@traces"), folder, env)
            )
            for q, p, c in roles
        ]
        yield
        for one in made:
            one.terminate()
        for one in made:
            one.communicate(timeout=60)


def spec_of(function: str, run: str, **inputs: Any) -> ActionSpec:
    """Return a call of a function of `traced_functions`."""
    import traced_functions  # noqa: PLC0415  # declares tasks

    task = getattr(traced_functions, function)
    spec: ActionSpec = task.spec((), inputs, run=run)
    return spec


def ended(backend: Backend, run: str, action: str = "a0") -> None:
    """Wait for the end of a run."""
    eventually(lambda: backend.get(run, action).is_terminal, 90)


def tree(spans: list[Received]) -> dict[str, Received]:
    """Return spans by id."""
    return {one.id: one for one in spans}


def way_up(span: Received, known: dict[str, Received]) -> list[str]:
    """Return the first words of the names from a span to its root, and what the root's parent is."""
    found = [span.name.split()[0]]
    while span.parent in known:
        span = known[span.parent]
        found.append(span.name.split()[0])
    return [*found, span.parent]


class Traced:
    """A run that was submitted within a span of a program, and what came of it."""

    def __init__(self, backend: Backend, receiver: Receiver) -> None:
        self.backend = backend
        self.receiver = receiver
        self.client = Client.from_settings(backend.settings)  # its wake-ups are sent
        self.tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")

    def submit(self, function: str, run: str, **inputs: Any) -> tuple[str, str]:
        """Submit within a span; its trace and its id."""
        with self.tracer.start_as_current_span("request") as span:
            self.client.submit(spec_of(function, run, **inputs))
        context = span.get_span_context()
        return f"{context.trace_id:032x}", f"{context.span_id:016x}"

    def spans(self, trace_id: str) -> list[Received]:
        """Return all of a trace, once its root has come."""
        found: list[Received] = []

        def complete() -> bool:
            found[:] = [one for one in self.receiver.spans() if one.trace == trace_id]
            return any(one.name.startswith("run ") for one in found)

        eventually(complete, 60)
        return found

    def result(self, run: str, action: str = "a0") -> Any:
        """What a function returned."""
        return json.loads(
            self.backend.reconciler("result", f"default/development/{run}/{action}", "--json").output
        )


@pytest.fixture(scope="module")
def traced(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Workers that export, of one installation for all tests."""
    with (
        pytest.MonkeyPatch.context() as patch,
        backend_on(servers, patch) as backend,
        receiving() as receiver,
    ):
        patch.syspath_prepend(str(Path(__file__).parent))
        roles = ("steps", "threads", "4"), ("attempts", "prefork", "1")
        with workers(tmp_path_factory.mktemp("w"), *roles, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url):
            yield Traced(backend, receiver)


def test_a_run_is_a_trace(traced: Traced) -> None:
    """Run, attempts, launches, the time without a worker, the child and its parts: one tree below the submitting span."""
    trace_id, request = traced.submit("parent", "tree", secret=SECRET)
    ended(traced.backend, "tree")
    eventually(lambda: len({s.name.split()[0] for s in traced.spans(trace_id)}) >= 6, 60)
    spans = traced.spans(trace_id)
    known = tree(spans)
    launches = [s for s in spans if s.name == "launch traced.parent"]
    eventually(lambda: len([s for s in traced.spans(trace_id) if s.name == "launch traced.parent"]) >= 3, 60)
    spans = traced.spans(trace_id)
    known = tree(spans)
    launches = sorted((s for s in spans if s.name == "launch traced.parent"), key=lambda s: s.start)
    assert way_up(launches[0], known) == ["launch", "attempt", "run", request]
    child = next(s for s in spans if s.name == "launch traced.looks")
    assert way_up(child, known) == ["launch", "attempt", "action", "run", request]
    assert [s.values["reconciler.ended"] for s in launches][:2] == ["suspended", "raised"]
    assert launches[1].error == "ValueError"
    assert launches[1].links == ((trace_id, launches[0].id),)
    [first, second] = sorted((s for s in spans if s.name == "attempt traced.parent"), key=lambda s: s.start)
    assert (first.error, second.error) == ("ValueError", None)
    [run] = [s for s in spans if s.name == "run traced.parent"]
    assert run.error is None
    assert run.values["reconciler.attempts"] == 2
    waits = [s for s in spans if s.name == "suspended traced.parent"]
    assert waits
    assert waits[0].start >= launches[0].start
    assert waits[0].end <= launches[1].end
    rounds = [s for s in spans if s.name == "reconcile"]
    steps = {s.id: s for s in traced.receiver.spans() if s.name == "reconcile step"}
    assert rounds
    assert {link for s in rounds for _, link in s.links} <= steps.keys()
    assert {s.service for s in spans} == {"celery-reconciler"}
    for span in spans:
        assert span.end >= span.start > 1_600_000_000 * 10**9
        assert b"canary" not in span.raw


def test_user_code_finds_its_launch(traced: Traced) -> None:
    """The current span and TRACEPARENT are the span of the launch, in a plain function and in each task of an async one."""
    for function, run in (("looks", "sees"), ("looks_async", "sees-async")):
        trace_id, _ = traced.submit(function, run)
        ended(traced.backend, run)
        eventually(lambda of=trace_id: any(s.name.startswith("launch") for s in traced.spans(of)), 60)
        [launch] = [s for s in traced.spans(trace_id) if s.name.startswith("launch")]
        assert traced.result(run) == [f"00-{trace_id}-{launch.id}-01"] * 2


def test_a_run_without_a_trace_has_its_own(traced: Traced) -> None:
    """Who submits without a span gets a trace all the same, the same for all processes."""
    traced.client.submit(spec_of("looks", "own"))
    ended(traced.backend, "own")
    mine = lambda: [s for s in traced.receiver.spans() if s.values.get("reconciler.run") == "own"]  # noqa: E731  # used thrice
    eventually(
        lambda: (
            any(s.name.startswith("launch") for s in mine()) and any(s.name.startswith("run") for s in mine())
        ),
        60,
    )
    assert len({s.trace for s in mine()}) == 1
    [run] = [s for s in mine() if s.name.startswith("run")]
    assert run.parent == ""
    assert traced.result("own")[0].split("-")[1] == run.trace


def test_a_detached_run_goes_on_in_the_trace(traced: Traced) -> None:
    """A run of its own that a function starts hangs below the launch that started it."""
    trace_id, _ = traced.submit("apart", "above")
    ended(traced.backend, "above")
    ended(traced.backend, "apart-run")
    both = lambda: [s for s in traced.receiver.spans() if s.trace == trace_id and s.name.startswith("run ")]  # noqa: E731  # used twice
    eventually(lambda: len(both()) == 2, 60)
    known = tree([s for s in traced.receiver.spans() if s.trace == trace_id])
    [below] = [s for s in both() if s.values["reconciler.run"] == "apart-run"]
    assert known[below.parent].name == "launch traced.apart"


def test_what_is_not_sampled_is_not_sent(traced: Traced) -> None:
    """A program that does not record its trace has us record none, and the function is told so."""
    context = f"00-{'ab' * 16}-{'cd' * 8}-00"
    traced.client.submit(spec_of("looks", "silent"), traceparent=context)
    ended(traced.backend, "silent")
    assert {seen.rpartition("-")[2] for seen in traced.result("silent")} == {"00"}
    trace_id, _ = traced.submit("looks", "behind")
    ended(traced.backend, "behind")
    traced.spans(trace_id)
    assert [s for s in traced.receiver.spans() if s.trace == "ab" * 16] == []


def test_a_command_joins_the_trace_of_its_caller(traced: Traced) -> None:
    """`reconciler submit` reads TRACEPARENT, as a script of CI sets it; one that is no context is passed over."""
    sleep = (
        "submit",
        "--type",
        "core-sleep",
        "--inputs",
        '{"duration": 0}',
        "--interface",
        json.dumps(SLEEP),
    )
    for run, context in (("from-ci", f"00-{'12' * 16}-{'34' * 8}-01"), ("from-evil", "00-evil\x1b[31m")):
        result = traced.backend.reconciler(*sleep, "--run", run, env={"TRACEPARENT": context})
        assert result.exit_code == 0, result.output
    assert traced.backend.get("from-ci").metadata.traceparent == f"00-{'12' * 16}-{'34' * 8}-01"
    assert traced.backend.get("from-evil").metadata.traceparent == ""
    join_trace({})


def test_a_collector_that_hangs_harms_nothing(servers: EmbeddedServers, tmp_path: Path) -> None:
    """Runs end, and the workers stop in time, with a collector that takes what comes and never answers."""
    with (
        pytest.MonkeyPatch.context() as patch,
        backend_on(servers, patch) as backend,
        receiving(hangs=True) as receiver,
    ):
        patch.syspath_prepend(str(Path(__file__).parent))
        limits = {"OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}
        both = ("steps,attempts", "prefork", "1")
        with workers(tmp_path, both, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, **limits):
            client = Client.from_settings(backend.settings)
            for number in range(5):
                client.submit(spec_of("looks", f"h{number}"))
            for number in range(5):
                ended(backend, f"h{number}")
            eventually(lambda: receiver.requests > 0, 60)
