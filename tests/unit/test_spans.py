"""The spans of runs on the engine in memory, and what stands between them and an exporter."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from otlp_receiver import receiving

from reconciler import TaskEnvironment, sleep, tracing
from reconciler.api.action import ActionSpec
from reconciler.api.traceparent import read_traceparent
from reconciler.cli.check_traces import check_traces
from reconciler.controller.traced import trace
from reconciler.core.spans import launch_context, launch_span, launch_span_id, trace_of
from reconciler.embedded.ports import pick_ports
from reconciler.otel.config import endpoint_of, is_wanted, problems_of
from reconciler.otel.export import PATIENCE, OtelSink
from reconciler.settings import Settings
from reconciler.stores.base import CommitOutcome, CommitReport, Write
from reconciler.testing import Lab
from reconciler.tracing import Link, Span
from worker.tracing import Traces

pytestmark = pytest.mark.rule("R93")
TRACE, REQUEST = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = f"00-{TRACE}-{REQUEST}-01"
env = TaskEnvironment("spans")


class Kept:
    """A sink that keeps what it is given; it records all traces but those that are asked not to be."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def is_sampled(self, trace_id: str, asked: bool | None) -> bool:  # noqa: FBT001  # of the protocol
        """Decide as a sampler that follows its parent."""
        del trace_id
        return asked is not False

    def emit(self, span: Span) -> None:
        """Keep it."""
        self.spans.append(span)

    def close(self) -> None:
        """Do nothing, because nothing is left."""

    def named(self, word: str) -> list[Span]:
        """Return the spans whose name begins with a word."""
        return [span for span in self.spans if span.name.split()[0] == word]


class Broken(Kept):
    """A sink that fails."""

    def emit(self, span: Span) -> None:
        """Fail.

        Raises:
            OSError: always.
        """
        raise OSError(span.name)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """What is emitted while the test runs."""
    made = Kept()
    tracing.install(made)
    yield made
    tracing.close()


@env.task(retries=1)
def fails_once(canary: str, state: str = "") -> str:
    """Fail in the first attempt."""
    from reconciler import current_attempt  # noqa: PLC0415  # of the call

    attempt = current_attempt()
    assert attempt is not None
    if attempt.attempt == 1:
        raise ValueError(canary)
    return state


@env.task()
def waits() -> str:
    """Wait for an hour without a worker."""
    sleep(timedelta(hours=1))
    return "done"


@env.task()
def below() -> int:
    """Have a child."""
    return leaf.delay(1).result()


@env.task()
def leaf(number: int) -> int:
    """Give it back."""
    return number


def submitted(lab: Lab, task: Any, *args: Any, **options: Any) -> Any:
    """Return a run within the trace."""
    return lab.client.submit(task.spec(args, {}), traceparent=CONTEXT, **options)


def test_each_attempt_has_its_span(kept: Kept) -> None:
    """One that failed with its code, one that did not; both below the run, which is below the request. No text of users."""
    lab = Lab()
    submitted(lab, fails_once, "canary")
    lab.work()
    [run] = kept.named("run")
    first, second = kept.named("attempt")
    assert (run.trace_id, run.parent, run.error) == (TRACE, REQUEST, "")
    assert (first.error, second.error) == ("ValueError", "")
    assert {first.parent, second.parent} == {run.span_id}
    assert first.end <= second.start <= second.end <= run.end
    assert {span.trace_id for span in kept.spans if span.name != "reconcile step"} == {TRACE}
    assert "canary" not in repr(kept.spans)


def test_a_step_names_what_it_reconciled(kept: Kept) -> None:
    """A step is a span of its own, since it serves many runs; each reconcile in a run's trace links to it."""
    lab = Lab(shards=1)
    for _ in range(3):
        submitted(lab, leaf, 1)
    lab.step()
    [step] = kept.named("reconcile")[3:]
    assert step.name == "reconcile step"
    assert step.attributes["reconciler.actions"] == 3
    assert len(step.links) == 3
    reconciled = kept.named("reconcile")[:3]
    assert {span.links for span in reconciled} == {(Link(step.trace_id, step.span_id),)}
    assert {span.parent for span in reconciled} == {link.span_id for link in step.links}


