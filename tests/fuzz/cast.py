"""An invented fabric with members of every kind, and what each of them has signed: made once, the same every time.

Some ids have many credentials: of rising serials under the same keys, one of other keys, one by the authority and
others by an issuer for equal keys. An honest node shows one or two of them; who is hostile shows all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from fabric.protocol.base.signing import Signer
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.layout import Envelope, decode_envelope, encode_envelope
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import (
    Credential,
    Grants,
    Issuing,
    NodeKind,
    PublishGrant,
    RequestGrant,
)
from fabric.protocol.trust.directory import Descriptor, issue_directory
from fabric.protocol.trust.policies import Escalation, Rule, When, issue_policies
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.support import DAY_MS, EVERYTHING, FABRIC, HOUR_MS, MINUTE_MS, T0, Authority, Member, derive, verified

AUTHORITY = Authority("fuzz")
OTHER = Authority("another fabric", "other")
SERIALS = 6


@dataclass(frozen=True)
class Player:
    """One pair of keys, and every credential that vouches for them, the usual one first."""

    member: Member
    credentials: tuple[Credential, ...]

    @property
    def id(self) -> str:
        return self.member.id

    @property
    def key(self) -> bytes:
        return self.member.curve_key


def _issuer(id_: str, may: Issuing, by: Member | None = None) -> Member:
    signer, base = Signer(derive("fuzz issuer", id_)), AUTHORITY.issue(id_).credential
    body = replace(
        base, kind=NodeKind.ISSUER, sign_key=signer.public, grants=Grants(), issuing=may, clearance=Label.GREEN,
        raw=b"", digest=b"", issuers=(),
    )
    raw = issue(body, AUTHORITY.signer if by is None else by.signer, None if by is None else by.credential)
    return _member(raw, signer, base.curve_key)


def _member(raw: bytes, signer: Signer, curve_key: bytes) -> Member:
    credential = verify_credential(raw, AUTHORITY.key, FABRIC)
    assert isinstance(credential, Credential), credential
    return Member(credential, signer, curve_key)


def _vouched(by: Member, of: Member, serial: int, grants: Grants) -> Credential:
    """The same keys, in the issuer's word."""
    body = replace(
        of.credential, serial=serial, grants=grants, clearance=Label.GREEN, tags=(), not_before_ms=0, raw=b"",
        digest=b"", issuers=(),
    )
    return _member(issue(body, by.signer, by.credential), of.signer, of.curve_key).credential


def _player(id_: str, *, serials: int = 1, more: Sequence[Credential] = (), **fields: object) -> Player:
    first = AUTHORITY.issue(id_, **fields)  # type: ignore[arg-type]
    renewed = [AUTHORITY.issue(id_, **fields, serial=n).credential for n in range(2, serials + 1)]  # type: ignore[arg-type]
    return Player(first, (first.credential, *renewed, *more))


def _impostor(id_: str) -> Player:
    """The same id under other keys, signed by the authority as well, and newer."""
    signer, curve_key = Signer(derive("impostor", id_)), derive("impostor curve", id_)
    base = AUTHORITY.issue(id_, grants=EVERYTHING).credential
    raw = issue(
        replace(base, sign_key=signer.public, curve_key=curve_key, serial=9, raw=b"", digest=b""), AUTHORITY.signer
    )
    member = _member(raw, signer, curve_key)
    return Player(member, (member.credential,))


_MAY = Issuing(
    ids=("p1-*",), kinds=(NodeKind.POINT, NodeKind.ISSUER), segments=("*",), organisations=("acme",),
    clearance=Label.GREEN, grants=Grants(publish=(PublishGrant("detections.>", Severity.HIGH),), subscribe=(">",)),
)
_GIVEN = Grants(publish=(PublishGrant("detections.>", Severity.HIGH),), subscribe=("detections.>",))
ISSUER_MEMBER = _issuer("p1-issuer", _MAY)
SUB_ISSUER_MEMBER = _issuer("p1-sub", _MAY, ISSUER_MEMBER)

