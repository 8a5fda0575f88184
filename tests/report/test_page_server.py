"""The page server: this page, on this machine, and nothing else."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from flyball.server.report_page import page_server

HTML = "<!doctype html><title>plan é</title>"


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with page_server(HTML, 0) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server: ThreadingHTTPServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


@pytest.mark.parametrize("path", ["/", "/index.html", "/?x=1"])
def test_the_page_is_at_the_root(server: ThreadingHTTPServer, path: str) -> None:
    assert get(server, path) == (200, HTML.encode())


@pytest.mark.parametrize("path", ["/x", "/etc/passwd", "/../index.html", "/index.html/x"])
def test_nothing_else_is_there(server: ThreadingHTTPServer, path: str) -> None:
    status, content = get(server, path)
    assert status == 404
    assert HTML.encode() not in content


def test_it_takes_nothing(server: ThreadingHTTPServer) -> None:
    assert get(server, "/", "POST")[0] == 501


def test_it_listens_on_loopback_only(server: ThreadingHTTPServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_a_taken_port_is_an_error(server: ThreadingHTTPServer) -> None:
    with pytest.raises(OSError, match="in use"):
        page_server(HTML, server.server_address[1])


def test_a_browser_that_goes_away_is_no_error(
    server: ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for request in (b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff\r\n\r\n", b"GET"):
        with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=10) as gone:
            gone.sendall(request)
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not end
    assert get(server, "/")[0] == 200
    assert capsys.readouterr().err == ""
