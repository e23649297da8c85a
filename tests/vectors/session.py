"""A whole session of a small fabric, as real cores hold it on virtual time: what `record` writes down.

A root relay, a relay below it, and control points: who publishes, who reads and comes back later, who asks for an
action, who approves it and who executes it; and a stranger. Everything follows from fixed names, so a session is the
same each time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fabric.protocol.access.approvals import Hold, approval_record
from fabric.protocol.audit.chain import NOTHING, follow_digest
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.signing import digest
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.verify import Verified, open_envelope
from fabric.protocol.trust.credentials import (
    ApproveGrant,
    Grants,
    Keep,
    NodeKind,
    PublishGrant,
    RequestGrant,
)
from fabric.protocol.trust.directory import Descriptor, issue_directory
from fabric.protocol.trust.policies import Policies, Rule, When, issue_policies, verify_policies
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Hello, Join, Role
from tests.support import DAY_MS, FABRIC, T0, Authority, Member, derive, message
from tests.vectors.played import TICK_MS, Person, Played, Turn
from tests.vectors.recording import Recording

AUTHORITY = Authority("conversation")
# How long a frame is under way.
_WAY_MS = 5

SENSOR = Grants(publish=(PublishGrant("detections.>", Severity.HIGH, 1),))
READER = Grants(subscribe=("detections.>",), keep=Keep(2**22, DAY_MS))
WALL = Grants(subscribe=("intel.>",), execute=("deny ipv4_net",))
SOAR = Grants(publish=(PublishGrant("intel.>"),), request=(RequestGrant("deny *", "role=firewall"),))
LEAD = Grants(approve=(ApproveGrant("contain", "role=firewall"),))
# Who takes part, and below which relay.
CAST: list[tuple[Member, tuple[str, ...]]] = [
    (AUTHORITY.issue("hq", NodeKind.RELAY), ()),
    (AUTHORITY.issue("plant", NodeKind.RELAY, segment="ot-1"), ("hq",)),
    (AUTHORITY.issue("zeek-1", grants=SENSOR, segment="ot-1"), ("plant",)),
    (AUTHORITY.issue("fw-1", grants=WALL, segment="ot-1", tags=[("role", "firewall")]), ("plant",)),
    (AUTHORITY.issue("ann", grants=READER, clearance=Label.GREEN), ("hq",)),
    (AUTHORITY.issue("soar-1", grants=SOAR), ("hq",)),
    (AUTHORITY.issue("lead-1", grants=LEAD, tags=[("role", "ot-lead")]), ("hq",)),
]
MEMBERS = {member.id: member for member, _ in CAST}
STRANGER = "stranger"

POLICIES = issue_policies(
    FABRIC, 3, T0, [Rule("contain", When("contain", "", "role=firewall"), 1, ("ot-lead",), 600_000)], {},
    AUTHORITY.signer,
)
LISTS = [
    issue_revocations(FABRIC, version, T0, T0 + DAY_MS, ids, AUTHORITY.signer, 3)
    for version, ids in ((1, []), (2, ["zeek-9"]))
]
DIRECTORY = issue_directory(FABRIC, 1, T0, T0 + DAY_MS, [
    Descriptor(member.id, (f"{member.id}.example:7700",), member.curve_key, member.credential.segment, (),
               member.credential.clearance, 0, T0 + DAY_MS)
    for member, parents in CAST if member.credential.kind is NodeKind.RELAY
], AUTHORITY.signer)
POLICIES_READ = verify_policies(POLICIES, AUTHORITY.key, FABRIC)
LOG = [digest(f"entry {number}".encode()) for number in range(3)]


@dataclass
class Line:
    """One connection: each end's node, and the number of the link there. The dialler is the first."""

    ends: tuple[tuple[str, int], tuple[str, int]]

    def __contains__(self, name: str) -> bool:
        return name in dict(self.ends)

    def other(self, name: str) -> tuple[str, int]:
        one, two = self.ends
        return two if one[0] == name else one


