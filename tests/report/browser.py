"""Headless Chromium, driven through its DevTools protocol over two pipes: no driver, no network port."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KEYS = {"+": 187, "-": 189, "0": 48, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "PageDown": 34, "Enter": 13}
PATIENCE = 60  # seconds for one answer, on a busy machine


class Browser:
    """One tab; ``errors``: what the console and exceptions said; ``requests``: every address asked for; ``refused``:
    those that the page's own policy stopped."""

    def __init__(self, profile: Path):
        program = next((found for found in map(shutil.which, NAMES) if found), None)
        if program is None:
            pytest.skip("no Chromium here: apt-get install chromium")
        # Chromium reads commands from descriptor 3 and answers on 4.
        command_read, self._write = os.pipe()
        self._read, answer_write = os.pipe()
        flags = (
            "--headless --no-sandbox --disable-gpu --remote-debugging-pipe --no-first-run --disable-extensions"
            " --disable-background-networking --disable-component-update --disable-dev-shm-usage --hide-scrollbars"
            f" --user-data-dir={profile} about:blank"
        )
        script = f"exec 3<&{command_read} 4>&{answer_write} && exec {program} {flags}"
        self._process = subprocess.Popen(
            ["bash", "-c", script], pass_fds=(command_read, answer_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(command_read)
        os.close(answer_write)
        self._number, self._buffer, self._session = 0, b"", None
        self.errors, self.requests, self.refused = [], [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")

    def close(self):
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._write)
        os.close(self._read)

    def open(self, path: Path, *, width: int = 1200, height: int = 900, dark: bool = False):
        """Load a file, as a user does with a double click, and wait until it is drawn."""
        self.errors, self.requests, self.refused = [], [], []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.absolute().as_uri())
        ready = "document.readyState === 'complete' && location.protocol === 'file:'"
        deadline = time.monotonic() + PATIENCE
        while not self.run(ready):
            assert time.monotonic() < deadline, f"{path} does not load"
            time.sleep(0.05)
        self.wait_for_frame()

    def run(self, expression: str):
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for_frame(self):
        """Until what was changed is drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def find(self, selector: str) -> dict:
        """x, y, width, height of an element, scrolled into view."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{element}.scrollIntoView({{block: 'center'}})")
        return self.run(f"(({{x, y, width, height}}) => ({{x, y, width, height}}))({element}.getBoundingClientRect())")

    def move(self, x: float, y: float, *, buttons: int = 0):
        """The mouse, to a place in the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, buttons=buttons, button="left" if buttons else "none")

    def drag(self, start: tuple[float, float], end: tuple[float, float]):
        """With the left button down."""
        self.move(*start)
        self._button("mousePressed", start)
        for part in (0.3, 0.7, 1.0):
            self.move(*(a + part * (b - a) for a, b in zip(start, end, strict=True)), buttons=1)
        self._button("mouseReleased", end)

    def click(self, x: float, y: float):
        self.move(x, y)
        self._button("mousePressed", (x, y))
        self._button("mouseReleased", (x, y))

    def press(self, key: str):
        """A key, for the element that has the focus."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        code = {"key": key, "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def screenshot(self, path: Path, *, whole: bool = True):
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def accessible(self) -> list[tuple[str, str]]:
        """(role, name) of everything a screen reader meets."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node.get("role", {}).get("value", ""), node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]
        ]

    def call(self, method: str, **parameters) -> dict:
        """One command of the protocol and its answer; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._keep(answer)

    def _keep(self, event: dict):
        method, facts = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(facts["exceptionDetails"].get("exception", {}).get("description", str(facts)))
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "warning", "assert"):
            self.errors.append(str(facts["args"]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.errors.append(facts["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif method == "Network.loadingFailed" and facts.get("blockedReason") == "csp":
            self.refused.append(facts["requestId"])

    def _receive(self) -> dict:
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], PATIENCE)[0], "Chromium does not answer"
            part = os.read(self._read, 1 << 20)
            assert part, "Chromium ended"
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _button(self, kind: str, at: tuple[float, float]):
        pressed = 1 if kind == "mousePressed" else 0
        self.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", buttons=pressed, clickCount=1)
