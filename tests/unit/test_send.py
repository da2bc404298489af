"""`Client.send`: a function by its name, from a process that has none of its code."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import math
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest

from reconciler import AsyncClient, Cache, RetryStrategy, Secret, Task, TaskEnvironment, Timeouts
from reconciler.api.errors import InvalidArguments, InvalidName, InvalidSpec
from reconciler.client import Client
from reconciler.client.by_name import PublishedTask
from reconciler.core.functions import registry
from reconciler.core.published import LARGEST, document_of, read_published, release_of
from reconciler.testing import Lab

env = TaskEnvironment("send")


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.5


class Box(msgspec.Struct, rename="camel", tag="box", omit_defaults=True):
    left_top: Point
    tags: set[str] = msgspec.field(default_factory=set)
    id: uuid.UUID = msgspec.field(default_factory=uuid.uuid4)


class Circle(msgspec.Struct, tag="circle"):
    centre: Point
    radius: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class Line(msgspec.Struct, array_like=True):
    begin: Point
    end: Point = msgspec.field(default_factory=lambda: Point(9.0))


class Pair(NamedTuple):
    left: int
    right: dt.timedelta = dt.timedelta(minutes=1)


ONE = Pair(1)


class Options(TypedDict, total=False):
    depth: int
    day: dt.date


class Colour(enum.StrEnum):
    RED = "red"
    GREEN = "green"


class Tree(msgspec.Struct):
    value: int
    children: list[Tree] = []


@env.task(
    retries=RetryStrategy(retries=3, backoff=dt.timedelta(seconds=2)),
    timeout=Timeouts(running=dt.timedelta(minutes=5), overall=dt.timedelta(hours=1)),
    queue="pictures",
    resources="gpu=2",
    secrets=[Secret("db-password", env="DB_PASSWORD")],
    cache=Cache(version="v3", serialize=True, ignored_inputs=("key",)),
    priority=7,
    fair_by="customer",
)
def thumbnail(key: str, width: int = 320, customer: str = "none") -> str:
    """Everything a task can say."""
    return f"{customer}/{width}/{key}"


@env.task(cache="auto")
def shapes(
    shape: Box | Circle,
    /,
    points: list[Point],
    pair: Pair = ONE,
    *rest: Literal["a", "b"],
    colours: frozenset[Colour] = frozenset(Colour),
    options: Options | None = None,
    when: dt.datetime | None = None,
    price: decimal.Decimal = decimal.Decimal("1.50"),
    blob: bytes = b"\x00\xff",
    line: Line | None = None,
    anything: Any = None,
    **more: dict[str, tuple[int, ...]],
) -> Pair:
    """Every kind of type and of parameter."""
    del shape, points, rest, colours, options, when, price, blob, line, anything, more
    return pair


@env.task
def grow(tree: Tree) -> int:
    """A record inside of itself."""
    return tree.value


@env.task
def places(where: Path, also: list[Path | None] = [Path("/tmp")], least: float = -math.inf) -> None:  # noqa: B006  # a default
    """Types with a codec of their own."""
    del where, also, least


@env.task
def nothing() -> None:
    """No parameters, no result."""


@pytest.fixture
def lab() -> Lab:
    """An installation in one process; the tasks submit through its client."""
    found = Lab()
    env.client = found.client
    return found


def by_name(lab: Lab, task: Task[..., Any]) -> PublishedTask:
    """Return the task as another process finds it."""
    return Client(lab.store, lab.blobs, lab.messenger, lab.settings).task(task.name)


UTC_NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
BOX = Box(Point(1.0), {"b", "a", "c"}, id=uuid.UUID(int=5))
CALLS: list[tuple[Task[..., Any], tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    (thumbnail, ("cats/1.jpg",), {}, {}),
    (thumbnail, (), {"key": "cats/1.jpg", "width": 640, "customer": "x" * 500}, {}),
    (nothing, (), {}, {}),
]
"""Task, positional arguments, and those by name: as the code has them, and where their types are not here."""
SHAPES: list[tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    (
        (Circle(Point(1.0, 2.0)), [Point(3.0)]),
        ({"type": "circle", "centre": {"x": 1, "y": 2}}, [{"x": 3}]),
        {},
        {},
    ),
    (
        (BOX, []),
        ({"type": "box", "leftTop": {"x": 1}, "tags": ["c", "a", "b"], "id": uuid.UUID(int=5)}, []),
        {"colours": frozenset({Colour.RED}), "options": Options(depth=3), "when": UTC_NOON, "blob": b"abc"},
        {"colours": frozenset({"red"}), "options": {"depth": 3}, "when": UTC_NOON, "blob": b"abc"},
    ),
    (
        (Circle(Point(1.0)), [], Pair(2), "a", "b"),
        ({"type": "circle", "centre": {"x": 1}}, [], [2], "a", "b"),
        {
            "anything": {"z": [1]},
            "price": decimal.Decimal("0.10"),
            "extra": {"k": (1, 2)},
            "line": Line(Point(1.0)),
        },
        {
            "anything": {"z": [1]},
            "price": decimal.Decimal("0.10"),
            "extra": {"k": (1, 2)},
            "line": [{"x": 1}],
        },
    ),
]


@pytest.mark.parametrize(("task", "args", "kwargs", "_"), CALLS)
def test_a_call_by_name_is_that_of_the_task(
    lab: Lab, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], _: Any
) -> None:
    """The spec has the same bytes, so it has the same cache key, and the record the same turn."""
    run = task.submit(args, kwargs, run="here")
    sent = by_name(lab, task).submit(args, kwargs, run="there")
    one, other = lab.get(run.action), lab.get(sent.action)
    assert other.spec == msgspec.structs.replace(
        one.spec, run_name="there", run_output_base=other.spec.run_output_base
    )
    assert (other.metadata.priority, other.metadata.fair_key) == (
        one.metadata.priority,
        one.metadata.fair_key,
    )


@pytest.mark.parametrize(("ours", "plain", "named", "plainly_named"), SHAPES)
def test_records_are_given_as_json_has_them(
    lab: Lab,
    ours: tuple[Any, ...],
    plain: tuple[Any, ...],
    named: dict[str, Any],
    plainly_named: dict[str, Any],
) -> None:
    """Where a type is not, a record is a dict, an enum its value: the same bytes, defaults and order included."""
    assert by_name(lab, shapes).spec(plain, plainly_named) == shapes.spec(ours, named)


def test_a_document_is_the_same_wherever_it_is_read(lab: Lab) -> None:
    """Read by name and written again it is equal: types, defaults and template survive."""
    for task in (thumbnail, shapes, nothing):
        _, signature = read_published(task.name, document_of(task))
        assert signature.interface["inputs"] == task.signature.interface["inputs"]
        assert (
            by_name(lab, task)._template == task.spec((), {}, run="x").task_template
            if task is nothing
            else True
        )


def test_arguments_by_name_may_have_their_json_form(lab: Lab) -> None:
    """What a web form or a message holds will do: times, bytes and sets as JSON has them."""
    there = by_name(lab, shapes)
    signature = there.signature
    text = b'{"shape":{"type":"circle","centre":{"x":1}},"points":[],"when":"2026-01-02T12:00:00Z","blob":"YWJj"}'
    expected = shapes.spec((Circle(Point(1.0)), []), {"when": UTC_NOON, "blob": b"abc"}).inputs
    assert there.spec(*signature.call_form(signature.decode_arguments(text))).inputs == expected

    @env.task
    def report(day: dt.date, ids: set[int]) -> None:
        """By name."""

    assert by_name(lab, report).spec((), {"day": "2026-01-02", "ids": [2, 1]}) == report.spec(
        (dt.date(2026, 1, 2), {1, 2}), {}
    )


def test_a_record_inside_of_itself_is_taken_as_it_is_given(lab: Lab) -> None:
    """Its shape has no end, so its inner part is left to the worker."""
    tree = {"value": 1, "children": [{"value": 2, "children": []}]}
    assert by_name(lab, grow).spec((tree,), {}) == grow.spec((Tree(1, [Tree(2)]),), {})


def test_a_type_with_a_codec_is_given_in_its_json_form(lab: Lab) -> None:
    """A path is its text, a model what JSON has of it; the worker checks them. Every float is carried."""
    there = by_name(lab, places)
    assert there.spec(("/a",), {}) == places.spec((Path("/a"),), {})
    assert there.spec(("/a", ["/b", None], 1.5), {}) == places.spec((Path("/a"), [Path("/b"), None], 1.5), {})


def test_send_runs_the_function(lab: Lab) -> None:
    """`client.send` needs the name alone; the result is what JSON holds, and a map works too."""
    run = lab.client.send("send.grow", {"value": 7})
    group = lab.client.task("send.grow").map([{"value": 1}, {"value": 2}])
    lab.work()
    assert (run.result(), group.result()) == (7, [1, 2])
    turns = lab.client.task("send.thumbnail").map(["a", "b"], customer="me")
    assert lab.get(turns.id.action("m1")).metadata.fair_key == "me"


def test_a_map_by_name_takes_the_options_of_a_map(lab: Lab) -> None:
    """All of them, with the same effect: what is no option would be an argument of the function."""
    assert [*inspect.signature(PublishedTask.map).parameters] == [*inspect.signature(Task.map).parameters]
    began, task = lab.clock(), lab.client.task("send.grow")
    for concurrency in (None, 1):
        run = task.map([{"value": 1}], countdown=60, expires=90, concurrency=concurrency)
        lab.settle(limit=dt.timedelta(0))
        times = lab.get(run.id.action("m0")).metadata
        assert (times.not_before - began, times.expires_at - began) == (60_000, 90_000)


def test_send_in_an_event_loop(lab: Lab) -> None:
    """`await client.send(…)` is its run; so is `await task.aio.delay(…)` of a task that was found by name."""

    async def story() -> None:
        client = AsyncClient(lab.client)
        run = await client.send("send.grow", {"value": 7})
        task = await client.task("send.grow")
        runs = [run, await task.aio.delay({"value": 8})]
        await asyncio.to_thread(lab.work)
        assert await asyncio.gather(*runs) == [7, 8]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: 'key'"),
        ((1,), {}, "Expected `str`, got `int`"),
        (("a",), {"size": 1}, "unexpected keyword argument 'size'"),
        (("a", "b"), {}, "parameter width does not fit"),
        ((), {"key": "a", "width": "wide"}, "parameter width does not fit"),
        ((), {"key": "a", "width": object()}, "parameter width"),
        ((), {"key": "a", "width": float("nan")}, "parameter width"),
    ],
)
def test_what_does_not_fit_is_refused(
    lab: Lab, args: tuple[Any, ...], kwargs: dict[str, Any], problem: str
) -> None:
    """Checked here, against what the workers publish; nothing is stored."""
    with pytest.raises(InvalidArguments, match=r"send\.thumbnail") as caught:
        lab.client.send("send.thumbnail", *args, **kwargs)
    assert problem in str(caught.value)
    assert lab.client.runs() == []


def test_a_name_that_no_worker_publishes(lab: Lab) -> None:
    """One sentence says so and names the remedy, and the name that was probably meant."""
    with pytest.raises(
        InvalidSpec,
        match=r"no worker publishes .*'send\.thumbnial': start a worker .* Did you mean send\.thumbnail\?",
    ):
        lab.client.send("send.thumbnial", key="x")
    with pytest.raises(InvalidName):
        lab.client.send("send:thumbnail")


DOCUMENT = document_of(thumbnail)


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return the document with one thing changed."""
    document = msgspec.json.decode(DOCUMENT)
    change(document)
    return msgspec.json.encode(document)