class Session:
    """Plays a session, and writes down what was said."""

    def __init__(self) -> None:
        self.at_ms = 0
        self.recording = Recording(FABRIC, T0, AUTHORITY.key, {
            member.id: Person(member.id, member.credential.raw, derive("signing", AUTHORITY.seed, member.id),
                              derive("session", member.id)[:16], parents)
            for member, parents in CAST
        })
        self.nodes: dict[str, Played] = {name: self.recording.play(name) for name in self.recording.people}
        self.heard: dict[str, list[Verified]] = defaultdict(list)  # by each program, since it was looked at
        self._due: dict[str, list[tuple[int, list[Any]]]] = defaultdict(list)
        self._lines: dict[tuple[str, int], Line] = {}
        self._links: dict[str, int] = defaultdict(int)
        self._sequence = 0
        self._credentials = {member.credential.digest: member.credential for member, _ in CAST}

    # -- what happens -------------------------------------------------------------------------------------

    def do(self, name: str, *what: Any) -> None:
        """At once: something that is not on the wire."""
        self._due[name].append((self.at_ms, list(what)))

    def dial(self, name: str, peer: str) -> Line:
        """A connection, and a HELLO on it."""
        line = Line(((name, self._number(name)), (peer, self._number(peer))))
        for end, number in line.ends:
            self._lines[end, number] = line
        role = Role.CHILD if self.nodes[name].me.kind is NodeKind.RELAY else Role.POINT
        nonce = derive("nonce", name, line.ends[0][1])[:16]
        self.do(peer, "up", line.ends[1][1], MEMBERS[name].curve_key, b"", 0, "")
        self.do(name, "up", line.ends[0][1], MEMBERS[peer].curve_key, nonce, int(role), peer)
        return line

    def cut(self, line: Line) -> None:
        """Both sides see the connection end."""
        for end in line.ends:
            self._end(end)

    def knock(self, peer: str, *frames: bytes) -> None:
        """Somebody dials who is no node of ours, and says this."""
        number = self._number(peer)
        self.do(peer, "up", number, derive("curve", STRANGER), b"", 0, "")
        for raw in frames:
            self.recording.frames.append((STRANGER, peer, raw))
            self.do(peer, "frame", number, raw)

    def publish(self, name: str, **fields: Any) -> Verified:
        """Signed now, and submitted."""
        self._sequence += 1
        raw = message(MEMBERS[name], **{"issued_at_ms": T0 + self.at_ms, "sequence": self._sequence, **fields})
        self.do(name, "submit", raw)
        return self.opened(raw)

    def until(self, what: Callable[[], object], within_ms: int = 10_000) -> None:
        end_ms = self.at_ms + within_ms
        while not what():
            assert self.at_ms < end_ms, f"not after {within_ms} ms"
            self._pass()

    def wait(self, ms: int) -> None:
        end_ms = self.at_ms + ms
        self.until(lambda: self.at_ms >= end_ms, ms)

    def read(self, name: str) -> list[Verified]:
        """What came to this program, which is done with it."""
        found, self.heard[name] = self.heard[name], []
        for one in found:
            if one.header.kind is not Kind.ACTION:
                self.do(name, "handled", one.id)
        return found

    @property
    def lines(self) -> list[Line]:
        """Those that stand."""
        return list({id(line): line for line in self._lines.values()}.values())

    # -- how it is played ---------------------------------------------------------------------------------

    def _pass(self) -> None:
        """Every node that has anything to do now has a turn."""
        for name, node in self.nodes.items():
            due = [what for at_ms, what in self._due[name] if at_ms <= self.at_ms]
            self._due[name] = [each for each in self._due[name] if each[0] > self.at_ms]
            woken = node.wake_at_ms is not None and node.wake_at_ms <= self.at_ms
            if due or woken or self.at_ms % TICK_MS == 0:
                self._take(name, node.turn(self.at_ms, due))
        self.at_ms += _WAY_MS

    def _take(self, name: str, turn: Turn) -> None:
        if turn.at_ms % TICK_MS or any(turn[1:]):  # else it is the tick that every node has
            self.recording.turns.append((name, turn))
        for link, raw in turn.said:
            line = self._lines.get((name, link))
            peer, number = line.other(name) if line is not None else (STRANGER, 0)
            self.recording.frames.append((name, peer, raw))
            if line is not None:
                self._due[peer].append((self.at_ms + _WAY_MS, ["frame", number, raw]))
        self.heard[name] += self.nodes[name].delivered
        for link, _ in turn.ended:
            line = self._lines.pop((name, link), None)
            if line is not None:
                self._end(line.other(name))

    def _end(self, end: tuple[str, int]) -> None:
        if self._lines.pop(end, None) is not None:
            self._due[end[0]].append((self.at_ms + 2 * _WAY_MS, ["down", end[1]]))

    def _number(self, name: str) -> int:
        self._links[name] += 1
        return self._links[name]

    def opened(self, raw: bytes) -> Verified:
        """A message of somebody who takes part."""
        opened = open_envelope(raw, self._credentials, self.nodes["hq"].core.roots)
        assert isinstance(opened, Verified), opened
        return opened


def play() -> Recording:
    """The session that is recorded: from the first HELLO until the lower relay goes."""
    session = Session()
    _begin(session)
    _events(session)
    _actions(session)
    _later(session)
    _leave(session)
    return session.recording