ME = _player("mid", kind=NodeKind.RELAY, clearance=Label.AMBER, serials=2)
HQ = _player("hq", kind=NodeKind.RELAY, serials=2)
ALT = _player("alt", kind=NodeKind.RELAY)
LOW = _player("low", kind=NodeKind.RELAY, clearance=Label.GREEN, serials=SERIALS)
LOWER = _player("lower", kind=NodeKind.RELAY)
ZEEK = _player("zeek-1", grants=EVERYTHING, serials=SERIALS)
GUEST = _player("guest-1", grants=Grants())
ANALYST = _player("analyst-1", kind=NodeKind.OPERATOR, grants=Grants(subscribe=(">",)))
LIMITED = _player(
    "limited-1", clearance=Label.GREEN,
    grants=Grants(publish=(PublishGrant("detections.>", Severity.LOW), PublishGrant(">", Severity.FATAL, 5))),
)
SOAR = _player("soar-1", grants=Grants(
    subscribe=(">",), request=(RequestGrant("deny *", "role=firewall"), RequestGrant("scan *", "all", scope="mid")),
))
WALL = _player("fw-1", grants=Grants(execute=("*",)), tags=[("role", "firewall")], serials=SERIALS)
WALL_2 = _player("fw-2", grants=Grants(execute=("deny *",), publish=(PublishGrant(">"),)), tags=[("role", "firewall")])
# The authority's word and the issuer's for the same keys.
BOTH = AUTHORITY.issue("p1-both", grants=_GIVEN, clearance=Label.GREEN, serial=2)
BOTH_PLAYER = Player(BOTH, (
    BOTH.credential, _vouched(ISSUER_MEMBER, BOTH, 1, _GIVEN), _vouched(ISSUER_MEMBER, BOTH, 1, Grants()),
    *(_vouched(ISSUER_MEMBER, BOTH, serial, _GIVEN) for serial in (3, 4, 5)),
    _vouched(SUB_ISSUER_MEMBER, BOTH, 6, Grants()),
))
_TOKEN = AUTHORITY.issue("p1-only", grants=_GIVEN, clearance=Label.GREEN)
_BY_ISSUER = tuple(_vouched(ISSUER_MEMBER, _TOKEN, serial, _GIVEN) for serial in range(1, SERIALS + 1))
VOUCHED = Player(Member(_BY_ISSUER[0], _TOKEN.signer, _TOKEN.curve_key), _BY_ISSUER)
ISSUER = Player(ISSUER_MEMBER, (ISSUER_MEMBER.credential,))
SUB_ISSUER = Player(SUB_ISSUER_MEMBER, (SUB_ISSUER_MEMBER.credential,))
IMPOSTOR = _impostor("zeek-1")
EXPIRED = _player("old-1", grants=EVERYTHING, not_after_ms=T0 - DAY_MS)
_FOREIGN = OTHER.issue("zeek-1", grants=EVERYTHING)
FOREIGNER = Player(_FOREIGN, (_FOREIGN.credential,))

PLAYERS = (
    ME, HQ, ALT, LOW, LOWER, ZEEK, GUEST, ANALYST, LIMITED, SOAR, WALL, WALL_2, BOTH_PLAYER, VOUCHED, ISSUER,
    SUB_ISSUER, IMPOSTOR, EXPIRED, FOREIGNER,
)
BY_ID = {player.id: player for player in PLAYERS if player not in (IMPOSTOR, FOREIGNER)}


# -- what they have signed ------------------------------------------------------------------------------------


@cache
def messages_of(player: Player) -> tuple[Verified, ...]:
    """Messages of every kind that its member could sign, whether it may or not."""
    member, made = player.member, []
    rules = {"src_ip": Label.AMBER, "secret": Label.RED}
    record = {"src_ip": "10.1.0.7", "rule": "port scan", "secret": "x" * 40, "nested": {"a": {"b": 1}}}
    for n, (topic, label, severity) in enumerate([
        ("detections.zeek.conn", Label.CLEAR, Severity.LOW), ("detections.zeek.conn", Label.GREEN, Severity.CRITICAL),
        ("detections.edr", Label.AMBER, Severity.MEDIUM), ("dlp", Label.RED, Severity.FATAL),
    ]):
        made.append(verified(member, topic=topic, label=label, severity=severity, records=[record], rules=rules,
                             sequence=n, recipients=("analyst-1",)))
    made.append(verified(member, sequence=10, records=[{"n": n, **record} for n in range(40)], rules=rules))
    made.append(verified(member, sequence=11, records=[{"big": "y" * 90_000, "src_ip": "z"}], rules=rules,
                         label=Label.RED, recipients=("analyst-1",)))
    made.append(verified(member, sequence=12, ttl_ms=1))
    made.append(verified(member, sequence=13, ttl_ms=7 * DAY_MS, issued_at_ms=T0 - HOUR_MS))
    made.append(verified(member, sequence=14, issued_at_ms=2**53, ttl_ms=2**53))
    for n, label in enumerate((Label.CLEAR, Label.AMBER)):
        made.append(verified(member, kind=Kind.INTEL, topic="intel.indicators", sequence=20 + n, label=label,
                             records=[record], rules=rules))
    for n, (topic, to) in enumerate([
        ("deny.ipv4_net", "role=firewall"), ("deny.ipv4_net", "all"), ("scan.device", "id=fw-1"), ("deny.file", "")
    ]):
        made.append(verified(
            member, kind=Kind.ACTION, topic=topic, to=to, sequence=30 + n, severity=Severity.HIGH,
            records=[{"action": topic.split(".")[0], "target": {"ipv4_net": "192.0.2.1"}, "args": {}}],
            ttl_ms=MINUTE_MS * 10,
        ))
    made.append(verified(member, kind=Kind.APPROVAL, topic="approve.deny", sequence=40, correlation=derive("x")))
    made.append(verified(member, kind=Kind.CONTROL, topic="control.stop", sequence=41))
    return tuple(made)


