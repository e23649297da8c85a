"""Medallion, the TAXII 2.1 server of OASIS, on this machine, with its memory for a backend."""

import logging
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

COLLECTION = "91a7b528-80eb-42ed-a74d-c6fbd5a26116"
_BEGAN = datetime(2026, 3, 10, 12, tzinfo=UTC)


class Taxii:
    """`add` puts objects into the collection, all at one moment of `date_added`. `page_max`: of its answers."""

    def __init__(self, page_max=3):
        # Only here: who only looks at what there is to run need not read them.
        import medallion
        from flask import Flask
        from medallion.backends.memory_backend import MemoryBackend
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *_args):
                pass

        logging.getLogger("medallion").setLevel(logging.CRITICAL)
        self._app = Flask("medallion-here")
        self._app.taxii_config = {"max_page_size": page_max}
        self._app.users_backend = {"me": "pass word"}
        self._backend = self._app.medallion_backend = MemoryBackend()
        self._moments = 0
        medallion.register_blueprints(self._app)
        for error in (medallion.ProcessingError, medallion.BackendError):
            self._app.register_error_handler(error, medallion.handle_processing_error)
        self._server = make_server("127.0.0.1", 0, self._app, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.port}/taxii2/"
        self._backend.data = {
            "/discovery": {"title": "here", "default": f"{self.url.removesuffix('taxii2/')}root/",
                           "api_roots": [f"{self.url.removesuffix('taxii2/')}root/"]},
            "root": {
                "information": {"title": "root", "versions": ["application/taxii+json;version=2.1"],
                                "max_content_length": 1 << 20},
                "status": [], "collections": [
                    {"id": COLLECTION, "title": "Indicators", "can_read": True, "can_write": True,
                     "media_types": ["application/stix+json;version=2.1"], "objects": [], "manifest": []},
                    {"id": "52892447-4d7e-4f70-b94d-d7f22742ff63", "title": "Closed", "can_read": False,
                     "can_write": False, "media_types": [], "objects": [], "manifest": []},
                ],
            },
        }
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def add(self, *objects):
        self._moments += 1
        at = _BEGAN + timedelta(seconds=self._moments)
        self._backend.add_objects("root", COLLECTION, {"objects": list(objects)}, at)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def taxii_server(page_max=3):
    server = Taxii(page_max)
    try:
        yield server
    finally:
        server.close()
