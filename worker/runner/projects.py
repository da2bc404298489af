"""Django in the process of functions: set up before the modules that declare functions are imported, as Celery does it."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Final

from reconciler.api.errors import InvalidSettings

_VARIABLE: Final = "DJANGO_SETTINGS_MODULE"


def set_up_django() -> None:
    """Set Django up if the environment names its settings and it is installed.

    Raises:
        InvalidSettings: it cannot be set up.
    """
    name = os.environ.get(_VARIABLE)
    if not name or importlib.util.find_spec("django") is None:
        return
    try:
        importlib.import_module("django").setup()
    except (Exception, SystemExit) as error:
        text = (
            f"Django cannot be set up: {type(error).__name__}: {error}. Correct {_VARIABLE}={name!r} or what it names, "
            "or take the variable out of the environment of this worker"
        )
        raise InvalidSettings([text]) from error
