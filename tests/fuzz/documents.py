"""Frames, envelopes and signed documents: whatever the bytes, they are read or refused, and nothing else happens.

Half of a document is behind its signature. Somebody who may sign could still write anything there (an issuer, a newer
version, an authority of a damaged disk), so bodies are changed first and signed then.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import msgpack

from fabric.edge.handling.handlers import read_action
from fabric.edge.messages import messages_of
from fabric.edge.receiving.notices import notice_of
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.access.permissions import check_origin, is_target, parts_withheld
from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack, scan, unpack
from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import BODY_BYTES_MAX, CREDENTIAL_BYTES_MAX, FRAME_BYTES_MAX
from fabric.protocol.base.signed import seal_document
from fabric.protocol.core.ready import Delivery
from fabric.protocol.enrolment.joining import (
    Answer,
    JoinRequest,
    RenewRequest,
    Token,
    answer,
    ask_to_join,
    ask_to_renew,
    open_answer,
    open_request,
    read_token,
)
from fabric.protocol.envelope.header import Encoding, Header, Kind, PartEntry, decode_header, encode_header
from fabric.protocol.envelope.layout import Envelope, climb, decode_envelope, encode_envelope, leaf_of, part_digest
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.routes.attachments import Attachment, open_attachment, sign_attachment
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential, encode_body
from fabric.protocol.trust.directory import RelayDirectory, verify_directory
from fabric.protocol.trust.revocations import Revocations, verify_revocations
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import Role
from tests.fuzz.cast import (
    ANALYST,
    AUTHORITY,
    BOTH_PLAYER,
    ISSUER,
    PLAYERS,
    WALL,
    ZEEK,
    Player,
    copies_of,
    directories,
    results_of,
    revocation_lists,
)
from tests.fuzz.cast import (
    messages_of as said_by,
)
from tests.fuzz.dice import Dice, packed
from tests.fuzz.engine import Bytes
from tests.fuzz.speech import MAKERS, SESSIONS, Peer, Scene
from tests.support import FABRIC, T0, derive
from tests.vectors.make import GOOD

_KNOWN = {credential.digest: credential for player in PLAYERS for credential in player.credentials}


@cache
def _vectors(what: str) -> tuple[bytes, ...]:
    return tuple(raw for _, kind, raw in GOOD if kind == what)


def _near_signed(dice: Dice, body: bytes) -> bytes:
    """A body that its signer could have written: mostly as it is, or near it."""
    return dice.near(body) if not dice.one_in(8) else body


# -- frames ---------------------------------------------------------------------------------------------------


def frame(dice: Dice) -> bytes:
    if dice.one_in(3):
        return dice.near(dice.choice(_vectors("frame")))
    player = dice.choice(PLAYERS)
    peer = Peer(1, player, dice.choice(list(Role)), dice.choice(SESSIONS), dice.choice(SESSIONS), dice.one_in(2))
    made = MAKERS[dice.choice(list(MAKERS))][1](dice, peer, Scene(T0, [], [], (player,), "mid"))
    raw = encode_frame(made)
    return dice.near(raw) if not dice.one_in(5) else raw


def read_frame(raw: bytes) -> None:
    read = decode_frame(raw)
    if not isinstance(read, Reject):
        again = encode_frame(read)
        assert decode_frame(again) == read, "a frame is not what it was when it was sent on"


def plain(dice: Dice) -> bytes:
    """Structures that are wide, deep or claim to be."""
    what = dice.randrange(5)
    if what == 0:
        return dice.choice((b"\x91", b"\x81\x01", b"\xdc\x00\x01")) * dice.choice((7, 8, 9, 32, 33, 2_000)) + b"\xc0"
    if what == 1:
        return b"\xdd" + dice.choice((8_191, 8_192, 8_193, 2**32 - 1)).to_bytes(4) + b"\xc0" * dice.choice((0, 8_192))
    if what == 2:
        return packed({dice.text(): dice.junk() for _ in range(dice.randrange(40))})
    return dice.near(packed(dice.junk(5)))


def read_plain(raw: bytes) -> None:
    refused = scan(raw, elements_max=8_192, depth_max=8)
    value = unpack(raw, bytes_max=FRAME_BYTES_MAX, elements_max=8_192, depth_max=8)
    assert isinstance(value, Reject) or refused is None, "it was read though it passes a bound"
    if not isinstance(value, Reject):
        pack(value)


# -- messages -------------------------------------------------------------------------------------------------


def envelope(dice: Dice) -> bytes:
    """Whole ones, damaged ones, and headers that are not what they were but signed."""
    if dice.one_in(4):
        return dice.near(dice.choice(_vectors("envelope")))
    player = dice.choice(PLAYERS)
    message = dice.choice((*said_by(player), *results_of(player)))
    if dice.one_in(3):
        return dice.near(dice.choice(copies_of(message)))
    made = message.envelope
    return _signed(dice, player, _near_signed(dice, made.header), made.parts)


def _signed(dice: Dice, player: Player, header: bytes, parts: tuple[bytes | None, ...]) -> bytes:
    path = tuple(derive("path", n) for n in range(dice.choice((0, 0, 0, 1, 10, 11))))
    signature = player.member.signer.sign(signing.TYPE_ROOT, climb(leaf_of(header), path))
    return encode_envelope(Envelope(dice.choice(player.credentials).digest, header, signature, path, parts))


def read_envelope(raw: bytes) -> None:
    opened = open_envelope(raw, _KNOWN, RootCache())
    if isinstance(opened, Reject):
        return
    assert decode_header(encode_header(opened.header)) == opened.header, "a header is not what it was"
    for credential in (opened.credential, ANALYST.credentials[0], WALL.credentials[0]):
        check_origin(credential, opened.header)
        parts_withheld(credential, opened.header)
        is_target(opened.credential, opened.header, credential)
    _read_as_an_edge_does(opened)


def _read_as_an_edge_does(message: Verified) -> None:
    delivery = Delivery(message, 5, ("mid", "hq"))
    messages = messages_of(delivery)
    if isinstance(messages, Reject):
        return
    if message.header.kind is Kind.ACTION:
        read_action(delivery)
    for each in messages:
        each.to_json()
        notice_of(each)
        for reports in ((), ("fw-1", "fw-2")):
            tracker = Tracker(message.header.correlation, T0, T0 + 1_000, reports or None)
            for outcome in tracker.take(message, each.content, T0):
                outcome.to_json()
            tracker.time_out(T0 + 2_000)


def records(dice: Dice) -> bytes:
    """A signed message whose body is anything that its origin could put there."""
    player = dice.choice((ZEEK, WALL, ISSUER))
    base = dice.choice((*said_by(player)[:1], *results_of(player)[:1], said_by(player)[11])).header
    rows: object = [_row(dice) for _ in range(base.records)]
    if dice.one_in(4):
        rows = dice.changed(rows)
    body = packed(rows)
    content = len(body).to_bytes(4) + body
    if dice.one_in(8):
        content = dice.damaged(content)[:BODY_BYTES_MAX]
    size, encoding = len(content), Encoding.PLAIN
    if len(content) > 150_000 or dice.one_in(2):
        content, encoding = zlib.compress(content, 1), Encoding.ZLIB
    part = derive("salt")[:16] + content
    label = dice.choice(list(Label))
    entry = PartEntry(
        label, dice.often(dice.natural, 0), dice.often(lambda: dice.natural(300), int(encoding)),
        dice.often(lambda: dice.natural(BODY_BYTES_MAX), min(size, BODY_BYTES_MAX)), part_digest(part),
    )
    header = encode_header(replace(base, manifest=(entry,), records=dice.often(lambda: dice.randrange(1, 1_024), 1)))
    return _signed(dice, player, header, (part if len(part) < 200_000 else None,))


def _row(dice: Dice) -> object:
    """A record: a result, an action, a notice, junk, or wide below a long name."""
    what = dice.randrange(7)
    if what == 0:
        return {"name" * dice.choice((1, 20, 5_000)): {str(n): 0 for n in range(dice.choice((3, 300, 3_000)))}}
    if what == 1:
        deep: object = dice.junk()
        for _ in range(dice.choice((3, 27, 40))):
            deep = {dice.choice(("a", "b" * 40)): deep}
        return deep
    if what == 2:
        return dice.changed({"end": "completed", "status": 200, "targets": ["fw-1"], "by": "fw-1", "result": {"a": 1}})
    if what == 3:
        return dice.changed({"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {"duration": 1}})
    if what == 4:
        entry = {"code": "E501", "reason": "expired", "kind": "event", "topic": "a.b", "towards": "up", "messages": 1}
        return dice.changed({"since": T0, "ended": [entry, dict(entry)]})
    return {dice.text(): dice.junk() for _ in range(dice.randrange(6))}


def read_part(raw: bytes) -> None:
    """Without a signature: what stands between a signed size and the reader's memory."""
    made = decode_envelope(raw)
    header = decode_header(made.header) if isinstance(made, Envelope) else made
    if isinstance(made, Envelope) and isinstance(header, Header) and len(made.parts) == len(header.manifest):
        read_records(header, made.parts)
    read_envelope(raw)


