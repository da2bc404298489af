"""The Celery application of the backend: `celery -A worker worker|beat|flower`, or `from worker import app`."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from worker.foreign import refuse_foreign_modules
from worker.import_path import past_the_folder
from worker.lean import spare_rich

__all__ = ["app"]


class _Package(ModuleType):
    """This package; its `app` is the application, although a submodule has that name too."""

    @property
    def app(self) -> Any:  # noqa: ANN401  # a Celery application, which is built when it is asked for, not on import
        """The application of this process.

        Raises:
            SystemExit: a setting is wrong, or a module of somebody else has the name of one of ours; status 78.
        """
        refuse_foreign_modules()
        spare_rich()
        try:
            with past_the_folder():
                return import_module("worker.app").app
        except AttributeError as error:  # would be read as "there is no app"
            raise ImportError(f"the Celery application cannot be made: {error}") from error

    @app.setter
    def app(self, module: ModuleType) -> None:
        """Ignore the submodule that Python stores here when it is imported; `sys.modules` has it."""


sys.modules[__name__].__class__ = _Package
