"""Decide which plugin runs a task type (R69)."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from reconciler.api.errors import InvalidSettings, Outage, ReconcilerError
from reconciler.core.retries import causes, is_outage
from reconciler.plugins.base import Plugin
from reconciler.plugins.loading import load_watch


def _logger() -> Any:  # noqa: ANN401  # structlog's
    import structlog  # noqa: PLC0415  # with rich 7 MB, in each process of functions, which never logs here

    return structlog.get_logger(__name__)


class PluginNotFound(ReconcilerError):
    """No plugin runs this task type, and there is no default plugin."""


class PluginEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin to load.

    Attributes:
        id: unique name.
        task_types: what it runs.
        load: makes the plugin; called once.
        default: whether it runs task types nobody else does.
        kind: `resource` entries are loaded before `core` ones, so core wins a shared task type.
    """

    id: str
    task_types: tuple[str, ...]
    load: Callable[[], Plugin]
    default: bool = False
    kind: Literal["core", "resource"] = "core"


class PluginRegistry:
    """Resolves task types. Loading happens once, at start; a wrong entry stops the start."""

    def __init__(self, entries: Iterable[PluginEntry], routes: Mapping[str, str] | None = None) -> None:
        """Load all entries.

        Args:
            entries: in order of registration.
            routes: task type → plugin id, wins over what entries claim (`default-for-task-types`).

        Raises:
            InvalidSettings: lists every entry that cannot be used.
        """
        self._plugins: dict[str, Plugin] = {}
        self._by_id: dict[str, Plugin] = {}
        self._default: Plugin | None = None
        known = list(entries)
        problems = [problem for entry in known for problem in _problems(entry)]
        if problems:
            raise InvalidSettings(problems)
        for entry in sorted(known, key=lambda entry: entry.kind != "resource"):
            try:
                self._load(entry)
            except InvalidSettings as error:
                problems += error.problems
        if problems:
            raise InvalidSettings(problems)
        for task_type, plugin_id in (routes or {}).items():
            if plugin_id in self._by_id:
                self._plugins[task_type] = self._by_id[plugin_id]
            else:
                log = _logger()
                log.warning("plugin.route_unknown", task_type=task_type, plugin=plugin_id)

    def _load(self, entry: PluginEntry) -> None:
        plugin = _loaded(entry)
        self._by_id[entry.id] = plugin
        for task_type in entry.task_types:
            if task_type in self._plugins:
                log = _logger()
                log.warning("plugin.replaced", task_type=task_type, by=entry.id)
            self._plugins[task_type] = plugin
        if entry.default and (entry.kind == "resource" or self._default is None):
            if self._default is not None:
                log = _logger()
                log.warning("plugin.default_replaced", by=entry.id)
            self._default = plugin

    def resolve(self, task_type: str) -> Plugin:
        """Find the plugin of a task type: the exact one, else the default.

        Raises:
            PluginNotFound: there is neither.
        """
        plugin = self._plugins.get(task_type, self._default)
        if plugin is None:
            raise PluginNotFound(
                f'no plugin registered for task type "{task_type}" and no default plugin available'
            )
        return plugin

    @property
    def task_types(self) -> tuple[str, ...]:
        """All task types with a plugin of their own."""
        return tuple(sorted(self._plugins))


def load_entries(modules: Iterable[str], ours: Sequence[PluginEntry] = ()) -> tuple[PluginEntry, ...]:
    """Load the entries of plugins that are not ours, from the `ENTRY` of each module.

    Args:
        modules: their names, as in `RECONCILER_PLUGINS`.
        ours: those every installation has.

    Raises:
        InvalidSettings: lists each module that cannot be imported or has no entry, and why.
    """
    entries, problems = read_entries(modules, ours)
    if problems:
        raise InvalidSettings(problems)
    return entries


