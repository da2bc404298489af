"""What a process remembers is bounded by bytes, and what it hands out can be spoilt by nobody."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from reconciler.api.action import ActionSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.remembered import Remembered
from reconciler.api.template import parse_template, shared_template
from reconciler.api.transition import PhaseInfo, success
from reconciler.plugins.context import TaskExecutionContext
from reconciler.testing import Lab, ScriptedPlugin


def test_the_oldest_makes_room() -> None:
    """The sum of all entries stays below the limit; what was kept last stays."""
    memory: Remembered[int, str] = Remembered(10)
    for number in range(20):
        assert memory.keep(number, str(number), 3) == str(number)
        assert memory.weight <= 10
    assert [memory.get(number) for number in range(16, 20)] == [None, "17", "18", "19"]
    assert len(memory) == 3


def test_one_that_is_kept_again_counts_once() -> None:
    """Two threads may compute the same value."""
    memory: Remembered[str, int] = Remembered(10)
    memory.keep("a", 1, 4)
    memory.keep("a", 2, 5)
    assert (memory.get("a"), memory.weight, len(memory)) == (2, 5, 1)


def test_one_above_the_limit_is_kept_alone() -> None:
    """What is needed right now is remembered whatever its size, and goes with the next one."""
    memory: Remembered[str, int] = Remembered(10)
    memory.keep("small", 1, 1)
    memory.keep("huge", 2, 100)
    assert (memory.get("small"), memory.get("huge")) == (None, 2)
    memory.keep("small", 3, 1)
    assert (memory.get("small"), memory.get("huge"), memory.weight) == (3, None, 1)


@pytest.fixture
def traced() -> Iterator[None]:
    """Memory of Python is counted."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def hostile(number: int) -> bytes:
    """Return a template of 256 KiB that takes many times that when it is read."""
    return b'{"custom":{"n":%d,"x":[%s]}}' % (number, b",".join([b'{"a":0}'] * (250_000 // 8)))


def test_hostile_templates_do_not_add_up(traced: None) -> None:  # noqa: ARG001  # a fixture
    """60 templates of 256 KiB took 400 MB, and 1024 had room."""
    before, _ = tracemalloc.get_traced_memory()
    for number in range(30):
        assert shared_template(hostile(number)).custom["n"] == number
    after, _ = tracemalloc.get_traced_memory()
    assert after - before < 100_000_000


def test_a_template_is_decoded_once() -> None:
    """Equal bytes give the same object, for whoever only reads."""
    data = b'{"type":"once","custom":{"a":[1]}}'
    assert shared_template(data) is shared_template(bytes(bytearray(data)))


def test_a_template_of_ones_own_may_be_changed() -> None:
    """Whoever asks for one to change gets one."""
    data = b'{"type":"own","custom":{"a":[1]},"interface":{"inputs":{"x":"int"}}}'
    mine = parse_template(data)
    mine.custom["a"].append(2)
    assert mine.interface is not None
    mine.interface.inputs.clear()
    again = parse_template(data)
    assert (again.custom, again.interface) == (
        {"a": [1]},
        msgspec.structs.replace(mine.interface, inputs={"x": "int"}),
    )


def test_a_plugin_may_change_what_it_was_given() -> None:
    """A plugin that takes apart template, environment, labels and annotations spoils no other action."""
    seen: list[Any] = []

    def greedy(ctx: TaskExecutionContext) -> PhaseInfo:
        template = ctx.template
        assert template.interface is not None
        parts: tuple[dict[str, Any], ...] = (
            template.custom,
            template.interface.inputs,
            ctx.action.spec.env_vars,
            ctx.action.metadata.extra_labels,
            ctx.action.metadata.annotations,
            ctx.environment,
            ctx.labels,
        )
        seen.append(msgspec.json.decode(msgspec.json.encode(parts[:5])))
        for part in parts:
            part["spoilt"] = "by the one before"
        template.custom.pop("size")
        template.custom["deep"]["list"].clear()
        return success()

    lab = Lab([ScriptedPlugin("greedy", greedy)])
    template = b'{"type":"greedy","custom":{"size":1,"deep":{"list":[1]}},"interface":{"inputs":{"x":"int"}}}'
    spec = ActionSpec(task_type="greedy", task_template=template, inputs=b"{}", env_vars={"A": "1"})
    actions = [lab.run(spec).action for _ in range(3)]
    lab.settle()
    assert [lab.get(action).phase for action in actions] == [ActionPhase.SUCCEEDED] * 3
    assert seen == [[{"size": 1, "deep": {"list": [1]}}, {"x": "int"}, {"A": "1"}, {}, {}]] * 3
