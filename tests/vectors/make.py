"""Makes the vectors of version 1: `python -m tests.vectors.make --new FILE`.

`v1.json` is frozen: peers in the field speak these bytes. This writes them anew only to a file that does not exist, for
the day when a version 2 needs its own. Everything follows from fixed names, so it makes the same bytes every time.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import msgpack

from fabric.protocol.access.approvals import read_approval, targets_digest
from fabric.protocol.audit.heads import Head, read_head, sign_head, sign_witness
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.signing import (
    TYPE_CREDENTIAL,
    TYPE_ENVELOPE,
    TYPE_JOIN,
    TYPE_POLICIES,
    TYPE_REVOCATIONS,
    TYPE_ROOT,
    TYPE_ROUTE,
    digest,
)
from fabric.protocol.enrolment.joining import (
    Token,
    answer,
    ask_to_join,
    ask_to_renew,
    open_answer,
    open_request,
    read_token,
)
from fabric.protocol.enrolment.recipients import Wanted, decode_found, decode_wanted, encode_found, encode_wanted
from fabric.protocol.envelope.header import Kind, Relabels, Terms, decode_header, encode_header
from fabric.protocol.envelope.layout import (
    Envelope,
    decode_envelope,
    encode_envelope,
    leaf_of,
    part_digest,
    redact,
    seal,
)
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.sealed_parts import Opener
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import (
    ApproveGrant,
    Credential,
    DeclassifyGrant,
    Grants,
    Issuing,
    Keep,
    NodeKind,
    PublishGrant,
    RequestGrant,
)
from fabric.protocol.trust.directory import Descriptor, issue_directory, verify_directory
from fabric.protocol.trust.policies import Escalation, Rule, When, issue_policies, verify_policies
from fabric.protocol.trust.revocations import issue_revocations, verify_revocations
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import ActionClass
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import (
    Ack,
    Applied,
    Bye,
    Credit,
    Data,
    Denied,
    Direction,
    Directory,
    Grown,
    Hello,
    Intro,
    Item,
    Join,
    Joined,
    Lists,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Routed,
    Routes,
    Rules,
    Welcome,
    Witnessed,
)
from tests.support import FABRIC, T0, Authority, Member, derive, draft, message

AUTHORITY = Authority("vectors")
ALL_GRANTS = Grants(
    publish=(PublishGrant("detections.>", Severity.HIGH, 200),),
    subscribe=("detections.*.conn", "intel.>"),
    request=(RequestGrant("deny ipv4_net", "role=firewall and segment=ot-*", Severity.CRITICAL, "hq"),),
    execute=("scan *",),
    approve=(ApproveGrant("contain", "segment=ot-1"),),
)
RELAY = AUTHORITY.issue("hq", NodeKind.RELAY, Label.RED)
CARRIER = AUTHORITY.issue("dmz", NodeKind.RELAY, Label.GREEN, carries_sealed=True)
ASKED_WHO = encode_wanted(Wanted(("lead-1", "hq"), "role=firewall", "deny.ipv4_net"))
POINT = AUTHORITY.issue("zeek-1", clearance=Label.AMBER, segment="ot-1", grants=ALL_GRANTS,
                        tags=(("role", "sensor"), ("vendor", "zeek")), communities=("isac",))
KNOWN = {member.credential.digest: member.credential for member in (RELAY, POINT)}


def read_back(raw: bytes) -> Credential:
    credential = verify_credential(raw, AUTHORITY.key, FABRIC)
    assert isinstance(credential, Credential), credential
    return credential


ISSUER_SIGNERS = {name: AUTHORITY.issue(name).signer for name in ("plant", "cell")}
MAY = Issuing(
    ("p1-*",), (NodeKind.POINT, NodeKind.ISSUER), ("ot-*",), ("acme",), Label.AMBER, ("isac",), (),
    (("role", "sensor"), ("vendor", "*")), ("p1-*",), ALL_GRANTS,
)
ISSUER = read_back(issue(
    replace(AUTHORITY.issue("plant", clearance=Label.CLEAR).credential, kind=NodeKind.ISSUER, issuing=MAY),
    AUTHORITY.signer,
))
OF_A_PLANT = replace(POINT.credential, id="p1-zeek", principal="p1-shift")
MEMBER = read_back(issue(OF_A_PLANT, ISSUER_SIGNERS["plant"], ISSUER))
LOWER = read_back(issue(
    replace(
        AUTHORITY.issue("cell", clearance=Label.CLEAR, segment="ot-1").credential, id="p1-cell", kind=NodeKind.ISSUER,
        issuing=replace(MAY, kinds=(NodeKind.POINT,), segments=("ot-1",)),
    ),
    ISSUER_SIGNERS["plant"], ISSUER,
))
GRANDCHILD = read_back(issue(OF_A_PLANT, ISSUER_SIGNERS["cell"], LOWER))
PARTNER_GRANTS = Grants(publish=(
    PublishGrant("intel.>", Severity.HIGH, 200, ("msp", "client-*"), ("isac",)), PublishGrant("detections.>"),
))
PARTNER = read_back(issue(
    replace(POINT.credential, id="feed-1", grants=PARTNER_GRANTS, client_of=("msp",)), AUTHORITY.signer
))
READER = read_back(issue(
    replace(POINT.credential, grants=Grants(subscribe=("detections.>",), keep=Keep(2**31, 259_200_000))),
    AUTHORITY.signer,
))
WAITING = read_back(issue(
    replace(
        POINT.credential, grants=Grants(subscribe=("detections.>",), keep=Keep(2**31, 259_200_000, waits=True))
    ),
    AUTHORITY.signer,
))
ANALYST = read_back(issue(
    replace(
        POINT.credential, id="analyst-1", grants=Grants(
            publish=(PublishGrant("detections.>"),), subscribe=("detections.>",),
            declassify=(
                DeclassifyGrant("detections.>", Label.AMBER, Label.GREEN),
                DeclassifyGrant("intel.ipv4", Label.RED, Label.CLEAR),
            ),
        ),
    ),
    AUTHORITY.signer,
))
TOKEN = Token(
    FABRIC, AUTHORITY.key, "ot-1", "10.1.2.3:7730", derive("relay"), "plant", derive("token")[:8],
    derive("secret")[:16],
)
SESSION, NONCE = derive("session")[:16], derive("nonce")[:16]
JOIN_REQUEST = ask_to_join(TOKEN, POINT.curve_key, POINT.signer, "p1-zeek", NONCE)
JOIN_ANSWER = answer(
    JOIN_REQUEST, MEMBER, ISSUER, ISSUER_SIGNERS["plant"], Label.AMBER, {"event": 3_600_000, "action": 30_000}
)
RULES = {"id.orig_h": Label.AMBER, "note": Label.RED}
RECORDS = [{"id.orig_h": f"10.1.0.{n}", "rule": "port scan", "note": "x" * n, "bytes": n * 1000} for n in range(3)]


def sealed(*drafts: Any, member: Member = POINT) -> list[bytes]:
    return seal(list(drafts), member.credential.digest, member.signer)


def event(**fields: Any) -> bytes:
    return sealed(draft(POINT, **fields))[0]


def redacted(raw: bytes, clearance: Label) -> bytes:
    envelope = decode_envelope(raw)
    assert isinstance(envelope, Envelope)
    header = decode_header(envelope.header)
    assert not isinstance(header, Reject)
    return encode_envelope(redact(envelope, header.manifest, lambda entry: entry.label <= clearance))


def changed(raw: bytes, **fields: Any) -> bytes:
    envelope = decode_envelope(raw)
    assert isinstance(envelope, Envelope)
    return encode_envelope(envelope._replace(**fields))


def resigned(header: bytes, parts: list[bytes], type_: bytes = TYPE_ROOT) -> bytes:
    """An envelope whose origin really signed this header, whatever it says."""
    signature = POINT.signer.sign(type_, leaf_of(header))
    return encode_envelope(Envelope(POINT.credential.digest, header, signature, (), tuple(parts)))


def with_field(position: int, value: Any, **fields: Any) -> bytes:
    header, parts = draft(POINT, **fields)
    array = msgpack.unpackb(encode_header(header))
    array[position] = value
    return resigned(msgpack.packb(array), parts)


def with_body(body: bytes, encoding: int = 0, size: int | None = None, content_type: int = 0) -> bytes:
    """An event whose origin really signed this body: only its reader can tell."""
    part = derive("salt")[:16] + body
    array = msgpack.unpackb(encode_header(draft(POINT)[0]))
    array[15] = [[1, content_type, encoding, len(body) if size is None else size, part_digest(part)]]
    return resigned(msgpack.packb(array), [part])


def head_in(raw: bytes) -> Head:
    head = read_head(raw)
    assert isinstance(head, Head)
    return head


def rows(packed: bytes) -> bytes:
    return len(packed).to_bytes(4, "big") + packed


BATCH = event(records=RECORDS, rules=RULES, label=Label.GREEN, severity=Severity.HIGH, phase=Phase.DELIVERY)
SINGLE = event()
BURST = sealed(*[draft(POINT, topic=f"detections.burst.{n}", sequence=n) for n in range(5)])
ACTION = sealed(draft(POINT, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall", severity=Severity.CRITICAL,
                      records=[{"action": "deny", "target": {"ipv4_net": "203.0.113.9"}, "args": {}}]))[0]
ACTION_LEAF = leaf_of(decode_envelope(ACTION).header)  # type: ignore[union-attr]
RESULT = sealed(draft(POINT, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-1", correlation=ACTION_LEAF,
                      records=[{"end": "completed", "targets": ["zeek-1"], "by": "zeek-1", "status": 200}]))[0]
LONG = event(records=[{"text": "again and again, " * 60}])
ATTACHMENT = sign_attachment(POINT.credential, POINT.signer, SESSION, "hq", T0, True, ("intel.>",))
DURABLE = sign_attachment(POINT.credential, POINT.signer, SESSION, "hq", T0, False, ("intel.>",), 604_800_000)
RELAYS = [
    Descriptor("hq", ("127.0.0.1:7700",), derive("hq"), "hq", (), Label.RED, T0, T0 + 1000),
    Descriptor(
        "ot-1", ("ot-1.example:7730", "[2001:db8::1]:7730"), derive("ot-1"), "ot-1",
        (ip_network("10.1.0.0/16"), ip_network("2001:db8:1::/48")), Label.AMBER, T0, T0 + 1000,
    ),
]
DIRECTORY = issue_directory(FABRIC, 3, T0, T0 + 1000, RELAYS, AUTHORITY.signer)
LIST = issue_revocations(FABRIC, 3, T0, T0 + 1000, ["fw-9", "zeek-7"], AUTHORITY.signer)
LARGE = event(label=Label.GREEN, rules={"id.orig_h": Label.AMBER, "note": Label.RED}, records=[
    {"id": {"orig_h": "10.1.0.7 " * 80}, "rule": "again and again, " * 60, "note": "secret " * 80}
])
BURST_OF_3 = sealed(*[draft(POINT, topic=f"detections.three.{n}", rules=RULES, records=RECORDS) for n in range(3)])
ITEM = Item(Direction.UP, 7, ["ot-1", "dmz"], ["fw-1"], SINGLE)


LOG_HEAD = sign_head(POINT.credential, POINT.signer, bytes(range(16)), 7, digest(b"log"), T0)
LOG_WITNESS = sign_witness(RELAY.credential, RELAY.signer, head_in(LOG_HEAD), T0)
RULE_BOOK = (
    Rule("contain-ot", When("contain", "", "segment=ot-1"), 2, ("ot-lead",), 600_000),
    Rule(
        "glass", When(None, "stop *", "", Label.AMBER, Severity.HIGH), 1, ("ot-lead", "shift"), 300_000,
        Escalation(60_000, ("ciso",), 1),
    ),
)
VERBS: dict[str, ActionClass] = {"x-isolate": "contain", "x-look": "investigate"}
POLICIES = issue_policies(FABRIC, 7, T0, RULE_BOOK, VERBS, AUTHORITY.signer)


def approval(record: dict[str, Any], **header: Any) -> bytes:
    """Of the action above, by a control point that may approve; the record says something else where it is given."""
    said = {
        "decision": "approve", "rule": "contain-ot", "policies": 7,
        "policies_digest": digest(msgpack.unpackb(POLICIES)[0]).hex(),
        "targets": targets_digest(["fw-8", "fw-7"]).hex(), "held_at": T0 + 500,
    }
    fields = {"kind": Kind.APPROVAL, "topic": "deny.ipv4_net", "correlation": ACTION_LEAF} | header
    return sealed(draft(POINT, records=[said | record], **fields))[0]


APPROVAL = approval({})


def by_authority(type_: bytes, body: bytes) -> bytes:
    return msgpack.packb([body, AUTHORITY.signer.sign(type_, body)])


def ruled(position: int, value: Any) -> bytes:
    """Policies with one rule that says something else at this place."""
    rule = ["r", ["contain", "", "", 0, 0], 1, ["lead"], 600_000, []]
    rule[position] = value
    return by_authority(TYPE_POLICIES, msgpack.packb([1, FABRIC, 9, T0, [rule], []]))


def as_list(*more: Any) -> bytes:
    return by_authority(TYPE_REVOCATIONS, msgpack.packb([1, FABRIC, 9, T0, T0, [], *more]))


def on_terms(terms: Any) -> bytes:
    header, parts = draft(POINT, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall")
    return resigned(msgpack.packb([*msgpack.unpackb(encode_header(header)), terms]), parts)


TERMS = sealed(draft(POINT, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall",
                     records=[{"action": "deny", "target": {"ipv4_net": "203.0.113.9"}, "args": {}}],
                     terms=Terms(dry_run=True, require_all=True)))[0]


def future() -> bytes:
    header, parts = draft(POINT)
    return resigned(msgpack.packb([*msgpack.unpackb(encode_header(header)), "from the future", [1, {}]]), parts)


RESULT_DRAFT = draft(POINT, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-1", correlation=b"\x07" * 32,
                     records=[{"end": "completed", "targets": ["fw-1"], "by": "fw-1", "status": 200}],
                     state=State.COMPLETED)


def in_state(state: Any) -> bytes:
    header, parts = RESULT_DRAFT
    return resigned(msgpack.packb([*msgpack.unpackb(encode_header(header))[:18], state]), parts)


GOOD: list[tuple[str, str, bytes]] = [
    ("credential of a relay", "credential", RELAY.credential.raw),
    ("credential of a control point with every grant", "credential", POINT.credential.raw),
    ("revocation list", "revocations", LIST),
    ("attachment", "attachment", ATTACHMENT),
    ("a durable attachment", "attachment", DURABLE),
    ("one event", "envelope", SINGLE),
    ("a batch with three labels, two of them padded", "envelope", BATCH),
    ("the batch as AMBER may have it", "envelope", redacted(BATCH, Label.AMBER)),
    ("the batch as GREEN may have it", "envelope", redacted(BATCH, Label.GREEN)),
    ("the batch as CLEAR would have it", "envelope", redacted(BATCH, Label.CLEAR)),
    *[(f"message {n} of a burst of five", "envelope", raw) for n, raw in enumerate(BURST)],
    ("intel", "envelope", event(kind=Kind.INTEL, topic="intel.ipv4.deny", label=Label.CLEAR)),
    ("an action", "envelope", ACTION),
    ("a result", "envelope", RESULT),
    ("a header from the future", "envelope", future()),
    ("a compressed part", "envelope", LONG),
    *[(f"message {n} of a burst of three", "envelope", raw) for n, raw in enumerate(BURST_OF_3)],
    ("a message of a burst as AMBER may have it", "envelope", redacted(BURST_OF_3[1], Label.AMBER)),
    ("a message of a burst as GREEN may have it", "envelope", redacted(BURST_OF_3[2], Label.GREEN)),
    ("three labels, padded and compressed", "envelope", LARGE),
    ("the compressed as AMBER may have it", "envelope", redacted(LARGE, Label.AMBER)),
    ("the compressed as GREEN may have it", "envelope", redacted(LARGE, Label.GREEN)),
    ("HELLO", "frame", encode_frame(Hello(1, 2, FABRIC, Role.CHILD, RELAY.credential.raw, SESSION, NONCE, T0, 3, 0))),
    ("WELCOME", "frame",
     encode_frame(Welcome(1, RELAY.credential.raw, SESSION, NONCE, T0, T0 + 5, 3, 0, 524_288))),
    ("REJECT", "frame", encode_frame(Refused(Code.REVOKED, "zeek-1", NONCE))),
    ("INTRO", "frame", encode_frame(Intro([POINT.credential.raw]))),
    ("DATA", "frame", encode_frame(Data(Lane.HIGH, T0, [ITEM, ITEM._replace(direction=Direction.DOWN)]))),
    ("ACK", "frame", encode_frame(Ack([NONCE, SESSION]))),
    ("NACK", "frame", encode_frame(Nack([(NONCE, Code.BUSY, "high")]))),
    ("CREDIT", "frame", encode_frame(Credit([1, 2, 3, 4, 2**40]))),
    ("ROUTES", "frame", encode_frame(Routes(4, True, [ATTACHMENT], [("fw-7", SESSION, T0)]))),
    ("ROUTED", "frame", encode_frame(Routed(4, [(0, Code.SUBSCRIBE_DENIED, "intel.>")]))),
    ("PING", "frame", encode_frame(Ping(T0))),
    ("PONG", "frame", encode_frame(Pong(T0, T0 + 5))),
    ("PONG with the path to the root", "frame", encode_frame(Pong(T0, T0 + 5, ("hq", "dmz")))),
    ("WELCOME with the path to the root", "frame",
     encode_frame(Welcome(1, RELAY.credential.raw, SESSION, NONCE, T0, T0 + 5, 3, 0, 524_288, ("hq",)))),
    ("DATA that follows who moved", "frame",
     encode_frame(Data(Lane.HIGH, T0, [ITEM._replace(moved=2), ITEM._replace(direction=Direction.DOWN)]))),
    ("BYE of a relay that drains", "frame", encode_frame(Bye(Code.DRAINING, "hq"))),
    ("BYE", "frame", encode_frame(Bye(Code.CLOSED, ""))),
    ("LISTS", "frame", encode_frame(Lists(LIST))),
    ("a frame with more than this version knows", "frame", msgpack.packb([11, T0, "later"])),
    ("credential of an issuer", "credential", ISSUER.raw),
    ("credential of a member of it", "credential", MEMBER.raw),
    ("credential below two issuers", "credential", GRANDCHILD.raw),
    ("JOIN", "frame", encode_frame(Join(NONCE, "plant", derive("key"), JOIN_REQUEST))),
    ("JOINED", "frame", encode_frame(Joined(NONCE, None, "", JOIN_ANSWER))),
    ("JOINED that grants nothing", "frame", encode_frame(Joined(NONCE, Code.TOKEN_USED, "once", b""))),
    ("DENIED", "frame", encode_frame(Denied([(Code.PUBLISH_DENIED, 3), (Code.SEVERITY_DENIED, 1)]))),
    ("a request to join", "request", JOIN_REQUEST),
    ("a request to be renewed", "request", ask_to_renew(MEMBER, POINT.signer, T0)),
    ("an answer", "answer", JOIN_ANSWER),
    ("a token", "token", TOKEN.encode().encode()),
    ("APPLIED", "frame", encode_frame(Applied([("ot-1", 7, T0), ("hq", 0, 0)]))),
    ("directory", "directory", DIRECTORY),
    ("DIRECTORY", "frame", encode_frame(Directory(DIRECTORY))),
    ("credential of a reader for whom more is kept", "credential", READER.raw),
    ("credential of a reader who loses nothing when it is full", "credential", WAITING.raw),
    ("a dry run that is for all or nobody", "envelope", TERMS),
    ("a result that says its state", "envelope", sealed(RESULT_DRAFT)[0]),
    ("a result in a state from the future", "envelope", in_state(99)),
    ("approval policies", "policies", POLICIES),
    ("RULES", "frame", encode_frame(Rules(POLICIES))),
    ("revocation list that names the policies", "revocations",
     issue_revocations(FABRIC, 4, T0, T0 + 1000, ["fw-9"], AUTHORITY.signer, 7)),
    ("an approval", "approval", APPROVAL),
    ("a denial", "approval", approval({"decision": "deny", "why": "not this one"})),
    ("an approval as an envelope", "envelope", APPROVAL),
    ("GROWN", "frame", encode_frame(Grown(LOG_HEAD, 5, [digest(b"6"), digest(b"7")]))),
    ("WITNESSED", "frame", encode_frame(Witnessed(7, None, LOG_WITNESS))),
    ("WITNESSED of a log that is another", "frame", encode_frame(Witnessed(7, Code.FORKED_LOG, LOG_WITNESS))),
    ("PONG that says how far the log is known", "frame", encode_frame(Pong(T0, T0 + 5, ("hq",), 7))),
    ("an action of the future on no terms", "envelope", on_terms(0)),
    ("revocation list with a floor", "revocations",
     issue_revocations(FABRIC, 5, T0, T0 + 1000, ["fw-9"], AUTHORITY.signer, 7, 2)),
    ("revocation list with a floor where there are no policies", "revocations",
     issue_revocations(FABRIC, 5, T0, T0 + 1000, [], AUTHORITY.signer, 0, 2)),
    ("credential of who may address partners", "credential", PARTNER.raw),
    ("intel for partners, a community and for RED two recipients", "envelope", message(
        POINT, kind=Kind.INTEL, topic="intel.ipv4", organisations=("acme", "msp"), communities=("isac",),
        recipients=("lead-1", "hq"), rules={"src_ip": Label.RED},
    )),
    ("credential of who may declassify", "credential", ANALYST.raw),
    ("an event that re-issues a record of another at a lower label", "envelope", message(
        POINT, label=Label.GREEN, relabels=Relabels(ACTION_LEAF, 7, Label.AMBER),
    )),
    ("credential of a relay that carries what is sealed", "credential", CARRIER.credential.raw),
    ("an event with a field that is sealed to its origin and another", "envelope", message(
        POINT, rules={"src_ip": Label.RED}, sealed_to=(POINT, RELAY),
    )),
    ("an event that is sealed altogether", "sealed", message(POINT, label=Label.RED, sealed_to=(POINT, RELAY))),
    ("JOIN that asks who somebody is", "frame", encode_frame(Join(NONCE, "", b"", ASKED_WHO))),
    ("who is asked for", "wanted", ASKED_WHO),
    ("who was found", "found", encode_found(("lead-1",), [RELAY.credential.raw], ("lead-9",))),
    ("PONG of a relay that has many", "frame", encode_frame(Pong(T0, T0 + 5, ("hq",), None, 6_000))),
]

PARTS = decode_envelope(BATCH).parts  # type: ignore[union-attr]
HEADER = decode_envelope(BATCH).header  # type: ignore[union-attr]
SIGNATURE = decode_envelope(BATCH).signature  # type: ignore[union-attr]


CHAIN, LONG_CHAIN = (
    [unpacked[:2], *unpacked[2]] for unpacked in (msgpack.unpackb(raw) for raw in (MEMBER.raw, GRANDCHILD.raw))
)
JOIN_BODY = msgpack.unpackb(JOIN_REQUEST)[0]


def flipped(data: bytes, at: int = -1) -> bytes:
    changed_data = bytearray(data)
    changed_data[at] ^= 1
    return bytes(changed_data)


def addressing(said: Any) -> bytes:
    """A credential whose publish grant says this of whom it may address."""
    body = msgpack.unpackb(msgpack.unpackb(PARTNER.raw)[0])
    body[14][0][0][3] = said
    packed = msgpack.packb(body)
    return bytes(msgpack.packb([packed, AUTHORITY.signer.sign(TYPE_CREDENTIAL, packed), []]))


def declassifying(said: Any) -> bytes:
    """A credential that says this of what it may declassify."""
    body = msgpack.unpackb(msgpack.unpackb(ANALYST.raw)[0])
    body[14][6] = said
    packed = msgpack.packb(body)
    return bytes(msgpack.packb([packed, AUTHORITY.signer.sign(TYPE_CREDENTIAL, packed), []]))


def re_issuing(said: Any) -> bytes:
    """An event that says this of what it re-issues."""
    return with_field(19, said, label=Label.GREEN, relabels=Relabels(ACTION_LEAF, 0, Label.AMBER))


STRANGER = Authority("somebody else").issue("zeek-1")
OTHER_FABRIC = Authority("vectors", "other").issue("zeek-1")
# The same signer, the right body, the wrong type: what type confusion would need.
CREDENTIAL_BODY = msgpack.unpackb(RELAY.credential.raw)[0]
LIST_BODY = msgpack.unpackb(LIST)[0]
ATTACHMENT_BODY = msgpack.unpackb(ATTACHMENT)[1]
AS_LIST = msgpack.packb([CREDENTIAL_BODY, AUTHORITY.signer.sign(TYPE_REVOCATIONS, CREDENTIAL_BODY), []])
AS_ROOT = msgpack.packb([POINT.credential.digest, ATTACHMENT_BODY, POINT.signer.sign(TYPE_ROOT, ATTACHMENT_BODY)])
HOSTILE: list[tuple[str, str, bytes]] = [
    ("a header byte altered", "envelope", changed(BATCH, header=HEADER.replace(b"conn", b"ssh."))),
    ("the signature altered", "envelope", changed(BATCH, signature=flipped(SIGNATURE))),
    ("a part altered", "envelope", changed(BATCH, parts=(flipped(PARTS[0]), *PARTS[1:]))),
    ("two parts swapped", "envelope", changed(BATCH, parts=(PARTS[1], PARTS[0], *PARTS[2:]))),
    ("a part entry missing", "envelope", changed(BATCH, parts=PARTS[:-1])),
    ("a part entry added", "envelope", changed(BATCH, parts=(*PARTS, None))),
    ("a sibling altered", "envelope",
     changed(BURST[0], path=(flipped(decode_envelope(BURST[0]).path[0]),))),  # type: ignore[union-attr]
    ("a path that is too long", "envelope", changed(SINGLE, path=(NONCE * 2,) * 11)),
    ("signed as something else", "envelope", resigned(HEADER, list(PARTS), TYPE_CREDENTIAL)),
    ("a signer that nobody introduced", "envelope", changed(BATCH, signer=NONCE)),
    ("an origin that is not the signer", "envelope", with_field(3, "zeek-2")),
    ("a kind that does not exist", "envelope", with_field(1, 9)),
    ("a topic of 64 KiB", "envelope", with_field(2, "a" * 65_536)),
    ("a topic of 257 bytes", "envelope", with_field(2, "a" * 257)),
    ("a wildcard as a topic", "envelope", with_field(2, "detections.*")),
    ("an event under intel", "envelope", with_field(2, "intel.ipv4")),
    ("a negative ttl", "envelope", with_field(7, -1)),
    ("a ttl that is no integer", "envelope", with_field(7, 1.5)),
    ("no records", "envelope", with_field(14, 0)),
    ("an action with two records", "envelope",
     with_field(14, 2, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall")),
    ("a manifest of 17", "envelope", with_field(15, [[0, 0, 0, 4, NONCE * 2]] * 17)),
    ("a header that is a map", "envelope", resigned(msgpack.packb({0: 1}), [])),
    ("six fields", "envelope", msgpack.packb([*msgpack.unpackb(SINGLE), 1])),
    ("an extension type", "envelope", msgpack.packb(msgpack.ExtType(1, b"x"))),
    ("an array of 2**32-1", "envelope", b"\xdd\xff\xff\xff\xff"),
    ("bytes after the end", "envelope", SINGLE + b"\x00"),
    *[(f"cut off at {n}", "envelope", SINGLE[:n]) for n in (0, 1, 20, 100, len(SINGLE) - 1)],
    ("a digest that the part does not have", "envelope",
     with_field(15, [[1, 0, 0, len(decode_envelope(SINGLE).parts[0]) - 16, NONCE * 2]])),  # type: ignore[union-attr]
    ("its header signed as a header", "envelope", changed(SINGLE, signature=POINT.signer.sign(
        TYPE_ENVELOPE, decode_envelope(SINGLE).header))),  # type: ignore[union-attr]
    ("a root signed as a route", "envelope", resigned(HEADER, list(PARTS), TYPE_ROUTE)),
    ("a root signed as a list", "envelope", resigned(HEADER, list(PARTS), TYPE_REVOCATIONS)),
    ("a message of a burst with another's path", "envelope",
     changed(BURST[0], path=decode_envelope(BURST[2]).path)),  # type: ignore[union-attr]
    ("a message of a burst without its path", "envelope", changed(BURST[0], path=())),
    ("another message's part", "envelope",
     changed(SINGLE, parts=decode_envelope(ACTION).parts)),  # type: ignore[union-attr]
    ("an envelope of 100 levels", "envelope", b"\x91" * 100 + b"\x00"),
    ("a header of 100 levels", "envelope", resigned(b"\x91" * 100 + b"\x00", [])),
    ("a header with an array of 2**32-1", "envelope", resigned(b"\xdd\xff\xff\xff\xff", [])),
    ("a header with an extension type", "envelope", with_field(16, msgpack.ExtType(5, b"x"))),
    ("a header with text that is not UTF-8", "envelope",
     resigned(HEADER.replace(b"conn", b"\xff\xff\xff\xff"), list(PARTS))),
    ("a header that is cut off", "envelope", resigned(HEADER[:-1], list(PARTS))),
    ("a header with a byte after its end", "envelope", resigned(HEADER + b"\x00", list(PARTS))),
    ("a header with sixteen fields", "envelope", resigned(msgpack.packb(msgpack.unpackb(HEADER)[:16]), list(PARTS))),
    ("a key that comes twice in a body", "content", with_body(rows(b"\x91\x82\xa1a\x01\xa1a\x02"))),
    ("a key that is true in a body", "content", with_body(rows(b"\x91\x81\xc3\x01"))),
    ("an extension type in a body", "content",
     with_body(rows(msgpack.packb([{"a": msgpack.ExtType(1, b"x")}])))),
    ("a timestamp in a body", "content", with_body(rows(msgpack.packb([{"a": msgpack.Timestamp(1)}])))),
    ("40 levels in a body", "content", with_body(rows(b"\x91" + b"\x81\xa1a" * 40 + b"\xc0"))),
    ("an array of 2**32-1 in a body", "content", with_body(rows(b"\x91\x81\xa1a\xdd\xff\xff\xff\xff"))),
    ("two records where one is signed", "content", with_body(rows(b"\x92\x80\x80"))),
    ("a record that is no map", "content", with_body(rows(b"\x91\x01"))),
    ("a body that says it is longer", "content", with_body(b"\x00\x00\x00\xff\x91\x80")),
    ("a body with a byte after its value", "content", with_body(rows(b"\x91\x80\x00"))),
    ("a body too short for its length", "content", with_body(b"\x00\x00")),
    ("a body that decompresses beyond its size", "content",
     with_body(zlib.compress(rows(b"\x91\x80") + bytes(100_000)), 1, 6)),
    ("a body that is not zlib", "content", with_body(rows(b"\x91\x80"), 1)),
    ("an encoding that does not exist", "content", with_body(rows(b"\x91\x80"), 2)),
    ("a content type that does not exist", "content", with_body(rows(b"\x91\x80"), content_type=1)),
    ("a size that the body does not have", "content", with_body(rows(b"\x91\x80"), size=7)),
    ("100 levels", "frame", b"\x91" * 100 + b"\x00"),
    ("a frame kind that does not exist", "frame", msgpack.packb([99])),
    ("a frame without a kind", "frame", msgpack.packb([])),
    ("a frame that is a map", "frame", msgpack.packb({0: 11})),
    ("a kind that is true", "frame", msgpack.packb([True, 1])),
    ("DATA in lane 5", "frame", msgpack.packb([5, 5, T0, []])),
    ("DATA sideways", "frame", msgpack.packb([5, 0, T0, [[2, 0, [], [], b""]]])),
    ("DATA with 257 items", "frame", msgpack.packb([5, 0, T0, [[0, 0, [], [], b""]] * 257])),
    ("DATA with 17 hops", "frame", msgpack.packb([5, 0, T0, [[0, 0, ["a"] * 17, [], b""]]])),
    ("DATA of a negative age", "frame", msgpack.packb([5, 0, T0, [[0, -1, [], [], b""]]])),
    ("CREDIT for four lanes", "frame", msgpack.packb([8, [1, 2, 3, 4]])),
    ("ACK of a short id", "frame", msgpack.packb([6, [b"short"]])),
    ("ACK of a map", "frame", msgpack.packb([6, {}])),
    ("ACK of a text", "frame", msgpack.packb([6, ""])),
    ("INTRO of bytes", "frame", msgpack.packb([4, b""])),
    ("HELLO with a short session", "frame", msgpack.packb([1, 1, 1, FABRIC, 1, b"", b"short", NONCE, T0, 0, 0])),
    ("a frame with an extension type", "frame", msgpack.packb([11, msgpack.ExtType(1, b"x")])),
    ("a frame with an array of 2**32-1", "frame", b"\x92\x06\xdd\xff\xff\xff\xff"),
    ("a frame with a byte after its end", "frame", encode_frame(Ping(T0)) + b"\x00"),
    ("an empty frame", "frame", b""),
    *[(f"DATA cut off at {n}", "frame", encode_frame(Data(Lane.HIGH, T0, [ITEM]))[:n]) for n in (1, 11, 60, 250)],
    ("credential cut off", "credential", RELAY.credential.raw[:-1]),
    ("credential with a byte after its end", "credential", RELAY.credential.raw + b"\x00"),
    ("credential that the authority signed as a list", "credential", AS_LIST),
    ("credential with a path as its name", "credential",
     issue(replace(RELAY.credential, id="../hq"), AUTHORITY.signer)),
    ("credential with a key of 33 bytes", "credential",
     issue(replace(RELAY.credential, curve_key=bytes(33)), AUTHORITY.signer)),
    ("attachment cut off", "attachment", ATTACHMENT[:-1]),
    ("attachment that is durable and executes", "attachment",
     sign_attachment(POINT.credential, POINT.signer, SESSION, "hq", T0, True, (), 1)),
    ("attachment that is durable for too long", "attachment",
     sign_attachment(POINT.credential, POINT.signer, SESSION, "hq", T0, False, (), 604_800_001)),
    ("attachment with a byte after its end", "attachment", ATTACHMENT + b"\x00"),
    ("attachment signed as a root", "attachment", AS_ROOT),
    ("attachment that another signed", "attachment",
     sign_attachment(POINT.credential, RELAY.signer, SESSION, "hq", T0, True, ("intel.>",))),
    ("attachment that executes without a grant", "attachment",
     sign_attachment(RELAY.credential, RELAY.signer, SESSION, "hq", T0, True, ())),
    ("list cut off", "revocations", LIST[:-1]),
    ("list with a byte after its end", "revocations", LIST + b"\x00"),
    ("list that the authority signed as a credential", "revocations",
     msgpack.packb([LIST_BODY, AUTHORITY.signer.sign(TYPE_CREDENTIAL, LIST_BODY)])),
    ("credential of another authority", "credential", STRANGER.credential.raw),
    ("credential of another fabric", "credential", OTHER_FABRIC.credential.raw),
    ("credential that is not signed", "credential",
     msgpack.packb([msgpack.unpackb(RELAY.credential.raw)[0], bytes(64), []])),
    ("credential that is no array", "credential", msgpack.packb("hq")),
    ("attachment altered", "attachment", flipped(ATTACHMENT)),
    ("attachment beyond its grants", "attachment",
     sign_attachment(POINT.credential, POINT.signer, SESSION, "hq", T0, True, (">",))),
    ("attachment of nobody known", "attachment",
     sign_attachment(STRANGER.credential, STRANGER.signer, SESSION, "hq", T0, False, ())),
    ("list altered", "revocations", flipped(LIST)),
    ("list that a relay signed", "revocations", issue_revocations(FABRIC, 9, T0, T0, [], RELAY.signer)),
    ("list of another fabric", "revocations", issue_revocations("other", 9, T0, T0, [], AUTHORITY.signer)),
    ("credential whose issuer is missing", "credential", msgpack.packb([*CHAIN[0], []])),
    ("credential whose issuer's issuer is missing", "credential", msgpack.packb([*LONG_CHAIN[0], LONG_CHAIN[1:2]])),
    ("credential with its issuers in another order", "credential",
     msgpack.packb([*LONG_CHAIN[0], LONG_CHAIN[:0:-1]])),
    ("credential that a member signed", "credential",
     issue(replace(OF_A_PLANT, id="p1-other"), POINT.signer, MEMBER)),
    ("credential with an id that its issuer may not give", "credential",
     issue(replace(OF_A_PLANT, id="hq"), ISSUER_SIGNERS["plant"], ISSUER)),
    ("credential with a clearance that its issuer may not give", "credential",
     issue(replace(OF_A_PLANT, clearance=Label.RED), ISSUER_SIGNERS["plant"], ISSUER)),
    ("credential that outlives its issuer", "credential",
     issue(replace(OF_A_PLANT, not_after_ms=2**45 + 1), ISSUER_SIGNERS["plant"], ISSUER)),
    ("credential with a chain of four", "credential",
     msgpack.packb([*CHAIN[0], [*CHAIN[1:], *[CHAIN[1]] * 3]])),
    ("request altered", "request", flipped(JOIN_REQUEST, 20)),
    ("request that another key signed", "request", msgpack.packb([
        JOIN_BODY, RELAY.signer.sign(TYPE_JOIN, JOIN_BODY), bytes(32)])),
    ("answer altered", "answer", flipped(JOIN_ANSWER, 20)),
    ("answer that a member signed", "answer", answer(JOIN_REQUEST, MEMBER, MEMBER, POINT.signer, Label.CLEAR, {})),
    ("token cut off", "token", TOKEN.encode().encode()[:-1]),
    ("directory altered", "directory", flipped(DIRECTORY)),
    ("directory cut off", "directory", DIRECTORY[:-1]),
    ("directory that a relay signed", "directory", issue_directory(FABRIC, 9, T0, T0, RELAYS, RELAY.signer)),
    ("directory of another fabric", "directory", issue_directory("other", 9, T0, T0, RELAYS, AUTHORITY.signer)),
    ("directory that the authority signed as a list", "directory",
     msgpack.packb([msgpack.unpackb(DIRECTORY)[0],
                    AUTHORITY.signer.sign(TYPE_REVOCATIONS, msgpack.unpackb(DIRECTORY)[0])])),
    ("directory with a relay twice", "directory",
     issue_directory(FABRIC, 9, T0, T0, [*RELAYS, RELAYS[0]], AUTHORITY.signer)),
    ("directory with a relay that has no address", "directory",
     issue_directory(FABRIC, 9, T0, T0, [replace(RELAYS[0], addresses=())], AUTHORITY.signer)),
    ("credential by which more is kept than its issuer may give", "credential",
     issue(replace(OF_A_PLANT, grants=READER.grants), ISSUER_SIGNERS["plant"], ISSUER)),
    ("credential by which nothing is kept", "credential",
     issue(replace(POINT.credential, grants=replace(ALL_GRANTS, keep=Keep(0, 1))), AUTHORITY.signer)),
    ("an action on terms from the future", "envelope", on_terms(4)),
    ("an action on terms that are no number", "envelope", on_terms("dry run")),
    ("a result in a state that is no number", "envelope", in_state("completed")),
    ("policies altered", "policies", flipped(POLICIES)),
    ("policies that a relay signed", "policies", issue_policies(FABRIC, 9, T0, RULE_BOOK, VERBS, RELAY.signer)),
    ("policies of another fabric", "policies", issue_policies("other", 9, T0, RULE_BOOK, VERBS, AUTHORITY.signer)),
    ("policies that the authority signed as a list", "policies",
     msgpack.packb([msgpack.unpackb(POLICIES)[0],
                    AUTHORITY.signer.sign(TYPE_REVOCATIONS, msgpack.unpackb(POLICIES)[0])])),
    ("policies that ask for nobody", "policies", ruled(2, 0)),
    ("policies that ask for nine", "policies", ruled(2, 9)),
    ("policies with a selector that cannot be read", "policies", ruled(1, ["contain", "", "role=", 0, 0])),
    ("policies with a class that is none", "policies", ruled(1, ["harm", "", "", 0, 0])),
    ("policies that escalate when the hold is over", "policies", ruled(5, [600_000, ["ciso"], 1])),
    ("policies with a rule twice", "policies",
     issue_policies(FABRIC, 9, T0, [*RULE_BOOK, RULE_BOOK[0]], VERBS, AUTHORITY.signer)),
    ("policies with a class for a verb of the standard", "policies",
     issue_policies(FABRIC, 9, T0, RULE_BOOK, {"deny": "other"}, AUTHORITY.signer)),
    ("revocation list that names policies by a word", "revocations", as_list("newest")),
    ("revocation list with a floor that is a word", "revocations", as_list(7, "newest")),
    ("an approval of nothing", "approval", approval({}, correlation=b"")),
    ("an approval that is neither yes nor no", "approval", approval({"decision": "perhaps"})),
    ("an approval with a digest in capital letters", "approval",
     approval({"targets": targets_digest(["fw-7"]).hex().upper()})),
    ("an approval since a time that is none", "approval", approval({"held_at": "now"})),
    ("an approval with too many words", "approval", approval({"why": "x" * 513})),
    ("an approval that is an event", "approval", approval({}, kind=Kind.EVENT, topic="detections.x")),
    ("credential that addresses whom its issuer may not", "credential",
     issue(replace(OF_A_PLANT, grants=Grants(publish=(PublishGrant("detections.x", Severity.LOW, 1, ("msp",)),))),
           ISSUER_SIGNERS["plant"], ISSUER)),
    ("credential that addresses a word", "credential", addressing("isac")),
    ("credential that addresses by one list of two", "credential", addressing([["msp"]])),
    ("credential that addresses 65 organisations", "credential", addressing([["msp"] * 65, []])),
    ("an event for 17 organisations", "envelope", message(POINT, organisations=["msp"] * 17)),
    ("an event for a number", "envelope", message(POINT, communities=[7])),
    ("credential that declassifies above its issuer", "credential",
     issue(replace(OF_A_PLANT, grants=Grants(declassify=(DeclassifyGrant("detections.x", Label.AMBER, Label.GREEN),))),
           ISSUER_SIGNERS["plant"], ISSUER)),
    ("credential that declassifies a word", "credential", declassifying("amber")),
    ("credential that declassifies without a lowest label", "credential", declassifying([["detections.>", 2]])),
    ("credential that declassifies 65 times", "credential", declassifying([["detections.>", 2, 1]] * 65)),
    ("an event that re-issues a word", "envelope", re_issuing("old")),
    ("an event that re-issues half a digest", "envelope", re_issuing([ACTION_LEAF[:16], 0, 2])),
    ("an event that re-issues a record that cannot be", "envelope", re_issuing([ACTION_LEAF, 1024, 2])),
    ("an event that re-issues something of no label", "envelope", re_issuing([ACTION_LEAF, 0])),
]


def read(what: str, raw: bytes) -> Any:
    """What today's code makes of the bytes: a value, or a Reject."""
    match what:
        case "envelope":
            return open_envelope(raw, KNOWN, RootCache())
        case "content":  # well signed and well formed to every relay: its reader is the one who refuses
            opened = open_envelope(raw, KNOWN, RootCache())
            assert isinstance(opened, Verified), opened
            return read_records(opened.header, opened.envelope.parts)
        case "frame":
            return decode_frame(raw)
        case "credential":
            return verify_credential(raw, AUTHORITY.key, FABRIC)
        case "attachment":
            return open_attachment(raw, KNOWN)
        case "request":
            return open_request(raw, AUTHORITY.key, FABRIC)
        case "answer":
            return open_answer(raw, JOIN_REQUEST, AUTHORITY.key, FABRIC, "plant")
        case "approval":
            opened = open_envelope(raw, KNOWN, RootCache())
            assert isinstance(opened, Verified), opened
            return read_approval(opened)
        case "policies":
            return verify_policies(raw, AUTHORITY.key, FABRIC)
        case "directory":
            return verify_directory(raw, AUTHORITY.key, FABRIC)
        case "token":
            return read_token(raw.decode())
        case "wanted":
            return decode_wanted(raw)
        case "found":
            return decode_found(raw)
        case "sealed":
            opened = open_envelope(raw, KNOWN, RootCache())
            assert isinstance(opened, Verified), opened
            readings = read_records(opened.header, opened.envelope.parts, Opener(POINT.id, POINT.signer).open)
            assert not isinstance(readings, Reject)
            return [reading.content for reading in readings]
        case _:
            return verify_revocations(raw, AUTHORITY.key, FABRIC)


