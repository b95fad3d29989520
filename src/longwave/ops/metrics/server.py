"""A worker's own `/metrics`: a small HTTP server in a thread of its main process."""

import os
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any

import structlog

from longwave.ops.metrics import page

log = structlog.get_logger("longwave.metrics")

PATIENCE = 10.0
"""Seconds that a request may take to arrive."""


class Server(ThreadingHTTPServer):
    """Listens from the moment it is made, and answers once it is started. Raises OSError."""

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        self.folder: Path | None = None
        self.address_family = AF_INET6 if ":" in host else AF_INET
        super().__init__((host, port), _Handler)
        # A child that holds the socket would keep the next worker from listening there.
        os.register_at_fork(after_in_child=self.socket.close)

    def start(self, folder: Path) -> None:
        """Answer from now on with what is counted in the folder."""
        self.folder = folder
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked is gone: nothing of ours is wrong."""
        log.debug("metrics_not_answered", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = PATIENCE
    server_version, sys_version = "longwave", ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, explain="the figures are at /metrics")
            return
        content, content_type = page.render(self.headers.get("Accept", ""), (), self.server.folder)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Not a line a scrape."""
