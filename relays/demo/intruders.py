"""Who must not get in, done for real: a stranger with a good key, and a member that sends what nobody signed.

Neither uses the control point's own loop to cheat: the stranger is a control point whose authority is not this
fabric's, and `RawPeer` speaks the protocol by hand, so it can send bytes that no control point would.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import zmq

from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.identity import Identity
from fabric.edge.publishing.composer import Composer
from fabric.edge.publishing.drafts import Draft
from fabric.edge.publishing.options import publish_stamp
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import FRAME_BYTES_MAX, ID_BYTES
from fabric.protocol.base.signing import Signer, signing_public
from fabric.protocol.envelope.header import decode_header, encode_header
from fabric.protocol.envelope.layout import decode_envelope, encode_envelope, leaf_of
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.severity import Lane, Severity
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import (
    PROTOCOL_VERSIONS,
    SESSION_BYTES,
    Ack,
    Data,
    Direction,
    Frame,
    Hello,
    Item,
    Nack,
    Refused,
    Role,
    Welcome,
)
from fabric.transport.dialler import Dialler, Down, Up
from fabric.transport.keys import CurveKeys, random_keys
from fabric.transport.sockets import LinkNumbers

_ANSWER_S = 10.0
_FRAMES = 64


def reissued(identity: Identity, authority: Signer, *, own_keys: bool = False, **fields: Any) -> Identity:
    """The same identity with another credential, signed by whoever this is. `own_keys`: with keys of its own."""
    curve, seed = random_keys(os.urandom(32)), os.urandom(32)
    if own_keys:
        fields |= {"curve_key": curve.public, "sign_key": signing_public(seed)}
    claim = replace(identity.credential, raw=b"", digest=b"", **fields)
    credential = verify_credential(issue(claim, authority), authority.public, identity.fabric)
    assert isinstance(credential, Credential)
    secrets: dict[str, Any] = {"curve_secret": curve.secret, "sign_seed": seed} if own_keys else {}
    return replace(identity, credential=credential, **secrets)


def stranger_like(known: Identity) -> Identity:
    """The same name and grants, with keys of its own, signed by an authority that was made up a moment ago."""
    authority = Signer(os.urandom(32))
    return replace(reissued(known, authority, own_keys=True), authority_key=authority.public)


def greeting(me: Identity, now_ms: int) -> Hello:
    """What a control point says first."""
    return Hello(
        *PROTOCOL_VERSIONS, me.fabric, Role.POINT, me.credential.raw, os.urandom(SESSION_BYTES),
        os.urandom(SESSION_BYTES), now_ms, 0, 0,
    )


def knock(identity: Identity) -> FabricError | None:
    """Why this identity is not let in, or None when it is."""
    try:
        with ControlPoint(identity, connect_timeout_s=_ANSWER_S):
            return None
    except FabricError as error:
        return error


def signed_event(identity: Identity, topic: str, record: dict[str, object], now_ms: int) -> bytes:
    """An honest envelope of this identity, low severity and green."""
    stamp = publish_stamp(topic, identity.defaults, severity=Severity.LOW, label="green")
    composer = Composer(identity.credential, identity.signer, RootCache(), os.urandom)
    sealed, failed = composer.compose([Draft(stamp, record, now_ms, None)])
    if failed:
        raise failed[0][1]
    return sealed[0].envelope


def with_severity(raw: bytes, severity: Severity) -> bytes:
    """The header says another severity than the one that was signed."""
    envelope = decode_envelope(raw)
    assert not isinstance(envelope, Reject)
    header = decode_header(envelope.header)
    assert not isinstance(header, Reject)
    return encode_envelope(envelope._replace(header=encode_header(replace(header, severity=severity))))


def with_altered_part(raw: bytes) -> bytes:
    """One bit of the content is another; header and signature stay as they were."""
    envelope = decode_envelope(raw)
    assert not isinstance(envelope, Reject)
    first = envelope.parts[0]
    assert first is not None
    altered = first[:-1] + bytes([first[-1] ^ 1])
    return encode_envelope(envelope._replace(parts=(altered, *envelope.parts[1:])))


class RawPeer:
    """One connection: HELLO, DATA, and what the relay answers to each envelope."""

    def __init__(self, identity: Identity) -> None:
        assert identity.relay is not None
        self._identity = identity
        self._context = zmq.Context()
        self._dialler = Dialler(
            self._context, identity.relay.address, identity.relay.curve_key,
            CurveKeys(identity.credential.curve_key, identity.curve_secret), FRAME_BYTES_MAX, LinkNumbers(),
            random.random,
        )

    def offer(self, envelopes: Sequence[bytes], now_ms: int) -> list[Code | None]:
        """Each envelope's refusal, None where the relay holds it. Raises TIMED_OUT, or why there is no link."""
        deadline = time.monotonic() + _ANSWER_S
        ids = [_id_of(raw) for raw in envelopes]
        items = [Item(Direction.UP, 0, [], [], raw) for raw in envelopes]
        answers: dict[bytes, Code | None] = {}
        try:
            while len(answers) < len(set(ids)):
                if time.monotonic() > deadline:
                    raise FabricError(Code.TIMED_OUT, f"{len(answers)} of {len(ids)} envelopes answered")
                for frame in self._turn(now_ms):
                    match frame:
                        case Welcome():
                            for item in items:
                                lane = _lane_of(item.envelope)
                                self._dialler.send(encode_frame(Data(lane, now_ms, [item])))
                        case Refused(code, detail, _):
                            raise FabricError(code, detail)
                        case Ack(held):
                            answers.update((id_, None) for id_ in held)
                        case Nack(refusals):
                            answers.update((id_, code) for id_, code, _ in refusals)
                        case _:
                            continue  # credit and routes: this peer has no use for them
        finally:
            self._dialler.close()
            self._context.destroy(linger=0)
        return [answers[id_] for id_ in ids]

    def _turn(self, now_ms: int) -> list[Frame]:
        """Wait for a moment, greet when the connection is up, and read what came."""
        poller = zmq.Poller()
        for socket in self._dialler.poll_sockets():
            poller.register(socket, zmq.POLLIN)
        poller.poll(50)
        for event in self._dialler.service(time.time_ns() // 1_000_000):
            if isinstance(event, Up):
                self._dialler.send(encode_frame(greeting(self._identity, now_ms)))
            elif isinstance(event, Down):
                raise FabricError(event.code, event.words)
        frames = [decode_frame(payload) for payload in islice(self._dialler.receive(), _FRAMES)]
        return [frame for frame in frames if not isinstance(frame, Reject)]


def _id_of(raw: bytes) -> bytes:
    envelope = decode_envelope(raw)
    assert not isinstance(envelope, Reject)
    return leaf_of(envelope.header)[:ID_BYTES]


def _lane_of(raw: bytes) -> Lane:
    envelope = decode_envelope(raw)
    assert not isinstance(envelope, Reject)
    header = decode_header(envelope.header)
    assert not isinstance(header, Reject)
    return header.lane
