"""The Celery application of the backend: `celery -A worker worker|beat|flower`."""

from __future__ import annotations

from typing import Any

__all__ = ["app"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # the application is built when Celery asks for it, not on import
    if name in {"app", "celery"}:
        from worker.app import app  # noqa: PLC0415  # as above

        return app
    raise AttributeError(name)
