"""A receiver of webhooks, which prints what comes: receiver.py PORT SECRET_FILE. How a signature is checked is here."""

import base64
import hashlib
import hmac
import pathlib
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = base64.b64decode(pathlib.Path(sys.argv[2]).read_text().strip().removeprefix("whsec_"))
OLD_S = 300


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:  # noqa: N802 - as http.server calls it
        body = self.rfile.read(int(self.headers["content-length"]))
        id_, at_s = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        digest = hmac.digest(KEY, f"{id_}.{at_s}.".encode() + body, hashlib.sha256)
        ours = "v1," + base64.b64encode(digest).decode()
        signed = any(hmac.compare_digest(ours, each) for each in self.headers["webhook-signature"].split())
        fresh = abs(time.time() - int(at_s)) < OLD_S
        if signed and fresh:
            print(body.decode(), flush=True)  # noqa: T201 - it is what it is for
        self.send_response(204 if signed and fresh else 401)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Nothing else."""


HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
