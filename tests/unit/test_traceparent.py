"""Trace contexts come from anybody: what is one, what is refused, and who hands it on."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from reconciler import TaskEnvironment
from reconciler.api.errors import InvalidSpec
from reconciler.api.traceparent import TraceParent, check_traceparent, read_traceparent
from reconciler.api.variables import variable_problem
from reconciler.client import Run
from reconciler.otel.current import current_traceparent, join_trace
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R93")
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"
env = TaskEnvironment("contexts")


@env.task()
def one(number: int) -> int:
    """Give it back."""
    return number


@env.task()
def starts() -> int:
    """Start a child, a map and a run of its own."""
    one.submit((9,), run="apart", detached=True)
    return one.delay(1).result() + sum(one.map([2, 3]).result())


def kept_of(lab: Lab, run: Run[Any]) -> str:
    """What the record of a root keeps."""
    return lab.get(run.action).metadata.traceparent


BAD: list[Any] = [
    "evil",
    GOOD.upper(),
    f"{GOOD} ",
    f"{GOOD}\n",
    f"{GOOD}-more",
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE[:-1]}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-0g",
    f"00-{TRACE}-{SPAN}",
    f"01-{TRACE}-{SPAN}-01-" + "x" * 100_000,
    "00-" + "\u0661" * 32 + f"-{SPAN}-01",
    "\x1b[31m",
    "\ud800",
    None,
    7,
    GOOD.encode(),
]


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text)[:30])
def test_what_is_no_context_is_refused(text: Any) -> None:
    """Before anything is stored, with a sentence that shows what was given, cut and harmless."""
    lab = Lab()
    with pytest.raises(InvalidSpec, match="traceparent") as refused:
        lab.client.submit(one.spec((1,), {}, run="r"), traceparent=text)
    assert len(str(refused.value)) < 500
    assert str(refused.value).isascii()
    assert "\x1b" not in str(refused.value)
    with pytest.raises(InvalidSpec):
        lab.client.submit_many([one.spec((1,), {})], traceparent=text)
    assert lab.client.runs() == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (GOOD, GOOD),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-03", GOOD),
        (f"42-{TRACE}-{SPAN}-ff-what-comes-later", GOOD),
        ("", ""),
    ],
)
def test_what_is_one_is_kept_in_one_form(text: str, kept: str) -> None:
    """Flags we do not know go, and a later version is read as far as it is known."""
    assert check_traceparent(text) == kept
    lab = Lab()
    assert kept_of(lab, lab.client.submit(one.spec((1,), {}), traceparent=text)) == kept


@given(st.text(max_size=80))
def test_reading_never_fails(text: str) -> None:
    """Whatever a header holds is a context, or none."""
    found = read_traceparent(text)
    assert found is None or read_traceparent(str(found)) == found


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read(trace: int, span: int, sampled: bool) -> None:  # noqa: FBT001  # drawn
    """Each context survives its text."""
    context = TraceParent(f"{trace:032x}", f"{span:016x}", sampled)
    assert read_traceparent(str(context)) == context


def test_the_current_span_is_taken() -> None:
    """Within a span of the program its context is kept; an explicit one wins; without a span there is none."""
    lab, tracer = Lab(), TracerProvider(shutdown_on_exit=False).get_tracer("t")
    assert kept_of(lab, lab.client.submit(one.spec((1,), {}))) == ""
    with tracer.start_as_current_span("request") as span:
        context = span.get_span_context()
        wanted = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
        assert kept_of(lab, lab.client.submit(one.spec((1,), {}))) == wanted
        many = lab.client.submit_many([one.spec((n,), {}) for n in range(3)])
        assert {a.metadata.traceparent for a in lab.client.actions(many.id)} == {wanted}
        assert kept_of(lab, lab.client.submit(one.spec((1,), {}), traceparent=GOOD)) == GOOD


def test_it_is_no_part_of_the_spec() -> None:
    """The same submission from another trace is the same run, and the first context stands."""
    lab = Lab()
    first = lab.client.submit(one.spec((1,), {}), idempotency_key="k", traceparent=GOOD)
    again = lab.client.submit(one.spec((1,), {}), idempotency_key="k", traceparent=GOOD.replace("b7", "c8"))
    assert again.action == first.action
    assert kept_of(lab, again) == GOOD


def test_all_of_a_run_has_one() -> None:
    """Children and members have the context of their run; a detached run has its trace."""
    lab = Lab()
    run = lab.client.submit(starts.spec((), {}), traceparent=GOOD)
    lab.work()
    assert run.result() == 6
    found = {action.metadata.traceparent for action in lab.client.actions(run.id)}
    assert found == {GOOD}
    apart = lab.client.get(msgspec.structs.replace(run.action, run="apart")).metadata.traceparent
    assert read_traceparent(apart) is not None
    assert apart.split("-")[1] == TRACE


def test_a_child_of_a_plain_client_has_that_of_its_run() -> None:
    """Whatever span the client is in: a run is one trace."""
    lab, tracer = Lab(), TracerProvider(shutdown_on_exit=False).get_tracer("t")
    run = lab.client.submit(one.spec((1,), {}), traceparent=GOOD)
    with tracer.start_as_current_span("another"):
        spec = msgspec.structs.replace(
            one.spec((2,), {}, run=run.action.run), action_name="c", parent_action_name=run.action.action
        )
        child = lab.client.submit(spec)
        person = lab.client.condition("ok", run=run.action.run, parent=run.action.action)
    assert kept_of(lab, child) == GOOD
    assert kept_of(lab, person) == GOOD


def test_a_command_may_join_a_trace() -> None:
    """TRACEPARENT of a command counts where there is no span; what is none is passed over."""
    try:
        join_trace({"TRACEPARENT": GOOD})
        assert current_traceparent() == GOOD
        join_trace({"TRACEPARENT": "evil"})
        assert current_traceparent() == ""
    finally:
        join_trace({})


def test_a_submission_does_not_choose_where_traces_go() -> None:
    """The variables of OpenTelemetry say where data and keys are sent: they are the worker's to set."""
    assert variable_problem("OTEL_EXPORTER_OTLP_ENDPOINT", "http://evil")
    assert not variable_problem("TRACEPARENT", GOOD)


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        # redis-py imports the API and metrics of its own accord, where they are installed
        (
            "reconciler, reconciler.cli.checks, worker.app",
            ("reconciler.otel.export", "opentelemetry.exporter"),
        ),
        ("worker.runner.child", ("opentelemetry",)),
    ],
)
def test_nothing_is_imported_where_nobody_traces(modules: str, absent: tuple[str, ...]) -> None:
    """Without an OTEL_* variable neither client, nor worker, nor command imports what exports traces."""
    program = (
        f"import sys, {modules}\nfrom worker.runner import spans\nspans.prepare()\n"
        f"assert not [name for name in sys.modules if name.startswith({absent!r})]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