def read_entries(
    modules: Iterable[str], ours: Sequence[PluginEntry] = ()
) -> tuple[tuple[PluginEntry, ...], list[str]]:
    """Load the readable entries, and say why the others cannot be read."""
    entries: list[PluginEntry] = []
    problems: list[str] = []
    for module in modules:
        try:
            with load_watch.over(f"the import of the plugin module {module!r}"):
                entry = importlib.import_module(module).ENTRY
        except BaseException as error:  # noqa: BLE001  # a module's top level can raise anything
            problems.append(
                f"no plugin can be taken from {module!r}: {type(error).__name__}: {error}. Correct it, or the list "
                "in RECONCILER_PLUGINS; `python -c 'import ...'` from the same folder shows more"
            )
            continue
        if not isinstance(entry, PluginEntry):
            problems.append(f"ENTRY of {module!r} must be a PluginEntry, got {type(entry).__name__}")
        elif taken := _problems(entry) or _taken(entry, ours, entries):
            problems += taken
        else:
            entries.append(entry)
    return tuple(entries), problems


def _taken(entry: PluginEntry, ours: Sequence[PluginEntry], others: Iterable[PluginEntry]) -> list[str]:
    """Say which names of an entry belong to another one: to run functions or sleeps as something else would lose them."""
    kept = {name for own in ours for name in own.task_types}
    found = [
        f"plugin {entry.id}: the task type {name!r} is run by celery-reconciler itself; name another one"
        for name in entry.task_types
        if name in kept
    ]
    if any(entry.id == other.id for other in (*ours, *others)):
        found.append(f"plugin {entry.id}: another plugin has that id; choose one of its own")
    return found


def _loaded(entry: PluginEntry) -> Plugin:
    """Load a plugin by its loader.

    Raises:
        InvalidSettings: it raises, or its plugin cannot be used; an `Outage` where a server did not answer it.
    """
    try:
        with load_watch.over(f"the loader of plugin {entry.id}"):
            plugin: object = entry.load()
            problem = _unusable(entry, plugin)
    except BaseException as error:  # whatever it is, the start ends
        raise InvalidSettings([_raised(entry, error)]) from error
    if problem:
        raise InvalidSettings([problem])
    assert isinstance(plugin, Plugin)
    return plugin


def _unusable(entry: PluginEntry, plugin: object) -> str:
    if not isinstance(plugin, Plugin):
        return f"the loader of plugin {entry.id} must return a Plugin, got {type(plugin).__name__}"
    plugin.id = plugin.id or entry.id
    limit = plugin.properties.generated_name_max_length
    if limit != 0 and limit < 8:
        return f"plugin {entry.id}: GeneratedNameMaxLength needs to be greater then 8"
    return ""


def _raised(entry: PluginEntry, error: BaseException) -> str:
    away = is_outage(error) or any(
        isinstance(cause, ConnectionError | TimeoutError) for cause in causes(error)
    )
    why = f"{type(error).__name__}: {error}" if str(error) else repr(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    remedy = (
        "start what it needs, or correct it" if away else "correct it, or take it out of RECONCILER_PLUGINS"
    )
    text = f"plugin {entry.id} cannot be loaded, its loader raised {why} ({last.filename}:{last.lineno}): {remedy}"
    return Outage(text) if away else text


def _problems(entry: PluginEntry) -> list[str]:
    if not isinstance(entry.id, str):
        return [f"the id of a plugin entry must be a text, got {entry.id!r:.100}"]
    if isinstance(entry.task_types, str) or not all(isinstance(name, str) for name in entry.task_types):
        return [
            f"plugin {entry.id or '?'}: task_types must be a tuple of texts, got {entry.task_types!r:.100}"
        ]
    found = [] if entry.id else ["a plugin entry has an empty id"]
    if not entry.task_types and not entry.default:
        found.append(f"plugin {entry.id or '?'} runs no task type and is not the default")
    if not callable(entry.load):
        found.append(f"plugin {entry.id or '?'} has no loader")
    return found