# -- documents ------------------------------------------------------------------------------------------------


def credential(dice: Dice) -> bytes:
    """By the authority or through issuers; each body as it is or near it, and signed."""
    player = dice.choice(PLAYERS)
    of = dice.choice(player.credentials)
    if dice.one_in(4):
        return dice.near(of.raw)
    above = dice.choice(((), (ISSUER,), (ISSUER, ISSUER), (ISSUER,) * 4))
    links = []
    for who, signer in zip((player, *above), (*above, None), strict=True):
        body = encode_body(dice.choice(who.credentials))
        if who is not ISSUER or dice.one_in(3):
            body = _near_signed(dice, body)
        by = AUTHORITY.signer if signer is None else signer.member.signer
        links.append([body, by.sign(signing.TYPE_CREDENTIAL, body)])
    return packed([*links[0], links[1:]])


def read_credential(raw: bytes) -> None:
    read = verify_credential(raw, AUTHORITY.key, FABRIC)
    if isinstance(read, Credential):
        assert len(raw) <= CREDENTIAL_BYTES_MAX
        dict(read.attributes())
        for message in said_by(ZEEK):
            check_origin(read, message.header)
            is_target(read, message.header, WALL.credentials[0])
            is_target(ZEEK.credentials[0], message.header, read)
            parts_withheld(read, message.header)


