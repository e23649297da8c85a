"""A real server of this machine for sources that ask one, and what such a source gets to run on."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog

from relays.gateways.kinds import Place
from relays.gateways.options import Options
from relays.gateways.pulling.settings import read_how


class Server:
    """`answer` gets (path with its query, headers, body), and gives (status, headers, body): bytes, or what is JSON."""

    def __init__(self, answer, context=None):
        self.answer = answer
        self.asked = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.asked.append(self.path)
                given = outer.answer(self.path, self.headers, body)
                if callable(given):  # it writes to the socket itself
                    self.close_connection = True
                    given(self.wfile)
                    return
                status, headers, data = given
                data = data if isinstance(data, bytes) else json.dumps(data).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET

            def log_message(self, *_args):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_args):
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}/v1/items"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serving(answer, context=None):
    server = Server(answer, context)
    try:
        yield server
    finally:
        server.close()


def how(url, **more):
    options = Options({"url": url, "every": "1h", "timeout": "10s", **more})
    found = read_how(options)
    assert not options.faults, options.faults
    return found


def place(folder):
    return Place("feed-1", "items", folder / "items", structlog.get_logger())
