"""Bound what a request to our API may hold: it is refused by its header, or as soon as more has come."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.web import HTTPError

MOST: Final = 1024 * 1024
"""Bytes of a request: four times what a form edits (`detail.EDITED`)."""


class Bounded:
    """The body of a request, in pieces as they come; for handlers that Tornado gives them (`stream_request_body`)."""

    body = b""

    def data_received(self, chunk: bytes) -> None:
        """Keep a piece."""
        check_size(len(self.body) + len(chunk))
        self.body += chunk


def check_announced(headers: Any) -> None:  # noqa: ANN401  # Tornado's headers
    """Refuse by its header what is too large; HTTPError 413."""
    told = headers.get("Content-Length", "")
    check_size(int(told) if told.isdecimal() else 0)


def check_size(size: int) -> None:
    """Refuse a body of so many bytes when it is too large; HTTPError 413."""
    if size > MOST:
        raise HTTPError(413, f"a request may hold {MOST} bytes at most: use `reconciler` for more")


def unreadable(error: Exception) -> str:
    """Say why a body could not be read; of a number that no JSON reader of ours holds, that."""
    if "out of range" in str(error):
        return "a number of this request is too large to be read: a float has at most 1.8e308, an int 64 bits"
    return f"the body must be a JSON object: {error}"


def bounded_server() -> Any:  # noqa: ANN401  # a class of Tornado
    """Return the server for Flower, whose own pages would take 100 MB of a request, before any login is checked."""
    return partial(HTTPServer, max_body_size=MOST)
