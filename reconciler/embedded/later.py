"""Put off the code of a package that others import and never use."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any


def put_off(name: str) -> None:
    """Have a package run its code when something of it is first used, if ever; its modules can be imported before.

    Does nothing when it is imported already, or not installed. (`LazyLoader` of Python runs it at the second import.)
    """
    outer, _, _ = name.rpartition(".")
    above = PathFinder.find_spec(outer) if outer else None
    spec = PathFinder.find_spec(name, above.submodule_search_locations if above else None)
    if spec is None or spec.loader is None or name in sys.modules:
        return
    loader, module = spec.loader, module_from_spec(spec)

    def use(wanted: str) -> Any:  # noqa: ANN401  # whatever it has under that name
        if wanted.startswith("__") or module.__dict__.pop("__getattr__", None) is None:
            raise AttributeError(f"module {name!r} has no attribute {wanted!r}")
        loader.exec_module(module)
        return getattr(module, wanted)

    module.__dict__["__getattr__"] = use
    sys.modules[name] = module
