"""The one release of Celery and kombu this package works with, and why: docs/operations.md#celery."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

RELEASE = "5.7"
"""First two numbers of the version of both; the same in pyproject.toml."""
PACKAGES = ("celery", "kombu")


def release_problems(version: Callable[[str], str] = metadata.version) -> list[str]:
    """List packages that are not of the release we work with, each as a sentence with its remedy.

    pip keeps to it by itself; a lock file, `--no-deps` or a system package may not.

    Args:
        version: gives the installed version of a package.
    """
    found = {package: version(package) for package in PACKAGES}
    major, minor = RELEASE.split(".")
    return [
        f"{package} {installed} is installed, and this release works with {RELEASE} alone: "
        f"run pip install '{package}>={RELEASE},<{major}.{int(minor) + 1}'"
        for package, installed in found.items()
        if ".".join(installed.split(".")[:2]) != RELEASE
    ]