@cache
def results_of(player: Player) -> tuple[Verified, ...]:
    """Its answers to everybody's actions, and to what nobody asked."""
    made = []
    for n, requester in enumerate((SOAR, ZEEK, GUEST)):
        for m, action in enumerate(a for a in messages_of(requester) if a.header.kind is Kind.ACTION):
            made.append(verified(
                player.member, kind=Kind.RESULT, topic=action.header.topic, to=requester.id, correlation=action.leaf,
                sequence=100 * n + m, label=Label.CLEAR if m % 2 else Label.GREEN, ttl_ms=HOUR_MS,
                records=[{"status": 200, "end": "completed", "target": player.id}],
            ))
    made.append(verified(player.member, kind=Kind.RESULT, topic="x.y", to="nobody", correlation=derive("nothing"),
                         sequence=999))
    return tuple(made)


@cache
def copies_of(message: Verified) -> tuple[bytes, ...]:
    """The same message with all of its parts, some, and none."""
    envelope = decode_envelope(message.raw)
    assert isinstance(envelope, Envelope)
    none = envelope._replace(parts=(None,) * len(envelope.parts))
    some = [
        envelope._replace(parts=tuple(None if n == gone else part for n, part in enumerate(envelope.parts)))
        for gone in range(len(envelope.parts))
    ]
    return tuple(dict.fromkeys(encode_envelope(each) for each in (envelope, none, *some)))


@cache
def revocation_lists() -> tuple[bytes, ...]:
    """By version, and one that is over."""
    named = ((), ("guest-1",), ("p1-issuer",), ("low", "zeek-1"), ("p1-issuer", "soar-1", "hq"), ("mid",))
    lists = [
        issue_revocations(FABRIC, version, T0, T0 + 365 * DAY_MS, list(ids), AUTHORITY.signer)
        for version, ids in enumerate(named, 1)
    ]
    over = issue_revocations(FABRIC, 7, T0 - 2 * DAY_MS, T0 - DAY_MS, ["guest-1"], AUTHORITY.signer)
    forged = issue_revocations(FABRIC, 99, T0, T0 + DAY_MS, ["zeek-1"], ISSUER.member.signer)
    return (*lists, over, forged)


@cache
def directories() -> tuple[bytes, ...]:
    relays = [
        Descriptor(p.id, ("127.0.0.1:7700",), p.key, "hq", (), Label.AMBER, 0, T0 + DAY_MS) for p in (HQ, ALT, ME, LOW)
    ]
    made = [
        issue_directory(FABRIC, version, T0, T0 + DAY_MS, relays[:count], AUTHORITY.signer)
        for version, count in ((1, 4), (2, 0), (3, 2))
    ]
    return (*made, issue_directory(FABRIC, 9, T0, T0 + DAY_MS, relays, ISSUER.member.signer))


@cache
def policy_books() -> tuple[bytes, ...]:
    rules = [
        Rule("contain", When("contain"), 1, ("lead",), MINUTE_MS),
        Rule("ot", When(None, "deny *", "segment=ot-1", Label.AMBER, Severity.HIGH), 2, ("lead", "shift"), HOUR_MS,
             Escalation(MINUTE_MS, ("ciso",), 1)),
        Rule("all", When(None, "*", "all"), 8, ("lead",), DAY_MS),
    ]
    made = [
        issue_policies(FABRIC, version, T0, rules[:count], {"x-isolate": "contain"} if count else {}, AUTHORITY.signer)
        for version, count in ((1, 3), (2, 0), (3, 2))
    ]
    return (*made, issue_policies(FABRIC, 9, T0, rules, {}, ISSUER.member.signer))
