"""Drives Debian's Chromium over its DevTools protocol, with the WebSocket client that comes with Flower."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

T = TypeVar("T")
CHROMIUM = shutil.which("chromium")
_NAVIGATED = ("navigated or closed", "context was destroyed", "Cannot find context")
_PATIENCE = 40.0
_CODES = {
    "Enter": 13, "Tab": 9, "Escape": 27, " ": 32, "PageDown": 34, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38,
    "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip
_SEEN = """(() => {
  const one = document.activeElement;
  if (one === document.body) return true;  // between the page and the browser's own parts
  const style = getComputedStyle(one);
  return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
})()"""
"""Whether one sees where the keyboard is."""


class Navigated(AssertionError):
    """Raised for a question whose page was left before it answered."""


class Browser:
    """One page of a browser without a window.

    Attributes:
        errors: what the page complained of: exceptions, console errors, files that were refused.
        dialogs: alerts that opened; a hostile string that runs would open one.
    """

    def __init__(self, folder: Path, width: int = 1440, height: int = 900) -> None:
        self._folder = folder
        self._size = (width, height)
        self._ids = itertools.count(1)
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        self._answers: dict[int, asyncio.Future[Any]] = {}

    def __enter__(self) -> Self:
        assert CHROMIUM
        self._loop = asyncio.new_event_loop()
        self._process = subprocess.Popen(
            [
                CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
                f"--user-data-dir={self._folder}", f"--window-size={self._size[0]},{self._size[1]}", "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port_file = self._folder / "DevToolsActivePort"
        self._until(lambda: port_file.exists() and len(port_file.read_text().splitlines()) == 2)
        port, path = port_file.read_text().split()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._await(self._connect(f"ws://127.0.0.1:{port}{path}"))
        return self

    def __exit__(self, *_: object) -> None:
        self._await(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._process.terminate()
        self._process.wait(20)

    @property
    def pid(self) -> int:
        """The browser's process; its children draw the page."""
        return self._process.pid

    # -- what tests say --------------------------------------------------------------------------------------------
    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """Return the value of a piece of JavaScript in the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until it is true in the page; fail with the text of the page when that takes too long."""
        deadline = time.monotonic() + _PATIENCE
        tick = threading.Event()
        while not self._is_true(script):
            assert time.monotonic() < deadline, f"never true: {script}\n{self.text()[:3000]}\n{self.errors}"
            tick.wait(0.05)

    def _is_true(self, script: str) -> bool:
        """Ask once. A page that goes to another one just then says nothing; the next one is asked again."""
        try:
            return bool(self.run(f"!!({script})"))
        except Navigated:
            return False

    def wait_text(self, *texts: str) -> None:
        """Wait until the page shows all these texts."""
        for text in texts:
            self.wait(f"document.body?.innerText.includes({json.dumps(text)})")

    def text(self) -> str:
        """What a person reads."""
        return str(self.run("document.body.innerText"))

    def click(self, selector: str) -> None:
        """Press the element that a selector finds, once it is there."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.wait(found)
        self.run(f"{found}.click()")

    def fill(self, selector: str, value: str) -> None:
        """Type into a field."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.wait(found)
        self.run(
            f"{found}.value = {json.dumps(value)}; {found}.dispatchEvent(new Event('input', {{bubbles: true}}))"
        )

    def key(self, name: str, *, shift: bool = False) -> None:
        """Press a key as a person would."""
        text = {"Enter": "\r", " ": " "}.get(name, name if len(name) == 1 else "")
        shared: dict[str, Any] = {
            "key": name,
            "code": "Space" if name == " " else name,
            "windowsVirtualKeyCode": _CODES.get(name, 0),
            "modifiers": 8 if shift else 0,
        }
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **shared)
        self.send("Input.dispatchKeyEvent", type="keyUp", **shared)

    def type(self, text: str) -> None:
        """Write where the keyboard is."""
        self.send("Input.insertText", text=text)

    def tab_to(self, selector: str, most: int = 60) -> None:
        """Go there by Tab alone; each stop has to be seen."""
        for _ in range(most):
            self.key("Tab")
            assert self.run(_SEEN), self.run("document.activeElement.outerHTML.slice(0, 300)")
            if self.run(f"document.activeElement.matches({json.dumps(selector)})"):
                return
        raise AssertionError(f"Tab never reaches {selector}\n{self.text()[:2000]}")

    def resize(self, width: int, height: int) -> None:
        """Show the page in another size."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def theme(self, scheme: str) -> None:
        """Prefer light or dark."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        """Store a picture of the page."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    # -- the protocol ----------------------------------------------------------------------------------------------
    def send(self, method: str, **parameters: Any) -> Any:
        """Make one call of the protocol, and return its answer."""
        return self._await(self._call(method, parameters))

    async def _connect(self, url: str) -> None:
        request = HTTPRequest(url, connect_timeout=20, request_timeout=20)
        self._socket = await websocket_connect(request, max_message_size=64 * 1024 * 1024)
        self._session = ""
        self._reading = asyncio.ensure_future(self._read())
        target = (await self._call("Target.createTarget", {"url": "about:blank"}))["targetId"]
        attached = await self._call("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._call(f"{domain}.enable", {})

    async def _close(self) -> None:
        self._socket.close()
        self._reading.cancel()

    async def _call(self, method: str, parameters: dict[str, Any]) -> Any:
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        await self._socket.write_message(json.dumps(message))
        return await asyncio.wait_for(answer, _PATIENCE)

    async def _read(self) -> None:
        while (text := await self._socket.read_message()) is not None:
            message = json.loads(text)
            if "id" in message:
                answer = self._answers.pop(message["id"])
                if "error" in message:
                    kind = (
                        Navigated
                        if any(text in str(message["error"]) for text in _NAVIGATED)
                        else AssertionError
                    )
                    answer.set_exception(kind(message["error"]))
                else:
                    answer.set_result(message["result"])
            else:
                await self._note(message["method"], message["params"])

    async def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Page.javascriptDialogOpening":
            self.dialogs.append(told["message"])
            asyncio.ensure_future(self._call("Page.handleJavaScriptDialog", {"accept": True}))  # noqa: RUF006  # as it comes
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(told["exceptionDetails"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(told["entry"]["text"] + " " + told["entry"].get("url", ""))

    def _await(self, call: Awaitable[T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(_PATIENCE + 5)  # type: ignore[arg-type]  # a coroutine

    @staticmethod
    def _until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + _PATIENCE
        tick = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "Chromium does not start"
            tick.wait(0.05)
