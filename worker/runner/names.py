"""Restore names of the standard library to which a call has given another value.

That is: of its modules, of classes of theirs written in Python (`Path.exists`, `Popen.__init__`), and of some tables. The
modules of users and of libraries are not compared: what they keep from call to call is what makes a warm process fast.
"""

from __future__ import annotations

import builtins
import copyreg
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any, Final

from worker.runner.changes import detector, own_dictionary, version

_LIVE: Final = ("importlib", "encodings", "multiprocessing", "concurrent", "ctypes", "__main__")
"""Packages whose names say how things stand: loops, pools, processes, which are looked after elsewhere. Functions count."""
_MOST_PATCHED: Final = frozenset({
    *("asyncio.base_events", "asyncio.locks", "asyncio.queues", "builtins", "concurrent.futures.thread", "http.client"),
    *("json.decoder", "json.encoder", "logging", "os", "pathlib", "random", "smtplib", "socket", "ssl", "subprocess"),
    *("tempfile", "threading", "urllib.request", "zoneinfo"),
})  # fmt: skip
"""Modules whose classes are followed where each one costs time."""
_HEAP_TYPE: Final = 1 << 9
"""Flag of a class that can be changed."""


class Names:
    """The names of one module, class or table."""

    def __init__(
        self, names: dict[str, Any], put: Callable[[str, Any], None], drop: Callable[[str], None]
    ) -> None:
        self.names = names
        self._put, self._drop = put, drop
        self.kept = dict(names)

    def restore(self) -> None:
        """Put back what differs."""
        names, kept = self.names, self.kept
        for name in list(names.keys() - kept.keys()):
            if not isinstance(names[name], ModuleType):  # that would be an import of a module below this one
                self._drop(name)
        for name, value in kept.items():
            if names.get(name, kept) is not value:
                self._put(name, value)
        self.kept = dict(names)


class Functions(Names):
    """The functions and classes of a module whose other names say how things stand; and what is not so, as `_shutdown`."""

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__(names, names.__setitem__, names.__delitem__)
        self.kept = {name: value for name, value in self.kept.items() if callable(value) or value is False}

    def restore(self) -> None:
        """Put back what differs."""
        self.names.update(self.kept)


class Builtins:
    """Takes the names that every module has as those each call will find, with all that putting back needs."""

    def __init__(self) -> None:
        self._names = vars(builtins)
        self._kept = self._names.copy()
        self._version = version(self._names)
        self._seen = -1

    def restore(self) -> None:
        """Put back what differs, using nothing that a call can have replaced. Added names are removed with the others."""
        if self._version is not None:
            if self._version[0] == self._seen:
                return
            self._seen = self._version[0]
        if self._names != self._kept:
            self._names.update(self._kept)
            self._seen = -1


