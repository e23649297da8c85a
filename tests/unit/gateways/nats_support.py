"""A NATS server with JetStream, for tests: begun, killed, begun again with what it has on disk."""

import asyncio
import json
import shutil
import socket
import subprocess
from contextlib import suppress

import pytest

from tests.integration.harness import wait_for
from tests.ports import free_port


class NatsServer:
    """`more`: lines of its configuration."""

    def __init__(self, folder, port=0, more=""):
        self.port, self._folder = port or free_port(), folder
        folder.mkdir(parents=True, exist_ok=True)
        listen = f'listen: "127.0.0.1:{self.port}"'
        (folder / "conf").write_text(f'{listen}\njetstream {{ store_dir: "{folder}/js" }}\n{more}\n')
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process = None

    def begin(self):
        program = shutil.which("nats-server")
        if program is None:
            pytest.skip("no program nats-server")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([program, "-c", self._folder / "conf"], stdout=log, stderr=log)
        wait_for(self._listens, "nats-server listens")
        return self

    def _listens(self):
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as made:
            return made.recv(4).startswith(b"INFO")
        return False

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask(self, ask, **options):
        """What `ask`, which gets JetStream's context, returns."""
        async def asked():
            import nats

            client = await nats.connect(self.url, allow_reconnect=False, **options)
            try:
                return await ask(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(asked())

    def stored(self, stream="FABRIC", **options):
        """Of each message in a stream, in order: its subject, headers, and content."""
        async def read(jetstream):
            from nats.js.errors import NotFoundError

            try:
                state = (await jetstream.stream_info(stream)).state
            except NotFoundError:
                return []
            found = []
            if state.messages:
                reader = await jetstream.pull_subscribe(">", stream=stream)
                while len(found) < state.messages:
                    for each in await reader.fetch(min(500, state.messages - len(found)), timeout=20):
                        found.append((each.subject, each.headers, json.loads(each.data)))
                        await each.ack()
                await reader.unsubscribe()
            return found

        return self.ask(read, **options)