def test_time_without_a_worker_is_a_span(kept: Kept) -> None:
    """From the suspension to the next launch, and also when an abort ends it."""
    lab = Lab()
    submitted(lab, waits)
    aborted = submitted(lab, waits)
    lab.work(timedelta(minutes=1))
    aborted.abort()
    lab.work()
    spans = sorted(kept.named("suspended"), key=lambda span: span.end - span.start)
    assert len(spans) == 2
    assert spans[1].end - spans[1].start >= 3_600_000
    assert sorted(span.error for span in kept.named("run")) == ["", "aborted"]


def test_a_child_lies_below_its_parent(kept: Kept) -> None:
    """Its span is an action of the same trace, below the span of the run."""
    lab = Lab()
    submitted(lab, below)
    lab.work()
    [child], [run] = kept.named("action"), kept.named("run")
    assert (child.trace_id, child.parent) == (TRACE, run.span_id)
    assert child.name == "action spans.leaf"


def test_a_lost_launch_is_told_by_whoever_finds_out(kept: Kept) -> None:
    """Its worker reports nothing any more: the step that goes on without it makes its span, and the next one links to it."""
    lab = Lab()
    submitted(lab, leaf, 1)
    lab.step()
    pick = lab.store.pick("attempts")
    [lost] = lab.store.draw(pick.shard, pick.line, owner="gone", limit=1, lease=1000).actions
    lab.clock.advance(timedelta(seconds=5))
    lab.work()
    [span] = kept.named("launch")
    assert (span.error, span.attributes["reconciler.worker"]) == ("WorkerLost", "gone")
    assert span.start == lost.attempt.started_at
    assert span.parent == kept.named("attempt")[0].span_id


def test_what_is_not_recorded_makes_no_span(kept: Kept) -> None:
    """A trace that its program does not record costs one question."""
    lab = Lab()
    lab.client.submit(leaf.spec((1,), {}), traceparent=CONTEXT[:-1] + "0")
    lab.work()
    assert kept.spans == []


def test_a_record_with_a_damaged_context_has_a_trace_of_its_own(kept: Kept) -> None:
    """Whoever wrote over the field of a record changes a trace, and nothing else."""
    lab = Lab()
    run = submitted(lab, leaf, 1)
    record = lab.get(run.action)
    record.set_metadata(traceparent="00-evil\x1b")
    own = trace_of(record)
    assert (len(own.trace_id), own.parent, own.sampled) == (32, "", None)
    assert own.trace_id != TRACE
    assert read_traceparent(launch_context(record, "1")) is not None
    assert kept.spans == []


def test_a_sink_that_fails_stops_nothing() -> None:
    """The run ends all the same."""
    tracing.install(Broken())
    try:
        lab = Lab()
        run = submitted(lab, leaf, 7)
        lab.work()
        assert run.result() == 7
    finally:
        tracing.close()