def first(document: dict[str, Any]) -> dict[str, Any]:
    """Return its first parameter."""
    found: dict[str, Any] = document["parameters"][0]
    return found


HOSTILE: dict[str, bytes] = {
    "no JSON": b"\xff\xfe",
    "another kind": b"[]",
    "deep": b'{"parameters":' + b"[" * 5000,
    "too long": b'{"template":{"custom":{"function":"send.thumbnail","x":"' + b"x" * LARGEST + b'"}}}',
    "of another function": changed(lambda d: d["template"]["custom"].update(function="send.other")),
    "no function": changed(lambda d: d["template"].pop("custom")),
    "no name": changed(lambda d: first(d).update(name="a b")),
    "a keyword": changed(lambda d: first(d).update(name="class")),
    "twice": changed(lambda d: d["parameters"].append(first(d))),
    "no kind": changed(lambda d: first(d).update(kind="guessed")),
    "no type": changed(lambda d: first(d).update(type={"kind": "exec"})),
    "too few parts": changed(lambda d: first(d).update(type={"kind": "dict", "of": [{"kind": "str"}]})),
    "no items": changed(lambda d: first(d).update(type={"kind": "list"})),
    "no members": changed(lambda d: first(d).update(type={"kind": "union"})),
    "no values": changed(lambda d: first(d).update(type={"kind": "literal"})),
    "two enums": changed(lambda d: first(d).update(type={"kind": "enum", "name": "E", "values": [None]})),
    "no record": changed(
        lambda d: first(d).update(type={"kind": "struct", "name": "", "fields": [{"name": "x"}]})
    ),
    "a tag alone": changed(
        lambda d: first(d).update(type={"kind": "struct", "name": "S", "options": {"bases": 1}})
    ),
    "a limit": changed(lambda d: first(d).update(type={"kind": "int", "limits": {"gt": 1, "ge": 1}})),
    "a pattern": changed(lambda d: first(d).update(type={"kind": "str", "limits": {"pattern": "("}})),
    "an unhashable set": changed(
        lambda d: first(d).update(
            type={"kind": "set", "of": [{"kind": "list", "of": [{"kind": "int"}]}]}, default=[[1]]
        )
    ),
    "a default": changed(lambda d: first(d).update(default=7)),
    "a default before": changed(lambda d: first(d).update(default="x") or d["parameters"][1].pop("default")),
    "fair by nothing": changed(lambda d: d.update(fair_by="nobody")),
    "a namedtuple": changed(
        lambda d: first(d).update(
            type={
                "kind": "namedtuple",
                "name": "N",
                "fields": [{"name": "__import__", "type": {"kind": "int"}}],
            }
        )
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_document_that_cannot_be_used(lab: Lab, kind: str) -> None:
    """Whatever stands in the store, the sender is told in one sentence what to do, and nothing is stored."""
    lab.store.publish("hostile", {"send.thumbnail": HOSTILE[kind]}, 15_000)
    with pytest.raises(
        InvalidSpec, match=r"what workers publish of the function send\.thumbnail cannot be used: .*Start its"
    ):
        lab.client.send("send.thumbnail", key="x")
    assert lab.client.runs() == []


def test_what_is_read_is_remembered_for_a_moment(lab: Lab) -> None:
    """A thousand calls ask the store once; a release that came meanwhile is followed within seconds."""
    asked: list[str] = []
    inner = lab.store.find_published

    def find(function: str) -> Any:
        asked.append(function)
        return inner(function)

    lab.store.find_published = find  # type: ignore[method-assign]  # counts
    for number in range(100):
        lab.client.send("send.thumbnail", key=str(number))
    assert asked == ["send.thumbnail"]


def test_a_release_is_named_by_its_documents() -> None:
    """Workers of one release say the same; one byte more is another release, and names and documents do not run together."""
    assert release_of({"a": b"1", "b": b"2"}) == release_of({"b": b"2", "a": b"1"})
    assert (
        len(
            {
                release_of(d)
                for d in ({}, {"a": b"1"}, {"a": b"2"}, {"a": b"1 1 b 1 2"}, {"a": b"1", "b": b"2"})
            }
        )
        == 5
    )


def test_a_document_that_is_too_long_is_not_published() -> None:
    """One function with a huge signature does not take the others along."""
    assert "send.thumbnail" not in registry.published(100)
    assert "send.thumbnail" in registry.published(LARGEST)
