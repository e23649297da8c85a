"""A chain of zenoh routers and its ends: JSON on the way in, parsed on the way out.

    python -m scripts.comparison.zenoh_ends route PORT CERTIFICATE KEY [PORT-OF-PARENT]
    python -m scripts.comparison.zenoh_ends publish PORT CERTIFICATE stream
    python -m scripts.comparison.zenoh_ends read PORT CERTIFICATE PATTERN stream
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from scripts.comparison.records import ALERT_TOPIC, GAP_S, RECORD, STREAM_TOPIC, Taken
from scripts.comparison.saying import arguments, say


def _open(mode: str, certificate: str, **more: Any) -> Any:
    zenoh = import_module("zenoh")
    config = zenoh.Config()
    said = {
        "mode": mode, "scouting/multicast/enabled": False, "transport/link/tls/root_ca_certificate": certificate, **more
    }
    for name, value in said.items():
        config.insert_json5(name, json.dumps(value))
    return zenoh.open(config)


def _dialled(port: str) -> list[str]:
    return [f"tls/127.0.0.1:{port}"]


def route(port: str, certificate: str, key: str, parent: str = "") -> None:
    """Until standard input ends."""
    more: dict[str, Any] = {"connect/endpoints": _dialled(parent)} if parent else {}
    own = {
        "listen/endpoints": _dialled(port), "transport/link/tls/listen_certificate": certificate,
        "transport/link/tls/listen_private_key": key,
    }
    with _open("router", certificate, **own, **more):
        say(ready=True)
        sys.stdin.read()


def publish(port: str, certificate: str, how: str) -> None:
    """As in `fabric_ends`. Nobody hears whether a message arrived, and `put` waits while there is no room."""
    assert how == "stream", how
    wait = import_module("zenoh").CongestionControl.BLOCK
    with _open("client", certificate, **{"connect/endpoints": _dialled(port)}) as session:
        put = {
            topic: session.declare_publisher(_key(topic), congestion_control=wait).put
            for topic in (STREAM_TOPIC, ALERT_TOPIC)
        }
        say(ready=True)
        for line in sys.stdin:
            what, seconds = line.split()
            began_s = time.perf_counter()
            begin, topic = (_probe, ALERT_TOPIC) if what == "probe" else (_stream, STREAM_TOPIC)
            count = begin(put[topic], began_s + float(seconds))
            say(published=count, began_s=began_s, held_s=time.perf_counter())


def _key(topic: str) -> str:
    """As zenoh writes topics and patterns."""
    return topic.replace(".", "/").replace(">", "**")


def _stream(put: Callable[[bytes], None], until_s: float) -> int:
    n = 0
    while time.perf_counter() < until_s:
        put(json.dumps({**RECORD, "n": n}).encode())
        n += 1
    return n


def _probe(put: Callable[[bytes], None], until_s: float) -> int:
    n = 0
    while (now_s := time.perf_counter()) < until_s:
        put(json.dumps({**RECORD, "n": n, "at": now_s}).encode())
        n += 1
        time.sleep(GAP_S)
    return n


def read(port: str, certificate: str, pattern: str, how: str) -> None:
    assert how == "stream", how
    taken, over = Taken(), threading.Event()
    with _open("client", certificate, **{"connect/endpoints": _dialled(port)}) as session:
        session.declare_subscriber(_key(pattern), lambda sample: taken.take(json.loads(sample.payload.to_bytes())))
        taken.answer_in_thread(over.set)
        say(ready=True)
        over.wait()


if __name__ == "__main__":
    what, *rest = arguments()
    if what == "route":
        route(*rest)
    else:
        publish(*rest) if what == "publish" else read(*rest)
