"""What `scripts/attack` sends is what it says: frames that a relay reads, but for those that are noise on purpose."""

import itertools
import os
import socket
from pathlib import Path

import pytest
import zmq

from fabric.edge.identity.identity import Dial, Identity
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import FRAME_BYTES_MAX
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.trust.credentials import Grants, NodeKind, PublishGrant, RequestGrant
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import Data, Role
from fabric.transport.keys import random_keys
from scripts.attacks import children, frames, parents, points, strangers
from scripts.attacks.flood import Flood, Spoils
from scripts.attacks.peer import hello
from tests.support import FABRIC, Authority, derive

AUTHORITY = Authority("attack")
DIAL = Dial("mid", "127.0.0.1:1", bytes(32))
FRAMES = 12
GRANTS = {
    "loud": Grants(publish=(PublishGrant("detections.>", rate_per_s=1),)),
    "lurker": Grants(subscribe=("detections.>",)),
    "soar": Grants(request=(RequestGrant("deny ipv4_net", "all"),)),
    "wall": Grants(execute=("deny ipv4_net",)), "wall-low": Grants(execute=("deny ipv4_net",)),
    "sensor-low": Grants(publish=(PublishGrant("detections.>"),)),
}


class Invented(Spoils):
    """Everybody whom an attack knows, without a fabric."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.dial = DIAL
        self.authority = AUTHORITY.signer

    def identity(self, id_: str) -> Identity:
        kind = NodeKind.RELAY if id_ in ("low", "boss") else NodeKind.POINT
        member = AUTHORITY.issue(id_, kind, grants=GRANTS.get(id_))
        return Identity(
            FABRIC, id_, AUTHORITY.key, member.credential, Path(), DIAL,
            sign_seed=derive("signing", AUTHORITY.seed, id_),
        )


class Welcomed:
    """A peer that has entered."""

    session = bytes(16)

    def __init__(self, identity: Identity, role: Role) -> None:
        self.said_hello = encode_frame(hello(identity.credential, role, self.session))


@pytest.fixture(autouse=True)
def small_pools(monkeypatch):
    monkeypatch.setattr(frames, "_POOL", 2)
    monkeypatch.setattr(frames, "_ITEMS", 4)


def first(flood: Flood) -> list[bytes]:
    spoils = Invented()
    peer = Welcomed(spoils.identity(flood.me), flood.role)
    return list(itertools.islice(flood.frames(spoils, peer), FRAMES))


FLOODS = [a for a in (*points.ATTACKS, *children.ATTACKS, *parents.ATTACKS) if isinstance(a, Flood)]


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: f"{flood.who}/{flood.kind}")
def test_frames_are_read_by_a_relay_and_do_not_run_out(flood):
    sent = first(flood)
    assert len(sent) == FRAMES
    assert all(0 < len(payload) <= FRAME_BYTES_MAX for payload in sent)
    refused = {str(said.code) for said in map(decode_frame, sent) if isinstance(said, Reject)}
    assert bool(refused) == (flood.kind == "noise"), refused


@pytest.mark.parametrize("flood", [f for f in FLOODS if f.kind.startswith("data")], ids=lambda f: f"{f.who}/{f.kind}")
def test_messages_are_signed_but_for_those_that_are_forged(flood):
    spoils = Invented()
    known = [spoils.identity(id_).credential for id_ in (*GRANTS, "guest", "far", "low", "boss")]
    credentials = {credential.digest: credential for credential in known}
    for said in map(decode_frame, first(flood)):
        for item in said.items if isinstance(said, Data) else ():
            opened = open_envelope(item.envelope, credentials, RootCache())
            if flood.kind == "data-forged":
                assert isinstance(opened, Reject) and opened.code is Code.BAD_SIGNATURE
            else:
                assert isinstance(opened, Verified), (flood.kind, opened)


def test_half_a_handshake_is_answered_as_a_whole_one():
    keys = random_keys(os.urandom(32))
    context = zmq.Context()
    try:
        router = context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        router.setsockopt(zmq.CURVE_SERVER, 1)
        keys.dress(router)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            plain.sendall(strangers.half_handshake(Dial("x", f"127.0.0.1:{port}", keys.public)))
            heard = b""
            while b"WELCOME" not in heard:
                more = plain.recv(4_096)
                assert more, f"cut after {heard!r}"
                heard += more
    finally:
        context.destroy(linger=0)
