"""What a message costs that is read over HTTP, by so many readers.

Processor time of the gateway alone: its readers are another process, and its messages come from memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from relays.gateways.http import streams
from scripts.comparison.resident import resident_kb
from scripts.help_texts import parser_of
from tests.integration.harness import wait_for

# Tests have no types.
_SUPPORT: Any = import_module("tests.unit.gateways.stream_support")
_GATEWAY: Any = import_module("tests.unit.gateways.test_http")
_CONTENT = {"rule": "port scan", "src": "10.1.0.7", "level": "debug", "text": "x" * 200}
_AT_ONCE = 500


async def read(port: int, readers: int, count: int) -> int:
    """How many messages they have when each has all."""

    async def one() -> int:
        stream, to = await asyncio.open_connection("127.0.0.1", port)
        head = f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {_GATEWAY.A['Authorization']}\r\n\r\n"
        to.write(head.encode())
        found = 0
        while found < count and (data := await stream.read(1 << 18)):
            found += data.count(b"id: ")
        return found

    return sum(await asyncio.gather(*[one() for _ in range(readers)]))


def bench(readers: int, count: int) -> dict[str, float]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(streams, "TOKEN_MAX", streams.READERS_MAX)
        token = {**_GATEWAY.TOKENS[0], "may": ["publish", "stream"]}
        with _GATEWAY.running(patch, Path(folder), tokens=[token], connections=512) as (source, intake):
            wait_for(lambda: intake.fed.tell, "its feed")
            before_kib = resident_kb("self")
            pid = os.fork()
            if not pid:
                os._exit(asyncio.run(read(source.address[1], readers, count)) < readers * count)
            wait_for(lambda: intake.fed.reads[-1][0] == readers, "its readers", 120)
            idle_kib, began = resident_kb("self") - before_kib, time.process_time()
            for at in range(0, count, _AT_ONCE):
                intake.fed.put(*[_SUPPORT.message(n, content={**_CONTENT, "n": n}) for n in range(at, at + _AT_ONCE)])
            _, status = os.waitpid(pid, 0)
            assert not status, "somebody missed something"
            us = (time.process_time() - began) / count * 1e6
            return {"readers": readers, "cpu_us": us, "cpu_us_each": us / readers, "idle_kib_each": idle_kib / readers}


def main() -> None:
    parser = parser_of("scripts/bench streams", __doc__.split("\n\n")[0], "", "--messages 1000")
    parser.add_argument(
        "--messages", type=int, default=5_000, help="for each number of readers, 500 at least (default 5000)"
    )
    asked = parser.parse_args()
    for readers in (1, 10, 200):
        print(json.dumps(bench(readers, max(1, asked.messages // _AT_ONCE) * _AT_ONCE)), flush=True)


if __name__ == "__main__":
    main()
