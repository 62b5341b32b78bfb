"""A headless Chromium on the end of a pipe, spoken to in the DevTools protocol: JSON messages that end in NUL."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
QUIET += " --disable-sync --no-first-run --remote-debugging-pipe"
ON_3_AND_4 = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
PATIENCE = 90
"""Seconds; a loaded machine takes many to start a browser."""


def far(fd: int) -> int:
    """The same file at a number that 3 and 4 cannot overwrite."""
    there = fcntl.fcntl(fd, fcntl.F_DUPFD, 10)
    os.close(fd)
    return there


class Browser:
    """One page. `events` holds everything that it reported."""

    def __init__(self) -> None:
        (its_in, self.out), (self.into, its_out) = ((far(a), far(b)) for a, b in (os.pipe(), os.pipe()))
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [sys.executable, "-c", ON_3_AND_4, str(its_in), str(its_out), str(CHROMIUM), *QUIET.split()]
        self.process = subprocess.Popen(
            [*command, f"--user-data-dir={self.profile.name}"],
            pass_fds=(its_in, its_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(its_in)
        os.close(its_out)
        self.rest, self.events, self.count, self.session = b"", [], 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.into)
        os.close(self.out)
        self.profile.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer}"
        return answer["result"]

    def receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.into], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self.into, 2**20) if ready else b""
            assert chunk, f"no answer within {PATIENCE} s" if not ready else "the browser is gone"
            self.rest += chunk
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def open(self, page: Path | str) -> None:
        """A file, or an address."""
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri() if isinstance(page, Path) else page)
        self.until("Page.loadEventFired")

    def wait_for(self, *wanted: str) -> str:
        """The page as it stands once every wanted text is in it, or when patience ends."""
        deadline = time.monotonic() + PATIENCE
        while True:
            dom = str(self.value("document.documentElement.outerHTML"))
            if all(text in dom for text in wanted) or time.monotonic() > deadline:
                return dom
            time.sleep(0.3)

    def resize(self, width: int, height: int = 900) -> None:
        size = {"width": width, "height": height}
        self.call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=False)

    def until(self, method: str) -> dict[str, Any]:
        """The next event of this name, or the last one there was."""
        while not self.named(method):
            self.events.append(self.receive())
        return self.named(method)[-1]

    def value(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, **more: Any) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, **more)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def named(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """Uncaught errors, what the page wrote to its console, and what the browser has to say of it."""
        return [
            p for m in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded") for p in self.named(m)
        ]

    @property
    def requests(self) -> list[str]:
        """Addresses asked for, without what lies in the page itself."""
        asked = [params["request"]["url"] for params in self.named("Network.requestWillBeSent")]
        return [url for url in asked if not url.startswith("data:")]