_APPENDED = (
    "keep_ms", "path", "moved", "issuing", "issuers", "keep", "waits", "terms", "state", "policies", "log_known",
    "floor", "to_organisations", "to_communities", "declassify", "relabels", "carries_sealed",
    "spared_ms",
)


def meaning(value: Any) -> Any:
    """A value as JSON: bytes in hex, enums by number, everything with its field's name."""
    if isinstance(value, Verified):
        readings = read_records(value.header, value.envelope.parts)
        assert not isinstance(readings, Reject)
        return {
            "id": value.id.hex(),
            "lane": int(value.header.lane),
            "header": meaning(value.header),
            "records": [
                {"content": r.content, "labels": meaning(r.labels), "withheld": meaning(r.withheld)} for r in readings
            ],
        }
    if isinstance(value, Credential):
        said = [name for name in value.__slots__ if name not in ("raw", *_APPENDED) or getattr(value, name)]
        return {name: meaning(getattr(value, name)) for name in said if name != "raw"}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, IPv4Network | IPv6Network):
        return str(value)
    if isinstance(value, Code):
        return value.number
    if isinstance(value, Enum):
        return int(value.value)
    if isinstance(value, dict):
        return {str(meaning(k)): meaning(v) for k, v in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    fields = getattr(value, "_fields", None) or getattr(value, "__slots__", None)
    if fields:
        # What was appended since, and is not said, means what was meant before it could be said.
        said = [name for name in fields if name not in _APPENDED or getattr(value, name)]
        return {"": type(value).__name__, **{name: meaning(getattr(value, name)) for name in said}}
    if isinstance(value, (list, tuple)):
        return [meaning(item) for item in value]
    return value


def vectors() -> dict[str, list[dict[str, Any]]]:
    describe: Callable[[str, bytes], dict[str, Any]] = lambda what, raw: {"means": meaning(read(what, raw))}  # noqa: E731
    refuse: Callable[[str, bytes], dict[str, Any]] = lambda what, raw: {"refused": read(what, raw).code.number}  # noqa: E731
    return {
        "good": [{"name": n, "what": w, "hex": raw.hex(), **describe(w, raw)} for n, w, raw in GOOD],
        "hostile": [{"name": n, "what": w, "hex": raw.hex(), **refuse(w, raw)} for n, w, raw in HOSTILE],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the vectors to a file that does not exist yet.")
    parser.add_argument("--new", type=Path, metavar="FILE")
    path = parser.parse_args().new
    if path is None:
        sys.exit("v1.json is frozen: peers in the field speak it. To make another file: --new FILE")
    if path.exists():
        sys.exit(f"{path} is frozen: name a file that does not exist")
    path.write_text(json.dumps(vectors(), indent=1) + "\n")


if __name__ == "__main__":
    main()