def _begin(session: Session) -> None:
    """Everybody connects; a stranger does not get in."""
    session.do("hq", "policies", POLICIES)
    session.do("hq", "lists", LISTS[0])
    session.do("hq", "directory", DIRECTORY)
    session.wait(50)
    session.dial("plant", "hq")
    session.wait(300)
    for name, relay in (("zeek-1", "plant"), ("fw-1", "plant"), ("ann", "hq"), ("soar-1", "hq"), ("lead-1", "hq")):
        executes, keep_ms = name == "fw-1", DAY_MS if name == "ann" else 0
        session.do(name, "attach", T0, executes, list(MEMBERS[name].credential.grants.subscribe), keep_ms)
        session.dial(name, relay)
        session.wait(100)
    zeek = MEMBERS["zeek-1"].credential.raw
    hello = Hello(1, 1, FABRIC, Role.POINT, zeek, derive("session", STRANGER)[:16], derive("nonce")[:16], T0, 0, 0)
    session.knock("hq", encode_frame(hello._replace(version_min=2, version_max=9)))
    session.knock("plant", encode_frame(hello))  # the credential of another key
    session.knock("plant", encode_frame(Join(derive("join")[:16], "issuer-9", bytes(32), b"please")))
    session.wait(1_000)


def _events(session: Session) -> None:
    """Up, stripped for who reads; one too many; and two that wait for a reader that is away, one of them too long."""
    labels = {"user": Label.RED, "src_ip": Label.AMBER}
    records = [{"src_ip": "10.1.0.7", "user": "kim", "rule": "port scan"}]
    for n in range(12):
        session.publish("zeek-1", topic=f"detections.zeek.{n}", records=records, rules=labels, severity=Severity.HIGH)
    session.until(lambda: len(session.heard["ann"]) >= 10)
    session.wait(1_500)
    session.read("ann")
    session.publish("soar-1", kind=Kind.INTEL, topic="intel.ipv4.deny", records=[{"ipv4": "203.0.113.9"}])
    session.until(lambda: session.heard["fw-1"])
    session.read("fw-1")
    (line,) = [line for line in session.lines if "ann" in line]
    session.cut(line)
    session.wait(4_000)
    session.publish("zeek-1", topic="detections.zeek.late", ttl_ms=2_000)
    session.publish("zeek-1", topic="detections.zeek.kept")
    session.until(lambda: session.heard["zeek-1"])  # a notice
    session.read("zeek-1")
    session.dial("ann", "hq")
    session.until(lambda: session.heard["ann"])
    session.read("ann")
    session.wait(300)


def _actions(session: Session) -> None:
    """One that is held, approved, executed and answered; one that is denied."""
    for decision in (True, False):
        session.publish(
            "soar-1", kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall", severity=Severity.CRITICAL,
            records=[{"action": "deny", "target": {"ipv4_net": "203.0.113.9"}, "args": {}}], label=Label.RED,
        )
        session.until(lambda: session.heard["lead-1"])
        (question,) = session.read("lead-1")
        _decide(session, question, approves=decision)
        if decision:
            session.until(lambda: session.heard["fw-1"])
            (action,) = session.read("fw-1")
            session.publish(
                "fw-1", kind=Kind.RESULT, topic=action.header.topic, to=action.header.origin, correlation=action.leaf,
                records=[{"end": "completed", "targets": ["fw-1"], "by": "fw-1", "status": 200}], label=Label.RED,
                severity=Severity.CRITICAL, state=State.COMPLETED,
            )
        session.wait(1_500)
        for name in ("soar-1", "lead-1"):
            assert session.read(name)
    session.wait(300)


def _decide(session: Session, question: Verified, *, approves: bool) -> None:
    """As it was asked."""
    readings = read_records(question.header, question.envelope.parts)
    assert not isinstance(readings, Reject)
    said = readings[0].content
    action = session.opened(said["action"])
    hold = Hold(action, tuple(said["targets"]), said["held_at"])
    assert isinstance(POLICIES_READ, Policies)
    session.publish(
        "lead-1", kind=Kind.APPROVAL, topic=action.header.topic, correlation=action.leaf, severity=Severity.CRITICAL,
        records=[approval_record(hold, said["rule"], POLICIES_READ, approves=approves)], label=Label.RED,
    )


def _later(session: Session) -> None:
    """What relays and their authority say of themselves: audit heads, a newer list, what was not let do."""
    hash_ = NOTHING
    for each in LOG:
        hash_ = follow_digest(hash_, each)
    session.do("plant", "log", bytes(range(16)), len(LOG), hash_, 0, LOG)
    session.do("zeek-1", "deny", Code.PUBLISH_DENIED.number)
    session.do("hq", "lists", LISTS[1])
    session.wait(7_000)


def _leave(session: Session) -> None:
    session.do("plant", "drain")
    session.wait(500)
    for name in ("fw-1", "zeek-1"):
        session.do(name, "leave")
    session.wait(1_000)
