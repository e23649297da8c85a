"""The ends of a chain of NATS servers, as a program would write them on nats-py: JSON on the way in, parsed on the way
out.

    python -m scripts.comparison.nats_ends publish PORT CA stream|arrays|singles|durable
    python -m scripts.comparison.nats_ends read PORT CA SUBJECT stream|arrays|durable
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from scripts.comparison.records import ALERT_TOPIC, BULK, GAP_S, RECORD, STREAM_TOPIC, Taken, single_topic
from scripts.comparison.saying import arguments, say

STREAM_NAME = "BENCH"
# About as many as share an envelope of Message Fabric.
ARRAY = 128
_STREAM_BYTES_MAX = 2 << 30
_FLUSH_S = 110
# That were handed to the reader and not acknowledged.
_UNDER_WAY_MAX = 20_000


@asynccontextmanager
async def _connected(port: str, ca: str) -> AsyncIterator[Any]:
    import nats

    context = ssl.create_default_context(cafile=ca)
    client = await nats.connect(f"tls://127.0.0.1:{port}", tls=context, tls_hostname="127.0.0.1")
    try:
        yield client
    finally:
        await client.close()


async def publish(port: str, ca: str, how: str) -> None:
    """As in `fabric_ends`. Of what JetStream does not keep nobody hears whether it arrived: a flush is until the first
    server has it."""
    async with _connected(port, ca) as client:
        if how == "durable":
            await _make_stream(client)
        say(ready=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            what, seconds = line.split()
            began_s = time.perf_counter()
            begin = _PUBLISH["probe" if what == "probe" else how]
            count = await begin(client, began_s + float(seconds))
            await client.flush(_FLUSH_S)
            say(published=count, began_s=began_s, held_s=time.perf_counter())


async def _stream(client: Any, until_s: float) -> int:
    n = 0
    while time.perf_counter() < until_s:
        await client.publish(STREAM_TOPIC, json.dumps({**RECORD, "n": n}).encode())
        n += 1
    return n


async def _singles(client: Any, until_s: float) -> int:
    n = 0
    while time.perf_counter() < until_s:
        await client.publish(single_topic(n), json.dumps({**RECORD, "n": n}).encode())
        n += 1
    return n


async def _arrays(client: Any, until_s: float) -> int:
    n = 0
    while time.perf_counter() < until_s:
        records = [{**RECORD, "n": each} for each in range(n, n + ARRAY)]
        await client.publish(STREAM_TOPIC, json.dumps(records).encode())
        n += ARRAY
    return n


async def _probe(client: Any, until_s: float) -> int:
    n = 0
    while (now_s := time.perf_counter()) < until_s:
        await client.publish(ALERT_TOPIC, json.dumps({**RECORD, "n": n, "at": now_s}).encode())
        n += 1
        await asyncio.sleep(GAP_S)
    return n


async def _durable(client: Any, until_s: float) -> int:
    """Each is acknowledged by the server; thousands are under way."""
    jetstream = client.jetstream()
    n = 0
    while time.perf_counter() < until_s:
        await jetstream.publish_async(STREAM_TOPIC, json.dumps({**RECORD, "n": n}).encode())
        n += 1
    await asyncio.wait_for(jetstream.publish_async_completed(), _FLUSH_S)
    return n


_PUBLISH = {"stream": _stream, "singles": _singles, "arrays": _arrays, "durable": _durable, "probe": _probe}


async def _make_stream(client: Any) -> None:
    await client.jetstream().add_stream(name=STREAM_NAME, subjects=[STREAM_TOPIC], max_bytes=_STREAM_BYTES_MAX)


async def read(port: str, ca: str, subject: str, how: str) -> None:
    taken, over, loop = Taken(), asyncio.Event(), asyncio.get_running_loop()
    async with _connected(port, ca) as client:
        if how == "durable":
            await _make_stream(client)
            await _subscribe_durably(client, taken)
        else:
            await client.subscribe(subject, cb=_taking(taken, how))
        await client.flush()
        taken.answer_in_thread(lambda: loop.call_soon_threadsafe(over.set))
        say(ready=True)
        await over.wait()


def _taking(taken: Taken, how: str) -> Any:
    async def one(message: Any) -> None:
        taken.take(json.loads(message.data))

    async def array(message: Any) -> None:
        content = json.loads(message.data)
        for record in content if isinstance(content, list) else [content]:
            taken.take(record)

    return array if how == "arrays" else one


async def _subscribe_durably(client: Any, taken: Taken) -> None:
    """As they come, and hundreds acknowledged together."""
    from nats.js.api import AckPolicy, ConsumerConfig

    async def one(message: Any) -> None:
        taken.take(json.loads(message.data))
        if taken.records % BULK == 0:
            await message.ack()

    config = ConsumerConfig(ack_policy=AckPolicy.ALL, max_ack_pending=_UNDER_WAY_MAX)
    await client.jetstream().subscribe(STREAM_TOPIC, durable="reader", cb=one, manual_ack=True, config=config)


if __name__ == "__main__":
    what, *rest = arguments()
    asyncio.run(publish(*rest) if what == "publish" else read(*rest))
