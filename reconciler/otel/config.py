"""Read the standard OTEL_* variables for traces. Imports nothing of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_LIBRARIES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
PROTOCOL = "http/protobuf"
INSTALL = "pip install 'celery-reconciler[otel]'"


def is_wanted(env: Mapping[str, str]) -> bool:
    """Tell whether to export traces: an exporter or an endpoint is named, and nothing turns them off."""
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = env.get("OTEL_TRACES_EXPORTER", "").strip()
    return exporter != "none" and bool(exporter or _first(env, _ENDPOINTS))


def endpoint_of(env: Mapping[str, str]) -> str:
    """Return where traces are sent to."""
    own, base = (env.get(name, "").strip() for name in _ENDPOINTS)
    return own or f"{base.rstrip('/') or 'http://localhost:4318'}/v1/traces"


def problems_of(env: Mapping[str, str]) -> list[str]:
    """List why wanted traces cannot be exported, as sentences with a remedy."""
    found = []
    exporter = env.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter not in {"", "otlp"}:
        found.append(f"OTEL_TRACES_EXPORTER={exporter!r:.100} is not supported: set it to otlp, or to none")
    protocol = _first(env, _PROTOCOLS)
    if protocol not in {"", PROTOCOL}:
        found.append(
            f"the protocol {protocol!r:.100} of OTEL_EXPORTER_OTLP_PROTOCOL is not supported: set it to {PROTOCOL}, "
            "and the endpoint to the port for it, often 4318"
        )
    if not endpoint_of(env).startswith(("http://", "https://")):
        found.append(f"{' or '.join(_ENDPOINTS)} must begin with http:// or https://")
    if not _is_installed():
        found.append(f"the libraries of OpenTelemetry are not installed: {INSTALL}")
    return found


def _is_installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in _LIBRARIES)
    except ModuleNotFoundError:
        return False


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := env.get(name, "").strip())), "")
