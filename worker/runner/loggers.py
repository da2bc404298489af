"""Loggers of a child: what a call changes on any of them is undone after it."""

from __future__ import annotations

import logging
import sys
from operator import attrgetter
from typing import Any, Final

from worker.runner.changes import detector, own_dictionary

_State = tuple[int, bool, bool, list[Any], list[Any]]
_BLANK: Final[_State] = (logging.NOTSET, True, False, [], [])
_read: Final = attrgetter("level", "propagate", "disabled", "handlers", "filters")
_METHODS: Final = frozenset(name for name in dir(logging.Logger) if callable(getattr(logging.Logger, name)))
_Aspect = tuple[int, logging.Formatter | None, list[Any]]


class Loggers:
    """Takes the present levels, handlers and filters as those that each call will find.

    A logger that appears later is blank, but for handlers that drop everything: those are how libraries keep quiet.
    """

    def __init__(self) -> None:
        self._manager = logging.root.manager
        self._disabled = self._manager.disable
        self._changes = detector()
        self._followed: set[logging.Logger] = set()
        self._note()
        self._kept = {logger: _state(logger) for logger in self._loggers}
        self._patched = {logger: _METHODS.intersection(vars(logger)) for logger in self._loggers}
        handlers = {handler for state in self._kept.values() for handler in state[3]}
        self._handlers = {handler: _aspect(handler) for handler in handlers}

    def restore(self) -> str:
        """Put back what differs. Returns nothing: all of it can be restored."""
        changed = self._may_differ() and self._put_back()
        for handler, aspect in self._handlers.items():
            if _aspect(handler) != aspect:
                handler.level, handler.formatter = aspect[0], aspect[1]
                handler.filters[:] = aspect[2]
        if changed or self._manager.disable != self._disabled:
            logging.disable(self._disabled)  # also clears what loggers have cached of levels
        return ""

    def _may_differ(self) -> bool:
        """Tell whether anything may have been set. The lists of a logger can change without the logger."""
        if list(self._manager.loggerDict.values()) != self._known:
            return True
        if self._changes is None:
            return list(map(_read, self._loggers)) != self._states
        return bool(self._changes.changed()) or self._lists != self._in_lists

    def _put_back(self) -> bool:
        """Put back each logger that differs; tell whether there was any."""
        self._forget_unheld()
        changed = False
        for logger in self._all():
            kept = self._kept.get(logger, _BLANK)
            if _read(logger) != kept:
                if kept is _BLANK:
                    kept = self._kept[logger] = _quiet(logger)
                _set(logger, kept)
                changed = True
            for name in _METHODS.intersection(vars(logger)).difference(self._patched.get(logger, ())):
                delattr(logger, name)
        self._note()
        return changed

    def _forget_unheld(self) -> None:
        """Forget what the call has made and nobody holds: one more logger after each call would make each call slower."""
        known = self._manager.loggerDict
        for name in sorted(known.keys() - self._names, reverse=True):  # those below others first
            found = [known[name]]
            if isinstance(found[0], logging.PlaceHolder):
                if not found[0].loggerMap:
                    del known[name]
                continue
            maps = [
                above.loggerMap
                for above in map(known.get, _above(name))
                if isinstance(above, logging.PlaceHolder)
            ]
            maps = [each for each in maps if found[0] in each]
            if _references(found) == _ALONE + 1 + len(maps):
                del known[name]
                for each in maps:
                    del each[found[0]]

    def _note(self) -> None:
        """Take all loggers as they are now, so that comparing them is one look, in C."""
        known = list(self._manager.loggerDict.values())
        self._names = set(self._manager.loggerDict)
        self._loggers = self._all()
        self._states = list(map(_state, self._loggers))
        self._lists = [part for logger in self._loggers for part in (logger.handlers, logger.filters)]
        self._in_lists = list(map(list, self._lists))
        self._known = known
        if self._changes is not None:
            for logger in self._loggers:
                if logger not in self._followed:
                    self._followed.add(logger)
                    self._changes.follow(own_dictionary(logger))
            self._changes.settle()

    def _all(self) -> list[logging.Logger]:
        known = self._manager.loggerDict.values()
        return [logging.root, *(logger for logger in known if isinstance(logger, logging.Logger))]


def _above(name: str) -> list[str]:
    """List the names of what a logger is below of."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _references(only: list[Any]) -> int:
    """Count who holds the one object in a list, that list too."""
    return sys.getrefcount(only[0])


def _state(logger: logging.Logger) -> _State:
    return logger.level, logger.propagate, logger.disabled, list(logger.handlers), list(logger.filters)


def _quiet(logger: logging.Logger) -> _State:
    """Reset a logger that a call has made."""
    silent = [handler for handler in logger.handlers if isinstance(handler, logging.NullHandler)]
    return logging.NOTSET, True, False, silent, []


def _set(logger: logging.Logger, state: _State) -> None:
    logger.level, logger.propagate, logger.disabled = state[:3]
    logger.handlers, logger.filters = list(state[3]), list(state[4])


def _aspect(handler: logging.Handler) -> _Aspect:
    return handler.level, handler.formatter, list(handler.filters)


_ALONE: Final = _references([object()])
"""What `_references` counts when nobody else holds it."""
