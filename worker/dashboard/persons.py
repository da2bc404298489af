"""Tell who asks, and what he may see: logins of Flower, read with every request."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

from flower.views import BaseHandler

from reconciler.api.logins import WHOLE, View, view_of
from reconciler.client import Client
from worker.dashboard.defaults import is_login


@cache
def client() -> Client:
    """Return the client of this Flower."""
    return Client.from_settings()


def has_login(options: Any) -> bool:  # noqa: ANN401  # Tornado's
    """Tell whether these options of Flower require a login."""
    return is_login(options.basic_auth or (), options.auth or "")


def person_of(request: BaseHandler) -> str:
    """Return who asks, as histories show it; empty: unknown."""
    if isinstance(request.current_user, str):
        return request.current_user
    if request.application.options.basic_auth and request.request.headers.get("Authorization"):
        return _basic_user(request.request.headers["Authorization"])
    return ""


def view_of_request(request: BaseHandler) -> View:
    """Return what the person who asks may see."""
    entries = client().settings.flower_projects
    return view_of(entries, person_of(request)) if entries else WHOLE


def _basic_user(header: str) -> str:
    try:
        return base64.b64decode(header.partition(" ")[2]).decode().partition(":")[0]
    except ValueError:
        return ""
