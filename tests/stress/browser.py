"""A headless Chromium, driven by the DevTools protocol over a small WebSocket client (RFC 6455)."""

from __future__ import annotations

import base64
import itertools
import json
import os
import socket
import struct
import subprocess
import urllib.request
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

PATIENCE = 40.0
_LONG, _LONGER = 126, 127  # what stands for a length in two or eight bytes
_FINAL, _LENGTH = 0x80, 0x7F


class Browser:
    """One page of a browser.

    Parameters
    ----------
    path:
        The browser.
    folder:
        Where it keeps its profile.

    """

    def __init__(self, path: str, folder: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
        self._process = subprocess.Popen(
            [path, *options, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.complaints: list[Any] = []
        """What went to the console, and exceptions."""
        self.requested: list[str] = []
        """The addresses that the page has asked for."""
        self._numbers = itertools.count(1)
        port = self._port(folder / "DevToolsActivePort")
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self._sock.makefile("rb")
        self._open(port)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._sock.close()
        self._process.kill()
        self._process.wait(PATIENCE)

    def go(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def evaluate(self, code: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, code: str) -> None:
        """Wait until an expression is true."""
        end = monotonic() + PATIENCE
        while not self.evaluate(code):
            assert monotonic() < end, f"it is never true: {code}"
            sleep(0.05)

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Have the browser do something, and return the result."""
        number = next(self._numbers)
        self._send(json.dumps({"id": number, "method": method, "params": parameters}).encode())
        while True:
            message = self._receive()
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                self.complaints.append(message["params"])
            if message.get("method") == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])

    def _port(self, file: Path) -> int:
        end = monotonic() + PATIENCE
        while not file.exists() or "\n" not in file.read_text():
            assert monotonic() < end, "the browser does not start"
            sleep(0.05)
        return int(file.read_text().split("\n")[0])

    def _open(self, port: int) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as reply:
            page = next(target for target in json.load(reply) if target["type"] == "page")
        path = page["webSocketDebuggerUrl"].split(str(port), 1)[1]
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]
        self._sock.sendall("\r\n".join(lines).encode())
        while self._file.readline().strip():
            pass

    def _send(self, data: bytes) -> None:
        mask = os.urandom(4)
        size = len(data)
        length = (
            struct.pack(">BH", _FINAL | _LONG, size) if size < 65536 else struct.pack(">BQ", _FINAL | _LONGER, size)
        )
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        self._sock.sendall(b"\x81" + length + mask + masked)

    def _receive(self) -> dict[str, Any]:
        message = b""
        while True:
            first, second = self._file.read(2)
            size = second & _LENGTH
            if size == _LONG:
                (size,) = struct.unpack(">H", self._file.read(2))
            elif size == _LONGER:
                (size,) = struct.unpack(">Q", self._file.read(8))
            message += self._file.read(size)
            if first & _FINAL:
                found: dict[str, Any] = json.loads(message)
                return found
