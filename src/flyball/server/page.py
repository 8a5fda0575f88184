"""Serve one page on this machine until interrupted."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"


def page_server(html: str, port: int) -> ThreadingHTTPServer:
    """A server of one page at /, bound to loopback; port 0 takes a free one. OSError where the port is taken."""
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

    return ThreadingHTTPServer((HOST, port), Handler)


def serve_page(html: str, port: int) -> None:
    """Serve until interrupted; where the port is taken, on a free one."""
    try:
        server = page_server(html, port)
    except OSError:
        server = page_server(html, 0)
        print(f"port {port} is taken", file=sys.stderr)
    with server:
        print(
            f"the report is at http://{HOST}:{server.server_address[1]}/ (Ctrl-C ends it)",
            file=sys.stderr,
            flush=True,
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(file=sys.stderr)
