"""CURVE keys as 32 raw bytes. A public key is derived from its secret, never read from beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

import nacl.bindings
import zmq

from fabric.protocol.base.errors import Code, FabricError


def curve_public(secret: bytes) -> bytes:
    """The public half of a CURVE secret; both are 32 bytes."""
    return nacl.bindings.crypto_scalarmult_base(secret)


@dataclass(frozen=True)
class CurveKeys:
    """A pair of 32 bytes each. Raises BAD_IDENTITY where they do not belong together."""

    public: bytes
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != 32 or curve_public(self.secret) != self.public:
            raise FabricError(Code.BAD_IDENTITY, "the CURVE keys do not belong together")

    def dress(self, socket: zmq.Socket[bytes]) -> None:
        """Put the pair on a socket."""
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)


def random_keys(random_bytes: bytes) -> CurveKeys:
    """A pair from 32 random bytes."""
    return CurveKeys(curve_public(random_bytes), random_bytes)
