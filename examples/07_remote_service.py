"""Work at a service that is not ours: a plugin submits it, polls it, takes its result and can stop it.

The service of this example is a small HTTP server, started below. Workers find the plugin by
RECONCILER_PLUGINS=examples.07_remote_service; with `make dev`, set it before.
"""

import json
import threading
import urllib.request
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError

import msgspec

from reconciler import Client
from reconciler.api.action import ActionSpec
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.api.transition import PhaseInfo, TaskInfo, failure, running, success
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.registry import PluginEntry
from reconciler.plugins.remote import Created, RemotePlugin
from reconciler.plugins.remote_state import RemoteConfig


def ask(url: str, method: str = "GET", body: object = None) -> Any:  # noqa: ANN401  # whatever the service answers
    """One call of the service. Its time limit is below half of RECONCILER_STEP_LEASE."""
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, method=method)  # noqa: S310  # ours
    with urllib.request.urlopen(request, timeout=4) as answer:  # noqa: S310  # ours
        return json.load(answer)


class Sums(RemotePlugin[str, dict[str, Any]]):
    """Sums at the service. What is remembered of one is its URL; credentials would come from `ctx.secret` in each call."""

    id = "remote-sum"
    meta_type = str
    config = RemoteConfig(resync_interval=timedelta(seconds=5))

    def create(self, ctx: TaskExecutionContext) -> Created[str, dict[str, Any]]:
        """A PUT under our own key: the same sum when it is sent again."""
        wanted = msgspec.json.decode(ctx.read_inputs(), type=dict[str, Any])
        url = f"{wanted['service']}/{self.key(ctx)}"
        return Created(url, ask(url, "PUT", {"numbers": wanted["numbers"]}))

    def get(self, ctx: TaskExecutionContext, meta: str) -> dict[str, Any]:
        """Ask how it goes."""
        del ctx
        return ask(meta)  # type: ignore[no-any-return]  # JSON

    def status(self, ctx: TaskExecutionContext, meta: str, resource: dict[str, Any]) -> PhaseInfo:
        """From the service's words to ours."""
        del meta
        match resource["state"]:
            case "done":
                outputs = ctx.files.write_outputs(json.dumps({"o0": resource["sum"]}).encode(), 4096)
                return success(TaskInfo(outputs=outputs))
            case "failed":
                return failure("SumFailed", resource["why"])
            case _:
                return running(0)

    def delete(self, ctx: TaskExecutionContext, meta: str | None, reason: str) -> None:
        """Stop it. A worker that died after `create` left no URL, so it is put together again."""
        if meta is None:
            service = msgspec.json.decode(ctx.read_inputs(), type=dict[str, Any])["service"]
            meta = f"{service}/{self.key(ctx)}"
        try:
            ask(meta, "DELETE", {"reason": reason})
        except HTTPError as error:
            if error.code != 404:  # gone is fine
                raise


ENTRY = PluginEntry(id=Sums.id, task_types=(Sums.id,), load=Sums)


class Service(BaseHTTPRequestHandler):
    """Adds numbers: accepted by PUT, done when it is asked for the first time."""

    sums: dict[str, dict[str, Any]] = {}  # noqa: RUF012  # of all requests

    def do_PUT(self) -> None:
        """Accept a sum, once."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.sums.setdefault(self.path, body)
        self.answer({"state": "accepted"})

    def do_GET(self) -> None:
        """Say how it ended."""
        try:
            self.answer({"state": "done", "sum": sum(self.sums[self.path]["numbers"])})
        except TypeError as error:
            self.answer({"state": "failed", "why": str(error)})

    def do_DELETE(self) -> None:
        """Forget it."""
        self.sums.pop(self.path, None)
        self.answer({})

    def answer(self, body: object) -> None:
        """Answer in JSON."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's word
        """Stay quiet."""


def summed(service: str, numbers: list[object]) -> ActionSpec:
    """An action that adds numbers at the service."""
    return ActionSpec(
        task_type=Sums.id,
        short_name="sum",
        task_template=encode_template(TaskTemplate(type=Sums.id)),
        inputs=msgspec.json.encode({"service": service, "numbers": numbers}),
    )


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}/sums"

    client = Client.from_settings()
    good, bad = client.submit(summed(here, [1, 2, 39])), client.submit(summed(here, [1, "two"]))
    print(good.result(timeout=60))
    error = bad.wait(timeout=60).status.error_state
    print(error.code if error else "no error")
    for attempt in good.attempts():
        print(f"attempt {attempt.attempt} {attempt.phase}:", *(str(span.phase) for span in attempt.phases))
