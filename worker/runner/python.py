"""Put back what a call changed in Python itself: names of the standard library, modules, settings behind functions."""

from __future__ import annotations

import codecs
import decimal
import gc
import locale
import logging
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, Final

from worker.runner.bodies import Bodies
from worker.runner.names import StandardLibrary

_PATCHERS: Final = ("gevent.monkey", "eventlet.patcher")
_TOOLS: Final = range(6)


class Modules:
    """Takes the present names of the standard library, and the modules, as those that each call will find."""

    def __init__(self) -> None:
        self._library = StandardLibrary()
        self._table = self._library.watch(sys.modules)
        self._finders = self._library.watch(sys.path_importer_cache)
        self._kept_finders = sys.path_importer_cache.copy()
        self._note()

    def adopt(self, owner: ModuleType | logging.Handler, name: str) -> None:
        """Keep the present value of a name."""
        self._library.adopt(owner, name)

    def restore(self) -> str:
        """Put back what differs. Returns why this process cannot serve another call, or nothing."""
        self._library.restore()
        if self._finders.take() and sys.path_importer_cache != self._kept_finders:
            sys.path_importer_cache.clear()  # what a call's hooks of imports have found, or not, for whole folders
            sys.path_importer_cache.update(self._kept_finders)
        if sys.modules is self._table.names and not self._table.take():
            return ""
        return self._look_at_imports() if list(sys.modules.values()) != self._values else ""

    def _look_at_imports(self) -> str:
        """Put back modules that were removed or replaced, and remove those made by hand; other new ones stay."""
        for name in _PATCHERS:
            if name in sys.modules and name not in self._imported:
                return f"{name} was imported, which patches the standard library"
        sys.modules.update(
            {name: module for name, module in self._imported.items() if sys.modules.get(name) is not module}
        )
        for name in sorted(sys.modules.keys() - self._imported.keys()):  # packages before what is below them
            if _is_made_by_hand(name):
                del sys.modules[name]
        self._note()
        return self._library.look_at(sys.modules)

    def _note(self) -> None:
        self._imported = dict(sys.modules)
        self._values = list(self._imported.values())


def _is_made_by_hand(name: str) -> bool:
    """Tell whether an entry of `sys.modules` would keep a module of that name from being found."""
    module: Any = sys.modules[name]
    if module is None:
        return True
    traces = ("__spec__", "__file__", "__path__", "__loader__")
    package, dot, _ = name.partition(".")
    # a package that is there has put it there
    return not (dot and package in sys.modules) and all(
        getattr(module, trace, None) is None for trace in traces
    )


class Tracers:
    """Takes the present tracing and profiling as those that each call will find.

    They are put back before the streams: what one prints while a stream is being set up leaves it unusable.
    """

    def __init__(self) -> None:
        self._tracer, self._profiler = sys.gettrace(), sys.getprofile()

    def restore(self) -> str:
        """Put back what differs. Returns nothing: all of it can be restored."""
        if sys.gettrace() is not self._tracer:
            sys.settrace(self._tracer)
        if sys.getprofile() is not self._profiler:
            sys.setprofile(self._profiler)
        return ""


class Settings:
    """Takes the present settings of the interpreter as those that each call will find."""

    def __init__(self) -> None:
        self._kept = _read()

    def restore(self) -> str:
        """Put back what differs. Returns nothing: all of it can be restored."""
        if (found := _read()) != self._kept:
            for name, now, kept in zip(_GETTERS, found, self._kept, strict=True):
                if now != kept:
                    _SETTERS[name](kept)
        return ""


def own_decimals() -> None:
    """Give this context its own settings of decimal numbers: its object is shared with the parent context."""
    decimal.setcontext(decimal.getcontext().copy())


def _read() -> list[Any]:
    return [get() for get in _READERS]


def _start_method() -> str | None:
    module = sys.modules.get("multiprocessing")
    method: str | None = module.get_start_method(allow_none=True) if module else None
    return method


def _set_start_method(method: str | None) -> None:
    sys.modules["multiprocessing"].set_start_method(method, force=True)


def _set_filters(filters: tuple[Any, ...]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]  # a list, typed as a sequence
    with suppress(AttributeError):
        warnings._filters_mutated()  # type: ignore[attr-defined]  # noqa: SLF001  # as `catch_warnings` does


def _changed_in_place() -> tuple[list[Any], ...]:
    return sys.path, sys.meta_path, sys.path_hooks, sys.argv, sys.warnoptions, gc.callbacks, gc.garbage


def _lists() -> tuple[tuple[Any, ...], ...]:
    return tuple(map(tuple, _changed_in_place()))


def _set_lists(kept: tuple[tuple[Any, ...], ...]) -> None:
    for changed, values in zip(_changed_in_place(), kept, strict=True):
        changed[:] = values


def _traces_memory() -> bool:
    module = sys.modules.get("tracemalloc")
    return module is not None and bool(module.is_tracing())


