"""Loggers of a child: what a call sets on any of them is undone after it."""

from __future__ import annotations

import logging
from typing import Any, Final

_State = tuple[int, bool, bool, list[Any], list[Any]]
_BLANK: Final[_State] = (logging.NOTSET, True, False, [], [])
_Aspect = tuple[int, logging.Formatter | None, list[Any]]


class Loggers:
    """Takes levels, handlers and filters there are when it is made as what each call shall find.

    A logger that appears later is blank, but for handlers that drop everything: those are how libraries keep quiet.
    """

    def __init__(self) -> None:
        self._manager = logging.root.manager
        self._disabled = self._manager.disable
        self._loggers = {logger: _state(logger) for logger in self._all()}
        handlers = {handler for state in self._loggers.values() for handler in state[3]}
        self._handlers = {handler: _aspect(handler) for handler in handlers}

    def restore(self) -> str:
        """Put back what differs. Gives nothing: all of it can be restored."""
        changed = False
        for logger in self._all():
            kept = self._loggers.get(logger, _BLANK)
            if (
                logger.level != kept[0]
                or logger.handlers != kept[3]
                or logger.filters != kept[4]
                or logger.disabled != kept[2]
                or logger.propagate != kept[1]
            ):
                if kept is _BLANK:
                    kept = self._loggers[logger] = _quiet(logger)
                _set(logger, kept)
                changed = True
        for handler, aspect in self._handlers.items():
            if _aspect(handler) != aspect:
                handler.level, handler.formatter = aspect[0], aspect[1]
                handler.filters[:] = aspect[2]
        if changed or self._manager.disable != self._disabled:
            logging.disable(self._disabled)  # also clears what loggers have cached of levels
        return ""

    def _all(self) -> list[logging.Logger]:
        known = self._manager.loggerDict.values()
        return [logging.root, *(logger for logger in known if isinstance(logger, logging.Logger))]


def _state(logger: logging.Logger) -> _State:
    return logger.level, logger.propagate, logger.disabled, list(logger.handlers), list(logger.filters)


def _quiet(logger: logging.Logger) -> _State:
    """Tell what is left to a logger that a call has made."""
    silent = [handler for handler in logger.handlers if isinstance(handler, logging.NullHandler)]
    return logging.NOTSET, True, False, silent, []


def _set(logger: logging.Logger, state: _State) -> None:
    logger.level, logger.propagate, logger.disabled = state[:3]
    logger.handlers, logger.filters = list(state[3]), list(state[4])


def _aspect(handler: logging.Handler) -> _Aspect:
    return handler.level, handler.formatter, list(handler.filters)