def _document(type_: bytes, of: Callable[[], tuple[bytes, ...]]) -> Callable[[Dice], bytes]:
    def make(dice: Dice) -> bytes:
        raw = dice.choice(of())
        if dice.one_in(4):
            return dice.near(raw)
        body = msgpack.unpackb(raw)[0]
        return seal_document(type_, _near_signed(dice, body), AUTHORITY.signer)

    return make


def read_revocations(raw: bytes) -> None:
    read = verify_revocations(raw, AUTHORITY.key, FABRIC)
    if isinstance(read, Revocations):
        for player in PLAYERS:
            read.check(player.credentials[0])
        read.supersedes(Revocations())


def read_directory(raw: bytes) -> None:
    read = verify_directory(raw, AUTHORITY.key, FABRIC)
    if isinstance(read, RelayDirectory):
        read.supersedes(RelayDirectory())
        for relay in read.relays:
            relay.is_valid(T0, 30_000)


def attachment(dice: Dice) -> bytes:
    player = dice.choice(PLAYERS)
    of = dice.choice(player.credentials)
    signer, keep_ms = player.member.signer, dice.choice((0, 9))
    raw = sign_attachment(of, signer, SESSIONS[0], "mid", 1, dice.one_in(2), ("a.>",), keep_ms)
    if dice.one_in(4):
        return dice.near(raw)
    body = _near_signed(dice, msgpack.unpackb(raw)[1])
    return packed([of.digest, body, signer.sign(signing.TYPE_ROUTE, body)])