def _trace_memory(on: bool) -> None:  # noqa: FBT001  # what was read, to be set again
    module = sys.modules["tracemalloc"]
    (module.start if on else module.stop)()


def _monitors() -> tuple[Any, ...]:
    """Name the tools that watch the interpreter."""
    monitoring: Any = getattr(sys, "monitoring", None)
    return tuple(map(monitoring.get_tool, _TOOLS))


def _end_monitors(kept: tuple[Any, ...]) -> None:
    monitoring: Any = getattr(sys, "monitoring", None)
    for tool, name in zip(_TOOLS, kept, strict=True):
        if name is None and monitoring.get_tool(tool) is not None:
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)


class _Decimals:
    """The settings with which contexts of new threads begin, and those of the two that users begin with."""

    _NAMES = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps")

    def __init__(self) -> None:
        self._contexts = (decimal.DefaultContext, decimal.ExtendedContext, decimal.BasicContext)
        self._bodies = Bodies(*self._contexts)
        self._found = self._look()

    def read(self) -> list[list[Any]]:
        """Return them; they are looked at where they may have changed."""
        if self._bodies.changed():
            self._found = self._look()
            self._bodies.settle()
        return self._found

    def put_back(self, kept: list[list[Any]]) -> None:
        """Set them again."""
        for context, values in zip(self._contexts, kept, strict=True):
            for name, value in zip(self._NAMES, values, strict=True):
                setattr(context, name, value)

    def _look(self) -> list[list[Any]]:
        return [
            [each.prec, each.rounding, each.Emin, each.Emax, each.capitals, each.clamp, each.traps.copy()]
            for each in self._contexts
        ]


def _codec_errors() -> list[Any]:
    return list(map(codecs.lookup_error, _CODEC_ERRORS))


def _set_codec_errors(kept: list[Any]) -> None:
    for name, handler in zip(_CODEC_ERRORS, kept, strict=True):
        codecs.register_error(name, handler)


def _field_size() -> int:
    module = sys.modules.get("_csv")
    return module.field_size_limit() if module else _FIELD_SIZE


def _set_field_size(size: int) -> None:
    sys.modules["_csv"].field_size_limit(size)


def _first_weekday() -> int:
    module = sys.modules.get("calendar")
    return module.firstweekday() if module else 0


def _set_first_weekday(day: int) -> None:
    sys.modules["calendar"].setfirstweekday(day)


def _perf() -> bool:
    """Tell whether `perf` is told of each function called."""
    python: Any = sys
    return bool(python.is_stack_trampoline_active())


def _set_perf(on: bool) -> None:  # noqa: FBT001  # what was read, to be set again
    python: Any = sys
    python.activate_stack_trampoline("perf") if on else python.deactivate_stack_trampoline()


_CODEC_ERRORS: Final = (
    *("strict", "ignore", "replace", "backslashreplace", "surrogateescape", "surrogatepass"),
    *("xmlcharrefreplace", "namereplace"),
)
_DECIMALS: Final = _Decimals()
_FIELD_SIZE: Final = 131072
"""That of a fresh process, characters."""
_Setting = tuple[Callable[[], Any], Callable[[Any], object]]
_TABLE: Final[dict[str, _Setting]] = {
    "recursion": (sys.getrecursionlimit, sys.setrecursionlimit),
    "switching": (sys.getswitchinterval, sys.setswitchinterval),
    "asynchronous generators": (sys.get_asyncgen_hooks, lambda kept: sys.set_asyncgen_hooks(*kept)),
    "origins of coroutines": (
        sys.get_coroutine_origin_tracking_depth,
        sys.set_coroutine_origin_tracking_depth,
    ),
    "digits": (sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    "stacks": (threading.stack_size, threading.stack_size),
    "libraries": (sys.getdlopenflags, sys.setdlopenflags),
    "decimals": (_DECIMALS.read, _DECIMALS.put_back),
    "errors of codecs": (_codec_errors, _set_codec_errors),
    "fields of CSV": (_field_size, _set_field_size),
    "first day of the week": (_first_weekday, _set_first_weekday),
    "sockets": (socket.getdefaulttimeout, socket.setdefaulttimeout),
    "collector": (gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    "thresholds": (gc.get_threshold, lambda kept: gc.set_threshold(*kept)),
    "debugging": (gc.get_debug, gc.set_debug),
    "locale": (lambda: locale.setlocale(locale.LC_ALL), lambda kept: locale.setlocale(locale.LC_ALL, kept)),
    "filters": (lambda: tuple(warnings.filters), _set_filters),
    "lists": (_lists, _set_lists),
    "memory": (_traces_memory, _trace_memory),
    "start method": (_start_method, _set_start_method),
}
if hasattr(sys, "monitoring"):  # since Python 3.12
    _TABLE["perf"] = (_perf, _set_perf)
    _TABLE["monitors"] = (_monitors, _end_monitors)
_GETTERS: Final = list(_TABLE)
_READERS: Final = [get for get, _ in _TABLE.values()]
_SETTERS: Final = {name: put for name, (_, put) in _TABLE.items()}
