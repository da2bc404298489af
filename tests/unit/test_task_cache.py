"""`@env.task(cache=…)`: what a declaration means for the template and the spec of a call."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from reconciler import Cache, Client, Settings, Task, TaskEnvironment
from reconciler.api.errors import InvalidSpec
from reconciler.api.template import TaskMetadata
from reconciler.broker.recording import RecordingMessenger
from reconciler.core.cachepolicy import policy_of
from reconciler.stores.memory import MemoryStore
from reconciler.stores.memory.blobs import MemoryBlobs

_numbers = itertools.count()


@pytest.fixture
def env() -> TaskEnvironment:
    """An environment with a client that stores nothing beyond this test."""
    client = Client(MemoryStore(), MemoryBlobs(), RecordingMessenger(), Settings())
    return TaskEnvironment("cached", client=client)


def add(x: int, y: int = 0) -> int:
    """Return the function that is declared."""
    return x + y


def policies(task: Task[..., int]) -> TaskMetadata:
    """Return the policies of a task."""
    assert task.template.metadata is not None
    return task.template.metadata


def declared(env: TaskEnvironment, cache: str | Cache, function: Callable[..., int] = add) -> Task[..., int]:
    """Return a task with this cache."""
    return env.task(cache=cache, name=f"t{next(_numbers)}")(function)


def test_tasks_are_not_cached_unless_they_say_so(env: TaskEnvironment) -> None:
    """Neither the default nor `disable` makes a task discoverable, and no version rides in its calls."""
    for task in (env.task(name=f"plain{next(_numbers)}")(add), declared(env, "disable")):
        assert not policies(task).discoverable
        assert not task.spec((1,), {}).cache_key


def test_auto_takes_the_source_as_version(env: TaskEnvironment) -> None:
    """`auto` is a version that follows from the function's source, the same for the same source."""

    def other(x: int, y: int = 0) -> int:
        return y + x

    first, again = declared(env, "auto"), declared(env, "auto")
    changed = declared(env, "auto", other)
    assert policies(first).discoverable
    assert first.cache_version == again.cache_version == first.spec((1,), {}).cache_key
    assert changed.cache_version != first.cache_version


def test_a_text_is_the_version(env: TaskEnvironment) -> None:
    """Any other text is the version itself."""
    task = declared(env, "v1")
    assert (task.spec((1,), {}).cache_key, policies(task).discovery_version) == ("v1", "v1")


def test_override_is_no_version(env: TaskEnvironment) -> None:
    """`override` is `auto` that looks nothing up."""
    task = declared(env, "override")
    assert policies(task).cache_override
    assert task.cache_version == declared(env, "auto").cache_version


def test_a_policy_says_all(env: TaskEnvironment) -> None:
    """A `Cache` carries version, serialization, ignored inputs and override into the template."""
    task = declared(env, Cache(version="7", serialize=True, ignored_inputs=("y",), override=True))
    found = policies(task)
    assert (found.discoverable, found.discovery_version, found.cache_serializable) == (True, "7", True)
    assert (found.cache_ignore_input_vars, found.cache_override) == (("y",), True)


def test_ignored_inputs_do_not_count(env: TaskEnvironment) -> None:
    """Calls that differ in an ignored input are stored with the same hash of inputs; others are not."""
    task = declared(env, Cache(ignored_inputs=("y",)))
    specs = [env.client.get(task.delay(*args).action).spec for args in ((1, 1), (1, 2), (2, 1))]
    assert specs[0].inputs_hash == specs[1].inputs_hash != specs[2].inputs_hash
    assert specs[0].inputs_hash


@pytest.mark.parametrize(
    ("cache", "text"),
    [
        (Cache(ignored_inputs=("z", "w")), "ignored_inputs names z, w, its parameters are x, y"),
        ("", "says nothing"),
        ("v" * 257, "at most 256"),
    ],
)
def test_what_cannot_be_meant_is_refused(env: TaskEnvironment, cache: str | Cache, text: str) -> None:
    """Ignored inputs that are no parameters, an empty and an overlong version are refused where they are declared."""
    with pytest.raises(InvalidSpec, match=text):
        declared(env, cache)


def test_auto_needs_a_source() -> None:
    """Without a readable source nothing would tell old results from new ones: a version has to be named."""
    with pytest.raises(InvalidSpec, match="name a version"):
        policy_of("auto", "", ("x",))
    assert policy_of("v1", "", ("x",)) == Cache(version="v1")
