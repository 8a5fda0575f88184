"""Serve one page on this machine until interrupted."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Quiet: a browser that goes away is no error."""


def page_server(html: str, port: int) -> ThreadingHTTPServer:
    """A server of one page at /, bound to loopback; port 0 takes a free one. OSError where it is taken."""
    body = html.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.partition("?")[0] in ("/", "/index.html")
            content = body if found else b"Not here; the report is at /\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8" if found else "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: nobody reads an access log of one page."""

    return _Server((HOST, port), Handler)


def serve_page(html: str, port: int) -> None:
    """Serve until interrupted; where the port is taken, on a free one."""
    try:
        server = page_server(html, port)
    except OSError as error:
        server = page_server(html, 0)
        _say(f"port {port} cannot be had ({error.strerror}); another one will do")
    with server:
        _say(f"the report is at http://{HOST}:{server.server_address[1]}/ (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            _say("")


def _say(text: str) -> None:
    if sys.stderr is not None:  # print would take standard output then
        print(text, file=sys.stderr, flush=True)