def read_attachment(raw: bytes) -> None:
    read = open_attachment(raw, _KNOWN)
    if isinstance(read, Attachment):
        hash(read.key)


@cache
def _token() -> Token:
    return Token(FABRIC, AUTHORITY.key, "mid", "127.0.0.1:7700", derive("relay key"), "p1-issuer", b"t" * 8, b"s" * 16)


def request(dice: Dice) -> bytes:
    player = dice.choice((ZEEK, BOTH_PLAYER))
    raw = ask_to_join(_token(), player.key, player.member.signer, dice.choice(("", "p1-new")), b"n" * 16)
    if dice.one_in(2):
        raw = ask_to_renew(BOTH_PLAYER.credentials[1], BOTH_PLAYER.member.signer, T0)
    if dice.one_in(4):
        return dice.near(raw)
    body = _near_signed(dice, msgpack.unpackb(raw)[0])
    return packed([body, player.member.signer.sign(signing.TYPE_JOIN, body), dice.choice((b"", b"m" * 32))])


def read_request(raw: bytes) -> None:
    read = open_request(raw, AUTHORITY.key, FABRIC)
    assert isinstance(read, JoinRequest | RenewRequest | Reject)
    if isinstance(read, JoinRequest):
        read.knows(b"s" * 16)


@cache
def _answered() -> tuple[bytes, bytes]:
    asked = ask_to_join(_token(), BOTH_PLAYER.key, BOTH_PLAYER.member.signer, "", b"n" * 16)
    issuer = ISSUER.member
    return asked, answer(
        asked, BOTH_PLAYER.credentials[1], issuer.credential, issuer.signer, Label.AMBER, {"event": 1_000, "action": 5}
    )


def joined(dice: Dice) -> bytes:
    _, raw = _answered()
    if dice.one_in(4):
        return dice.near(raw)
    body = _near_signed(dice, msgpack.unpackb(raw)[0])
    return packed([body, ISSUER.member.signer.sign(signing.TYPE_JOINED, body)])


def read_joined(raw: bytes) -> None:
    read = open_answer(raw, _answered()[0], AUTHORITY.key, FABRIC, "p1-issuer")
    assert isinstance(read, Answer | Reject)


def token(dice: Dice) -> bytes:
    text = _token().encode()
    if dice.one_in(3):
        return dice.damaged(text.encode())
    whole = base64.urlsafe_b64decode(text.removeprefix("mf1-") + "==")
    body = _near_signed(dice, whole[:-4])
    check = hashlib.sha256(body).digest()[:4]
    return b"mf1-" + base64.urlsafe_b64encode(body + check).rstrip(b"=")


def read_a_token(raw: bytes) -> None:
    read = read_token(raw.decode(errors="replace"))
    if isinstance(read, Token):
        assert read_token(read.encode()) == read


TARGETS = (
    Bytes("frame", frame, read_frame),
    Bytes("plain", plain, read_plain),
    Bytes("envelope", envelope, read_envelope),
    Bytes("records", records, read_part, bytes_max=64 << 20, traced_every=8),
    Bytes("credential", credential, read_credential),
    Bytes("revocations", _document(signing.TYPE_REVOCATIONS, revocation_lists), read_revocations),
    Bytes("directory", _document(signing.TYPE_DIRECTORY, directories), read_directory),
    Bytes("attachment", attachment, read_attachment),
    Bytes("request", request, read_request),
    Bytes("joined", joined, read_joined),
    Bytes("token", token, read_a_token),
)
