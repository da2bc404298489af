"""Which plugin runs a task type (R68, R69)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from reconciler.api.errors import InvalidSettings, Outage
from reconciler.plugins.base import Plugin, PluginProperties, owes_finalize
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.registry import PluginEntry, PluginNotFound, PluginRegistry


def entry(name: str, *task_types: str, limit: int = 0, **more: Any) -> PluginEntry:
    """Return an entry whose plugin is known by its id."""

    def load() -> Plugin:
        plugin = Plugin()
        plugin.properties = PluginProperties(generated_name_max_length=limit)
        return plugin

    return PluginEntry(id=name, task_types=task_types, load=load, **more)


def resolved(task_type: str, *entries: PluginEntry, routes: dict[str, str] | None = None) -> str:
    """Id of the plugin that runs a task type."""
    with capture_logs():
        return PluginRegistry(entries, routes).resolve(task_type).id


@pytest.mark.rule("R69")
def test_a_task_type_finds_its_plugin() -> None:
    """Each task type of an entry is run by its plugin."""
    assert resolved("b", entry("one", "a", "b"), entry("two", "c")) == "one"


@pytest.mark.rule("R69")
def test_an_unknown_task_type_is_named() -> None:
    """Without plugin and default the error names the task type."""
    with pytest.raises(
        PluginNotFound, match='no plugin registered for task type "x" and no default plugin available'
    ):
        PluginRegistry([entry("one", "a")]).resolve("x")


@pytest.mark.rule("R69")
def test_the_default_runs_what_nobody_else_does() -> None:
    """A default plugin runs unknown task types, and only these."""
    entries = (entry("one", "a"), entry("rest", default=True))
    assert (resolved("x", *entries), resolved("a", *entries)) == ("rest", "one")


@pytest.mark.rule("R69")
def test_the_later_registration_wins() -> None:
    """Of two entries with the same task type the later one runs it, with a warning."""
    with capture_logs() as logs:
        registry = PluginRegistry([entry("one", "a"), entry("two", "a")])
    assert registry.resolve("a").id == "two"
    assert [line["event"] for line in logs] == ["plugin.replaced"]


@pytest.mark.rule("R69")
def test_core_wins_over_resource() -> None:
    """A core entry runs a shared task type wherever it was registered."""
    assert resolved("a", entry("core", "a"), entry("k8s", "a", kind="resource")) == "core"


@pytest.mark.rule("R69")
@pytest.mark.parametrize(
    ("kinds", "winner"),
    [
        (("core", "core"), "p0"),
        (("resource", "resource"), "p1"),
        (("core", "resource"), "p1"),
        (("resource", "core"), "p0"),
    ],
)
def test_which_default_wins(kinds: tuple[str, str], winner: str) -> None:
    """Of resource defaults the last one wins; a core default only counts where there is none yet."""
    entries = [entry(f"p{i}", default=True, kind=kind) for i, kind in enumerate(kinds)]
    assert resolved("x", *entries) == winner


@pytest.mark.rule("R69")
def test_a_route_wins_over_entries() -> None:
    """The configured plugin runs a task type whatever the entries claim, also one nobody claims."""
    entries = (entry("one", "a"), entry("two", "b"))
    assert resolved("a", *entries, routes={"a": "two"}) == "two"
    assert resolved("new", *entries, routes={"new": "one"}) == "one"


@pytest.mark.rule("R69")
def test_a_route_to_nobody_changes_nothing() -> None:
    """A route to an unknown plugin is a warning; the task type stays where it was."""
    with capture_logs() as logs:
        registry = PluginRegistry([entry("one", "a")], {"a": "gone"})
    assert registry.resolve("a").id == "one"
    assert logs[0]["event"] == "plugin.route_unknown"


@pytest.mark.rule("R69")
def test_all_wrong_entries_are_reported_at_once() -> None:
    """Every entry that cannot be used is named, not only the first."""
    wrong = [
        PluginEntry(id="", task_types=("a",), load=Plugin),
        PluginEntry(id="idle", task_types=(), load=Plugin),
        PluginEntry(id="", task_types=(), load=None),  # type: ignore[arg-type]  # the mistake
    ]
    with pytest.raises(InvalidSettings) as raised:
        PluginRegistry(wrong)
    assert raised.value.problems == [
        "a plugin entry has an empty id",
        "plugin idle runs no task type and is not the default",
        "a plugin entry has an empty id",
        "plugin ? runs no task type and is not the default",
        "plugin ? has no loader",
    ]


@pytest.mark.rule("R68")
@pytest.mark.parametrize("limit", [-1, 1, 7])
def test_a_name_limit_that_is_too_short_stops_the_start(limit: int) -> None:
    """Names of resources need at least 8 characters."""
    with pytest.raises(InvalidSettings, match="GeneratedNameMaxLength needs to be greater then 8"):
        PluginRegistry([entry("one", "a", limit=limit)])


@pytest.mark.rule("R68")
@pytest.mark.parametrize("limit", [0, 8, 63])
def test_a_name_limit_of_eight_is_enough(limit: int) -> None:
    """No limit and any limit from 8 on are accepted."""
    assert resolved("a", entry("one", "a", limit=limit)) == "one"


@pytest.mark.rule("R68")
def test_loaders_that_fail_stop_the_start() -> None:
    """All of them are told at once, each by the id of its plugin; one whose server is away may be started again."""

    def fails(error: BaseException) -> Callable[[], Plugin]:
        def load() -> Plugin:
            raise error

        return load

    failures = {"one": OSError("no licence"), "two": ConnectionRefusedError("head"), "three": SystemExit(3)}
    with pytest.raises(InvalidSettings) as told:
        PluginRegistry(
            [PluginEntry(id=id_, task_types=(id_,), load=fails(error)) for id_, error in failures.items()]
        )
    problems = told.value.problems
    assert [next(id_ for id_ in failures if f"plugin {id_} " in text) for text in problems] == list(failures)
    assert "no licence" in problems[0]
    assert [isinstance(text, Outage) for text in problems] == [False, True, False]


@pytest.mark.rule("R68")
def test_each_plugin_is_loaded_once() -> None:
    """All task types of an entry share one plugin."""
    registry = PluginRegistry([entry("one", "a", "b")])
    assert registry.resolve("a") is registry.resolve("b")
    assert registry.task_types == ("a", "b")


@pytest.mark.rule("R68")
def test_a_plugin_keeps_its_own_id() -> None:
    """A plugin that names itself is not renamed by its entry."""
    named = type("Named", (Plugin,), {"id": "self"})
    registry = PluginRegistry([PluginEntry(id="one", task_types=("a",), load=named)])
    assert registry.resolve("a").id == "self"


@pytest.mark.rule("R37")
def test_only_a_plugin_with_a_finalize_of_its_own_owes_one() -> None:
    """A plugin that inherits `finalize` has nothing to release."""

    class Holds(Plugin):
        def finalize(self, ctx: TaskExecutionContext) -> None:
            """Release."""

    assert not owes_finalize(Plugin())
    assert owes_finalize(Holds())


@pytest.mark.rule("R68")
def test_a_plugin_must_say_how_to_handle() -> None:
    """The base class handles nothing; aborting nothing is fine."""
    with pytest.raises(NotImplementedError):
        Plugin().handle(None)  # type: ignore[arg-type]  # never looked at
    Plugin().abort(None)  # type: ignore[arg-type]  # as above
    Plugin().finalize(None)  # type: ignore[arg-type]  # as above


@pytest.mark.rule("R69")
def test_a_loader_without_a_plugin_stops_the_start() -> None:
    """A loader that returns no plugin is told as a wrong setting, with its id."""
    nothing: Any = None
    with pytest.raises(InvalidSettings, match="the loader of plugin one must return a Plugin, got NoneType"):
        PluginRegistry([PluginEntry(id="one", task_types=("a",), load=lambda: nothing)])


@pytest.mark.rule("R69")
@pytest.mark.parametrize("types", ["spark", (1,)])
def test_task_types_must_be_texts(types: Any) -> None:
    """A text alone would be read as its letters."""
    wrong = PluginEntry(id="one", task_types=types, load=Plugin)
    with pytest.raises(InvalidSettings, match="plugin one: task_types must be a tuple of texts"):
        PluginRegistry([wrong])


@pytest.mark.rule("R69")
@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt(), SystemExit(0), type("Odd", (BaseException,), {})("odd")]
)
def test_whatever_a_loader_raises_names_its_plugin(raised: BaseException) -> None:
    """Also what no `except Exception` catches."""

    def load() -> Plugin:
        raise raised

    with pytest.raises(InvalidSettings, match="plugin one cannot be loaded, its loader raised"):
        PluginRegistry([PluginEntry(id="one", task_types=("a",), load=load)])
