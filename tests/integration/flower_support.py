"""An installation with Flower as programs and browsers meet it; what the tests of its pages share."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import runs_functions as orchard
from browser_support import CHROMIUM, Browser

from reconciler import Client, Settings
from reconciler.api.action import ActionId
from reconciler.embedded.stack import Stack


class Site:
    """An installation with Flower, as a browser or a program meets it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = Client.from_settings(Settings.from_env(stack.env()))

    @property
    def url(self) -> str:
        """Where Flower is."""
        return self.stack.flower_url

    def ask(
        self, path: str, *, body: object = None, raw: str = "", url: str = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of one request; `X_Y` stands for the header `X-Y`, `raw` for a body as it is."""
        data = raw or (None if body is None else json.dumps(body))
        where = urlsplit(url or self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        try:
            connection.request(
                "GET" if data is None else "POST",
                where.path + path,
                data,
                {name.replace("_", "-"): value for name, value in headers.items()},
            )
            answer = connection.getresponse()
            return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def api(self, path: str) -> Any:
        """Return the document of the API."""
        status, _, body = self.ask(f"/reconciler/api{path}")
        assert status == 200, body
        return json.loads(body)

    def token(self) -> dict[str, str]:
        """Return headers of a request from our own page."""
        _, headers, _ = self.ask("/runs")
        token = headers["set-cookie"].split(";")[0].partition("=")[2]
        return {"Cookie": f"_xsrf={token}", "X_XSRFToken": token}

    def reason(self, action: ActionId) -> str:
        """Why an action waits, for programs."""
        return str(self.api(f"/actions/{action}")["why"][0]["reason"])


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; apt-get install chromium")
"""On a test that opens pages: it is skipped before it starts anything."""


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Provide a browser that in the end has nothing to complain of."""
    with Browser(folder) as found:
        yield found
        assert found.errors == [], found.errors
        assert found.dialogs == []


@contextmanager
def orchard_site(folder: Path) -> Iterator[Site]:
    """Provide an installation with Flower, buttons and no login, that runs the functions of runs_functions.py."""
    variables = {"FLOWER_READ_ONLY": "false", "RECONCILER_QUOTAS": "press=1"}
    imports, here = ["runs_functions"], Path(__file__).parent
    with (
        Stack(folder, imports=imports, flower=True, attempts_concurrency=4, env=variables, cwd=here) as stack,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, stack.env()[name])
        site = Site(stack)
        orchard.env.client = site.client
        yield site
