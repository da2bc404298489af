"""Tell our modules from a user's modules of the same name, which Python would find first.

Imports nothing of ours: it may be foreign.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from worker.import_path import import_path

OUR_ROOT = Path(__file__).resolve().parents[1]
"""The folder this package lies in, with `reconciler` and `beat_schedule` beside it."""
_BESIDE = ("worker", "reconciler", "beat_schedule")
_EX_CONFIG = 78


def foreign_modules(names: Sequence[str] = _BESIDE) -> list[str]:
    """List what hides each of these modules of ours, as sentences with a remedy; nothing is executed."""
    return [problem for name in names if (problem := _problem_of(name))]


def refuse_foreign_modules() -> None:
    """End this process when a module of ours is hidden: what it promises would silently be missing.

    Raises:
        SystemExit: with status 78, after the reasons were written to standard error.
    """
    found = foreign_modules()
    if found:
        sys.stderr.write("celery-reconciler cannot start:\n" + "".join(f"  - {text}\n" for text in found))
        sys.stderr.flush()
        raise SystemExit(_EX_CONFIG)


def _problem_of(name: str) -> str:
    loaded = sys.modules.get(name)
    # the processes of functions look into the working folder first, as Celery does for the application
    spec = PathFinder.find_spec(name, import_path())
    found = [getattr(loaded, "__file__", None) or "a module made by hand"] if loaded else []
    found += [spec.origin] if spec and spec.origin else []
    if not found:
        return f"the module {name!r} of celery-reconciler is missing from {OUR_ROOT}; install it again"
    foreign = next((origin for origin in found if not _is_ours(name, Path(origin).resolve())), None)
    if foreign is None:
        return ""
    return (
        f"{foreign} has the name of a module of celery-reconciler, {name!r}, and Python finds it first: rename it, or put "
        f"it into a package of yours (mypackage/{name}.py)"
    )


def _is_ours(name: str, origin: Path) -> bool:
    if origin in {OUR_ROOT / f"{name}.py", OUR_ROOT / name / "__init__.py"}:
        return True
    from importlib.metadata import (  # noqa: PLC0415  # 2 MB, also of each process of functions, for this rare question
        PackageNotFoundError,
        distribution,
    )

    try:  # an editable installation has single files where packages are installed, the others at their source
        return origin == Path(str(distribution("celery-reconciler").locate_file(f"{name}.py"))).resolve()
    except PackageNotFoundError:
        return False
