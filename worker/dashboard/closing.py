"""Close Flower's own pages where they would show too much: they cover all projects, for whoever reaches this machine."""

from __future__ import annotations

from typing import Any, Final

from flower.views import BaseHandler
from flower.views.auth import LoginHandler, LogoutHandler
from flower.views.error import NotFoundErrorHandler
from flower.views.monitor import Healthcheck
from tornado.routing import URLSpec
from tornado.web import HTTPError

from worker.dashboard.guard import rebound_because
from worker.dashboard.persons import has_login, view_of_request

OPEN: Final = (LoginHandler, LogoutHandler, NotFoundErrorHandler, Healthcheck)
"""What tells nothing of any project."""
ONLY_SOME: Final = (
    "this page tells of all projects, and your login sees some of them (RECONCILER_FLOWER_PROJECTS): use Runs"
)


def closed(entry: Any) -> Any:  # noqa: ANN401  # Tornado takes several forms
    """Wrap a handler of Flower so that it refuses logins that do not see all projects, and foreign host names."""
    found = entry if isinstance(entry, URLSpec) else URLSpec(*entry)
    handler = found.handler_class
    if not issubclass(handler, BaseHandler) or issubclass(handler, OPEN):
        return entry
    pattern = found.regex.pattern
    return URLSpec(pattern, _closing(handler), found.kwargs, found.name)


def _closing(handler: type[Any]) -> type[Any]:
    def prepare(self: Any) -> Any:  # noqa: ANN401  # Tornado's, which may be a coroutine
        options = self.application.options
        why = rebound_because(options.address or "", self.request.host, login=has_login(options))
        if why and not options.unix_socket:
            raise HTTPError(403, why)
        if view_of_request(self).projects is not None:
            raise HTTPError(403, ONLY_SOME)
        return handler.prepare(self)

    return type(handler.__name__, (handler,), {"prepare": prepare})