class Watched:
    """Names that are only watched: their owner puts them back."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self._changed = False

    def restore(self) -> None:
        """Note that they may have changed."""
        self._changed = True

    def take(self) -> bool:
        """Tell whether they may have changed since the last time."""
        changed, self._changed = self._changed, False
        return changed


class StandardLibrary:
    """Takes the present names as those that each call will find.

    Where Python does not tell what was changed, it compares the names of a few modules instead.
    """

    def __init__(self) -> None:
        self._changes = detector()
        self._names: list[Names | Watched] = []
        self._modules: set[str] = set()
        self._by_owner: dict[ModuleType | logging.Handler, Names] = {}
        for table in (copyreg.dispatch_table, sys._xoptions, logging._levelToName, logging._nameToLevel):  # noqa: SLF001  # no other way
            self._follow(table)  # type: ignore[arg-type]  # keys of any kind
        self._follow(own_dictionary(os.environ))
        self._follow(own_dictionary(threading.main_thread()))
        for handler in logging.root.handlers:
            self._follow_handler(handler)
        self.look_at(sys.modules)

    def look_at(self, loaded: dict[str, ModuleType]) -> str:
        """Follow what has been imported since. Returns what is not as it was written, or nothing."""
        wrong = ""
        for name, module in list(loaded.items()):
            if name in self._modules or not isinstance(module, ModuleType) or not _is_standard(name):
                continue
            wrong = wrong or (_foreign(name, module) if self._modules_known else "")
            self._modules.add(name)
            self._follow_module(name, module)
        self._modules_known = True
        self._settle()
        return wrong

    _modules_known = False

    def watch(self, names: dict[str, Any]) -> Watched:
        """Watch names outside of the standard library: `restore` tells whether they may have changed."""
        watched = Watched(names)
        self._add(watched)
        self._settle()
        return watched

    def adopt(self, owner: ModuleType | logging.Handler, name: str) -> None:
        """Keep the present value of a name, if the names of its owner are followed."""
        if owner in self._by_owner:
            self._by_owner[owner].kept[name] = vars(owner)[name]

    def restore(self) -> None:
        """Put back what differs."""
        if self._changes is None:
            for names in self._names:
                names.restore()
            return
        changed = self._changes.changed()
        if changed:
            for number in changed:
                self._names[number].restore()
            self._settle()

    def _settle(self) -> None:
        if self._changes is not None:
            self._changes.settle()

    def _follow_module(self, name: str, module: ModuleType) -> None:
        if self._changes is None and name not in _MOST_PATCHED | {
            "sys",
            "time",
            "signal",
            "warnings",
            "decimal",
        }:
            return
        if name.partition(".")[0] in _LIVE or name == "asyncio.events":  # which has the policy
            self._add(Functions(vars(module)))
        else:
            self._by_owner[module] = self._follow(vars(module))
        if name == "multiprocessing.process":
            process = module.__dict__["current_process"]()
            self._follow(own_dictionary(process))
            self._follow(process._config)  # noqa: SLF001  # the key by which processes know each other
        if self._changes is not None and (self._changes.cheap or name in _MOST_PATCHED):
            for each in _classes(name, module):
                self._follow_class(each)

    def _follow_class(self, each: type) -> None:
        [names] = [found for found in gc.get_referents(each.__dict__) if isinstance(found, dict)]
        self._add(
            Names(
                names,
                lambda name, value: type.__setattr__(each, name, value),
                lambda name: type.__delattr__(each, name),
            )
        )

    def _follow_handler(self, handler: logging.Handler) -> None:
        """Follow a handler and what formats for it."""
        self._by_owner[handler] = self._follow(own_dictionary(handler))
        for part in (handler.formatter, getattr(handler.formatter, "_style", None)):
            if part is not None:
                self._follow(own_dictionary(part))

    def _follow(self, names: dict[str, Any]) -> Names:
        followed = Names(names, names.__setitem__, names.__delitem__)
        self._add(followed)
        return followed

    def _add(self, names: Names | Watched) -> None:
        self._names.append(names)
        if self._changes is not None:
            self._changes.follow(names.names)


def _is_standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


def _classes(name: str, module: ModuleType) -> Iterator[type]:
    for found in list(vars(module).values()):
        if isinstance(found, type) and found.__module__ == name and found.__flags__ & _HEAP_TYPE:
            yield found


def _foreign(name: str, module: ModuleType) -> str:
    """Say what a call that was the first to import a module has put into it: nobody knows how it was before."""
    for where, names in (
        (name, vars(module)),
        *((f"{name}.{c.__name__}", vars(c)) for c in _classes(name, module)),
    ):
        if found := _written_elsewhere(names.items()):
            return f"{where}.{found} was replaced by the call that imported it"
    return ""


def _written_elsewhere(names: Iterable[tuple[str, Any]]) -> str:
    for name, value in names:
        if isinstance(value, FunctionType | type):
            written = (
                value.__module__
            )  # none in what the standard library makes of text, as `multiprocessing.managers` does
            if written and not _is_standard(written):
                return name
    return ""
