"""A way to a server that can be made bad: it refuses, hangs, answers 500, or loses answers that the server gave."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import suppress
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random


class Trouble(Enum):
    NONE = "passes everything on"
    REFUSED = "closes every connection"
    ERROR = "answers 500"
    BUSY = "answers 503"
    LOST = "passes requests on and loses answers"
    SLOW = "answers after 3 s"
    HANGING = "answers nothing"
    GARBAGE = "answers with a page that is no JSON"


class Proxy:
    """Listens on a port of its own for as long as it is entered."""

    def __init__(self, port: int, seed: int = 0, lost: float = 1.0) -> None:
        """`port`: the server's, on this machine. `lost`: share of the answers that LOST loses."""
        self.trouble = Trouble.NONE
        self.only = ""
        """A request is troubled only with this in its path."""
        self.troubled = 0
        """Requests that were."""
        self._lost = lost
        self._random = Random(seed)
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                owner.pass_on(self, port)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, address: object) -> None:
                """A client that has gone away is what is wanted here."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def pass_on(self, handler: BaseHTTPRequestHandler, port: int) -> None:
        trouble = self.trouble if self.only in handler.path else Trouble.NONE
        self.troubled += trouble is not Trouble.NONE
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if trouble is Trouble.HANGING:
            while self.trouble is Trouble.HANGING:
                time.sleep(0.1)
        if trouble is Trouble.SLOW:
            time.sleep(3)
        if trouble in (Trouble.REFUSED, Trouble.HANGING):
            handler.close_connection = True
        elif trouble is Trouble.ERROR:
            respond(handler, 500, b"<html>Internal Server Error</html>")
        elif trouble is Trouble.BUSY:
            respond(handler, 503, b"")
        elif trouble is Trouble.GARBAGE:
            respond(handler, 200, b"<html>Please log in</html>")
        else:
            self._ask(handler, port, body, trouble)

    def _ask(self, handler: BaseHTTPRequestHandler, port: int, body: bytes, trouble: Trouble) -> None:
        try:
            status, content, kind = ask(handler, port, body)
        except OSError:  # the server is down: so is its address
            handler.close_connection = True
            return
        with self._lock:
            is_lost = trouble is Trouble.LOST and self._random.random() < self._lost
        if is_lost:
            handler.close_connection = True
        else:
            respond(handler, status, content, kind)


def ask(handler: BaseHTTPRequestHandler, port: int, body: bytes) -> tuple[int, bytes, str]:
    """The server's status, content and its type."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("host", "connection")}
        connection.request(handler.command, handler.path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("Content-Type", "application/json")
    finally:
        connection.close()


def respond(handler: BaseHTTPRequestHandler, status: int, content: bytes, kind: str = "text/html") -> None:
    with suppress(OSError):
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
