"""Close Flower's own pages where they would show too much, and send the headers with them that its scripts allow."""

from __future__ import annotations

import secrets
from typing import Any, Final

from flower.views import BaseHandler
from flower.views.auth import LoginHandler, LogoutHandler
from flower.views.broker import BrokerView
from flower.views.error import NotFoundErrorHandler
from flower.views.monitor import Healthcheck
from flower.views.tasks import TasksView, TaskView
from flower.views.workers import WorkersView, WorkerView
from tornado.routing import URLSpec
from tornado.web import HTTPError

from worker.dashboard.guard import rebound_because
from worker.dashboard.persons import has_login, view_of_request

OPEN: Final = (LoginHandler, LogoutHandler, NotFoundErrorHandler, Healthcheck)
"""What tells nothing of any project."""
PAGES: Final = (WorkersView, WorkerView, TasksView, TaskView, BrokerView)
"""What a person opens; the others answer programs."""
ONLY_SOME: Final = (
    "this page tells of all projects, and your login sees some of them (RECONCILER_FLOWER_PROJECTS): use Runs"
)
_SOME_SEEN: Final = (
    "This page tells of all projects at once, and your login sees some of them. Whoever runs this Flower says which, in "
    "RECONCILER_FLOWER_PROJECTS."
)
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'nonce-{}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page of Flower may load. Its tables write styles into elements; its one script within a page has the nonce."""


def closed(entry: Any) -> Any:  # noqa: ANN401  # Tornado takes several forms
    """Wrap a handler of Flower: it sends headers, and refuses foreign host names and logins that see some projects only."""
    found = entry if isinstance(entry, URLSpec) else URLSpec(*entry)
    handler = found.handler_class
    if not issubclass(handler, BaseHandler):
        return entry
    parts = {"set_default_headers": _headers(handler)}
    if not issubclass(handler, OPEN):
        parts["prepare"] = _closing(handler)
    wrapped = type(handler.__name__, (handler,), parts)
    return URLSpec(found.regex.pattern, wrapped, found.kwargs, found.name)


def nonce_of(handler: Any) -> str:  # noqa: ANN401  # of Tornado
    """Return the nonce of one answer, the same for its header and its page."""
    return str(vars(handler).setdefault("reconciler_nonce", secrets.token_urlsafe(16)))


def _headers(handler: type[Any]) -> Any:  # noqa: ANN401  # a method
    def set_default_headers(self: Any) -> None:  # noqa: ANN401  # of Tornado
        handler.set_default_headers(self)
        self.set_header("Content-Security-Policy", _POLICY.format(nonce_of(self)))
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Referrer-Policy", "same-origin")

    return set_default_headers


def _closing(handler: type[Any]) -> Any:  # noqa: ANN401  # a method
    def prepare(self: Any) -> Any:  # noqa: ANN401  # of Tornado, and may be a coroutine
        options = self.application.options
        why = rebound_because(options.address or "", self.request.host, login=has_login(options))
        is_page = issubclass(handler, PAGES)
        if why and not options.unix_socket:
            if not is_page:
                raise HTTPError(403, why)
            return show_closed(self, "Flower is closed here", why)
        if view_of_request(self).projects is None or (is_page and not self.current_user):
            return handler.prepare(self)  # whoever is not logged in is sent to the login
        if not is_page:
            raise HTTPError(403, ONLY_SOME)
        return show_closed(self, "Not for your login", _SOME_SEEN, some=True)

    return prepare


def show_closed(handler: Any, title: str, why: str, *, some: bool = False) -> Any:  # noqa: ANN401  # of Tornado, and what it returns
    """Answer a person with a page that says why there is nothing to see, and what to do; `some`: Runs show a part."""
    handler.set_status(403)
    text = why[0].upper() + why[1:]
    return handler.render(
        "closed.html", title=title, why=text if text.endswith(".") else f"{text}.", some=some
    )
