"""Bytes between authenticated peers: ZeroMQ with CURVE, driven by its owner's own poll loop.

Guarantees: every payload that is received comes with the CURVE key of the connection that brought it; nobody is let
in by default. Knows nothing of what it carries, starts no thread, and takes time as an argument.
"""

from __future__ import annotations

import zmq

from fabric.protocol.base.errors import Code, FabricError

ZMQ_VERSION_MIN = (4, 3, 3)


def require_zmq() -> None:
    """Refuse a libzmq without CURVE, or older than 4.3.3 (its handshake could be made to overflow)."""
    if not zmq.has("curve"):
        raise FabricError(Code.DOOR_OPEN, "this libzmq has no CURVE", "install pyzmq from a binary wheel")
    if zmq.zmq_version_info() < ZMQ_VERSION_MIN:
        raise FabricError(Code.DOOR_OPEN, f"libzmq {zmq.zmq_version()} is too old", "upgrade pyzmq")