def test_a_forked_process_begins_without() -> None:
    """Threads and connections of its parent are not its own."""
    tracing.install(Kept())
    try:
        child = os.fork()
        if child == 0:
            os._exit(0 if tracing.sink() is None else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        tracing.close()


# -- what exports ----------------------------------------------------------------------------------------------------
def span(number: int = 1) -> Span:
    """Any span."""
    return Span(name="run x", trace_id=TRACE, span_id=f"{number:016x}", start=1, end=2)


class Hanging(SpanExporter):
    """Takes spans, and does not come back until it is let."""

    def __init__(self) -> None:
        self.entered, self.free = threading.Event(), threading.Event()

    def export(self, spans: Any) -> SpanExportResult:
        """Hang."""
        del spans
        self.entered.set()
        self.free.wait(60)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Hang here too."""
        self.free.wait(60)


def test_an_exporter_that_hangs_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are taken at once, also when the queue is full, and the end waits two seconds at most."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    exporter = Hanging()
    sink = OtelSink({}, exporter)
    sink.emit(span())
    assert exporter.entered.wait(30)
    began = time.monotonic()
    for number in range(5_000):
        sink.emit(span(number + 1))
    assert time.monotonic() - began < 20
    began = time.monotonic()
    sink.close()
    assert time.monotonic() - began < PATIENCE + 30
    exporter.free.set()


@pytest.mark.parametrize(
    ("sampler", "argument", "answers"),
    [
        ("", "", (True, True, False)),
        ("always_off", "", (False, False, False)),
        ("parentbased_traceidratio", "0.0", (False, True, False)),
    ],
)
def test_sampling_follows_the_standard_variables(
    sampler: str, argument: str, answers: tuple[bool, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer depends on the trace and what its program says, so all processes of an installation agree."""
    if sampler:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    sink = OtelSink({}, Hanging())
    assert tuple(sink.is_sampled(TRACE, asked) for asked in (None, True, False)) == answers
    sink._processor._batch_processor._exporter.free.set()  # type: ignore[attr-defined]  # ours
    sink.close()


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_traces_are_asked_for(variables: dict[str, str], wanted: bool) -> None:  # noqa: FBT001  # a parameter
    """An exporter or an endpoint turns them on, `none` and OTEL_SDK_DISABLED off."""
    assert is_wanted(variables) is wanted
    assert not Traces(variables).troubles()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "otlp"}, "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "http://"),
    ],
)
def test_what_cannot_be_is_told(variables: dict[str, str], said: str) -> None:
    """A worker goes on without traces, and tells `doctor` what to change."""
    assert said in " ".join(problems_of(variables))
    traces = Traces(variables)
    traces.begin()
    assert tracing.sink() is None
    assert all("not exported" in text for text in traces.troubles())


def test_a_variable_its_library_refuses_stops_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a queue that holds less than a batch."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-4")
    traces = Traces({"OTEL_TRACES_EXPORTER": "otlp"})
    traces.begin()
    assert tracing.sink() is None
    assert "max_queue_size" in " ".join(traces.troubles())


def test_where_traces_go() -> None:
    """An endpoint of traces is taken as it is, that of all signals as a base."""
    assert endpoint_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}) == "http://c:4318/v1/traces"
    assert endpoint_of({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/x"}) == "http://c/x"
    assert endpoint_of({}) == "http://localhost:4318/v1/traces"


def test_doctor_tries_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes traces, one that is not there, and none asked for."""
    assert check_traces(Settings()).skipped
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        assert not check_traces(Settings()).problems
        assert receiver.requests == 1
    [port] = pick_ports(1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:password@127.0.0.1:{port}")
    [problem] = check_traces(Settings()).problems
    assert "collector" in problem
    assert "password" not in problem


def test_a_launch_is_linked_to_the_one_before() -> None:
    """To the relaunch before it within an attempt, else to the last launch of the attempt before."""
    lab = Lab()
    env.client = lab.client
    action = lab.client.submit(ActionSpec(task_type="sleep", inputs=b"{}")).action
    record = lab.get(action)

    def link(**status: int) -> Span:
        changed = lab.get(action)
        changed.set_status(**status)
        return launch_span(changed, trace_of(changed), start=1, end=2, ended="suspended", waits_for=3)

    first, relaunch, second = (
        link(attempts=1),
        link(attempts=1, launches=2),
        link(attempts=2, previous_launches=1),
    )
    assert first.links == ()
    assert [one.span_id for one in relaunch.links] == [launch_span_id(record, "1-1")]
    assert [one.span_id for one in second.links] == [launch_span_id(record, "1-1")]
    assert first.attributes["reconciler.waits_for"] == 3


def test_a_round_that_writes_nothing_has_no_span(kept: Kept) -> None:
    """Only the step has one, which links to it."""
    lab = Lab()
    record = lab.get(submitted(lab, leaf, 1).action)
    kept.spans.clear()
    trace(0, [Write(action=record, original=record)], CommitReport(lab.clock(), (CommitOutcome.DONE,)))
    assert [span.name for span in kept.spans] == ["reconcile step"]
    assert [link.trace_id for link in kept.spans[0].links] == [TRACE]
