"""A relay whose program somebody changed. Its keys and all the rest of it are the real ones; it runs in a process of
its own, started by a test: `program=turned.PROGRAM`, with the relay's folder, a journal and a file of what it kept.

What it does with an action that comes by is the first part of the action's target, e.g. `strip` of `strip.example`. The
journal has a line for each frame that it forged (`to`, and the message's `id` in hex), and for each answer (`code`,
empty where it was taken).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fabric.audit.keeper import Keeper
from fabric.edge.identity.identity import Identity, load_identity
from fabric.protocol.access.approvals import Hold, approval_record
from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import HEAD_MS_MIN
from fabric.protocol.core.ready import LogGrown, Ready
from fabric.protocol.envelope.header import Header, Kind, encode_header
from fabric.protocol.envelope.layout import Approved, decode_envelope, encode_envelope, leaf_of, seal
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.reports import action_report
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.transfer import Transfer
from fabric.protocol.relay.actions.approving import Approving
from fabric.protocol.relay.actions.dispatch import Dispatch
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.policies import Rule
from fabric.protocol.vocabulary.severity import Lane, Severity
from fabric.protocol.wire.frames import Data, Direction, Intro, Item, Rules
from relays import run
from relays.process.loop import RelayLoop
from tests.integration.intruder import header_of

PROGRAM = "from tests.integration.turned import main; main()"
HERE, BELOW = ("fw-m",), ("fw-l",)
ELSEWHERE = ("other-m", "other-l")


def deed_of(action: Verified) -> str:
    (reading,) = read_records(action.header, action.envelope.parts)
    target = reading.content["target"]
    return str(target.get("domain_name", "")).partition(".")[0]


class Turned:
    """What it does instead, by where the production would have done something else."""

    def __init__(self, identity: Identity, journal: Path, kept: Path) -> None:
        self._me = identity
        self._journal = journal
        self._kept = kept
        self._holds: dict[bytes, tuple[Hold, str, list[Verified]]] = {}  # with what was said of each
        self._earlier: Sequence[tuple[bytes, bytes]] = ()  # approvals of something that was executed
        self._again: list[Verified] = []  # what it has seen executed, and sends whoever comes
        self._withheld: dict[bytes, Verified] = {}
        self._sent: dict[bytes, str] = {}
        self._waits: dict[bytes, bytes] = {}  # of these, what goes out when its cancelling has arrived
        self._due: list[bytes] = []
        self._session = b""  # of the executor here
        self.rewrites = False  # its log, when its parent has had a head of it for long enough to take another
        self.rewrites_at_ms = 0
        self.now_ms = 0

    def runs(self, loop: RelayLoop) -> None:
        self.core = loop.core
        self._first_policies = self.core.trust.policies.raw

    # -- what it says -----------------------------------------------------------------------------------

    def note(self, **said: Any) -> None:
        with self._journal.open("a") as journal:
            journal.write(json.dumps(said) + "\n")

    def push(
        self, deed: str, targets: Sequence[str], raw: bytes, ready: Ready, *credentials: bytes, age_ms: int = 0
    ) -> None:
        """To whoever leads to these, past everything that asks whether it may go."""
        ways: dict[str, list[str]] = {}
        for target in targets:
            executor = self.core.roster.executor(target, self.now_ms)
            ways.setdefault(self.core.routes.via(executor) if executor else "", []).append(target)
        for way, below in ways.items():
            self.say(deed, way, Item(Direction.DOWN, age_ms, [], below, raw), ready, *credentials)

    def say(self, deed: str, way: str, item: Item, ready: Ready, *credentials: bytes) -> None:
        link = self.core.by_destination[way]
        id_ = leaf_of(decode_envelope(item.envelope).header)[:16]
        self._sent[id_] = deed
        if credentials:
            self.core.send(link, Intro(list(credentials)), ready)
        self.core.send(link, Data(Lane.HIGH, self.now_ms, [item]), ready)
        self.note(deed=deed, id=id_.hex(), to=link.peer.id)

    def heard(self, peer: str, id_: bytes, code: str) -> None:
        if id_ in self._sent:
            self.note(deed=self._sent[id_], id=id_.hex(), by=peer, code=code)
        if peer in HERE and id_ in self._waits:
            self._due.append(self._waits.pop(id_))

    def signed(self, record: dict[str, Any], as_: Credential | None = None, **fields: Any) -> bytes:
        """By its own key; `as_`: in the name of another."""
        whose = as_ or self._me.credential
        header, parts = header_of(self._me, record, **({"origin": whose.id} | fields))
        return seal([(header, parts)], whose.digest, self._me.signer)[0]

    def who(self, id_: str) -> Credential:
        known = self.core.trust.credentials
        return next(each for each in known.values() if each.id == id_)

    # -- where actions are held -------------------------------------------------------------------------

    def held(self, action: Verified, targets: tuple[str, ...], rule: str, ready: Ready) -> None:
        """It is to wait for two approvals."""
        hold = self.core.approving._held[action.leaf].hold
        self._holds[action.leaf] = hold, rule, []
        match deed := deed_of(action):
            case "unapproved":
                self.push(deed, targets, action.raw, ready, action.credential.raw)
            case "own":
                mine = (self._me.credential.raw, self._approval(hold, rule, None))
                self._release(hold, [mine, mine], deed, ready)
            case "forged":
                leads = [self.who(id_) for id_ in ("lead-1", "lead-2")]
                self._release(hold, [(lead.raw, self._approval(hold, rule, lead)) for lead in leads], deed, ready)
            case "swapped":
                self._release(hold, self._earlier, deed, ready)

    def _approval(self, hold: Hold, rule: str, as_: Credential | None) -> bytes:
        header = hold.action.header
        record = approval_record(hold, rule, self.core.trust.policies, approves=True)
        return self.signed(
            record, as_, kind=Kind.APPROVAL, topic=header.topic, correlation=hold.action.leaf, label=header.label,
            audience=header.audience, ttl_ms=60_000,
        )

    def _release(
        self, hold: Hold, approvals: Sequence[tuple[bytes, bytes]], deed: str, ready: Ready,
        at_ms: int = 0,
    ) -> None:
        approved = Approved(at_ms or hold.held_at_ms, hold.held_at_ms, hold.targets, tuple(approvals))
        action = hold.action
        self.push(deed, hold.targets, action.with_approvals(approved).raw, ready, action.credential.raw)

    def approved(self, message: Verified, ready: Ready) -> None:
        """An approver has said something of it."""
        hold, _, said = self._holds[message.header.correlation]
        said.append(message)
        deed, carried = deed_of(hold.action), [(each.credential.raw, each.raw) for each in said]
        at_ms = max(each.header.issued_at_ms for each in said)
        match deed, len(said):
            case "one", 1:
                self._release(hold, carried, deed, ready, at_ms)
            case "twice", 1:
                self._release(hold, carried * 2, deed, ready, at_ms)
            case "principal", 2:
                self._release(hold, carried, deed, ready, at_ms)
            case "denied", 2:
                self._release(hold, carried, deed, ready, at_ms)
            case "yes-of-no", 2:
                yes, no = (decode_envelope(raw) for _, raw in carried)
                turned = encode_envelope(no._replace(parts=yes.parts))
                self._release(hold, [carried[0], (carried[1][0], turned)], deed, ready, at_ms)

    # -- where actions go on ----------------------------------------------------------------------------

    def hands_out(self, action: Verified, targets: Sequence[str], ready: Ready) -> bool:
        """Whether it did something else."""
        deed, envelope, approved = deed_of(action), action.envelope, action.envelope.approved
        requester = action.credential.raw

        def forge(raw: bytes, to: Sequence[str] = targets, **more: Any) -> bool:
            self.push(deed, to, raw, ready, requester, **more)
            return True

        match deed:
            case "honest":
                self._earlier = approved.approvals if approved else ()
                self._again.append(action)
                return False
            case "replay":
                self._again.append(action)
                return False
            case "strip":
                return forge(encode_envelope(envelope._replace(approved=None)))
            case "wider":
                wider = approved._replace(targets=(*approved.targets, *ELSEWHERE))
                return forge(action.with_approvals(wider).raw, (*targets, *ELSEWHERE))
            case "elsewhere":
                return forge(action.raw, (*BELOW, *ELSEWHERE))
            case "arguments":
                part = envelope.parts[0]
                return forge(encode_envelope(envelope._replace(parts=(part[:-1] + bytes([part[-1] ^ 1]),))))
            case "selector":
                header = encode_header(replace(action.header, to="all"))
                return forge(encode_envelope(envelope._replace(header=header)), (*targets, *ELSEWHERE))
            case "late":
                return forge(self._kept.read_bytes())
            case "older":
                for link in self.core.by_destination.values():
                    if link.destination != UPLINK:
                        self.core.send(link, Rules(self._first_policies), ready)
                return forge(encode_envelope(envelope._replace(approved=None)))
            case "mine":
                return self._command(action, targets, deed, ready)
            case "ended" | "claimed":
                return self._say_it_ended(action, deed, ready)
            case "withheld":
                self._withheld[action.leaf] = action
                self.note(deed=deed, leaf=action.leaf.hex())
                return True
            case "log":
                self.rewrites = True
                return True
        if late := self._withheld.get(action.header.correlation):  # what it withholds is being cancelled
            self._waits[action.id] = late.leaf
        return False

    def _command(self, action: Verified, targets: Sequence[str], deed: str, ready: Ready) -> bool:
        """An action of its own, and one in the name of who may."""
        record = {"action": "deny", "target": {"domain_name": "mine.example"}, "args": {}}
        for as_ in (None, action.credential):
            raw = self.signed(
                record, as_, kind=Kind.ACTION, topic="deny.domain_name", to="role=wall", severity=Severity.HIGH
            )
            self.push(deed, targets, raw, ready, self._me.credential.raw, action.credential.raw)
        return True

    def _say_it_ended(self, action: Verified, deed: str, ready: Ready) -> bool:
        """It never was at its target. Said upwards of what turned above, and downwards of what turned here."""
        climbs = not self.core.dispatch.turned(action)
        way = UPLINK if climbs else self._way_to(action.header.origin)
        direction = Direction.UP if climbs else Direction.DOWN
        target = self.who("fw-m")
        lies = [("fw-m", "completed", None), ("fw-m", "running", None), ("fw-m", "completed", target)]
        if climbs:
            lies.append(("other-m", "refused", None))
        for name, end, as_ in lies:
            record = {"end": end, "targets": [name], "by": name, "status": 200}
            report = action_report(action, action.header.origin, end, self._me.credential)
            self._report(deed, report, record, as_, way, direction, ready)
        if climbs:
            record = {
                "end": "resolved", "action": action.leaf.hex(), "about": "deny domain_name", "class": "contain",
                "requester": action.header.origin, "issued_at": action.header.issued_at_ms, "outcome": "completed",
                "revision": 1, "targets": {"completed": ["fw-m"]}, "by": "hq",
            }
            report = action_report(action, action.header.origin, "resolved", self._me.credential)
            self._report(deed, report, record, None, way, direction, ready)
            event = replace(report, kind=Kind.EVENT, topic=f"resolutions.{report.topic}", to="", correlation=b"")
            self._report(deed, event, record, None, way, direction, ready)
        return True

    def _way_to(self, id_: str) -> str:
        return next(way for way, _ in self.core.router.down_to(id_))

    def _report(
        self, deed: str, header: Header, record: dict[str, Any], as_: Credential | None, way: str,
        direction: Direction, ready: Ready,
    ) -> None:
        said = {name: getattr(header, name) for name in _REPORTED}
        raw = self.signed(record, as_, **said)
        credentials = [self._me.credential.raw, *([as_.raw] if as_ else ())]
        self.say(deed, way, Item(direction, 0, [], [], raw), ready, *credentials)

    # -- and later --------------------------------------------------------------------------------------

    def turn(self, ready: Ready) -> None:
        """What was cancelled goes out after all; and whoever begins anew gets again what was executed before."""
        due, self._due = self._due, []
        for leaf in due:
            action = self._withheld[leaf]
            self.push("withheld", HERE, action.raw, ready, action.credential.raw)
        executor = self.core.roster.executor("fw-m", self.now_ms)
        if executor is None or executor.session == self._session:
            return
        began_anew, self._session = bool(self._session), executor.session
        for action in self._again if began_anew else ():
            self.push("again", (*HERE, *BELOW, *ELSEWHERE), action.raw, ready, action.credential.raw)


_REPORTED = ("kind", "topic", "to", "correlation", "label", "audience", "severity", "phase", "ttl_ms", "state")


def change(me: Turned) -> None:
    """Of the program that this process is about to run."""
    hold, heard, hand_out = Approving.hold, Approving.heard, Dispatch.hand_out
    refused, acknowledged = Transfer.refused, Transfer.acknowledged
    open_, turn, grown = RelayLoop._open, RelayLoop._turn, Keeper.grown

    def holding(self: Approving, action: Verified, targets: Any, rule: Rule, now_ms: int, ready: Ready) -> None:
        hold(self, action, targets, rule, now_ms, ready)
        me.held(action, tuple(targets), rule.name, ready)

    def hearing(self: Approving, message: Verified, age_ms: int, now_ms: int, ready: Ready) -> None:
        heard(self, message, age_ms, now_ms, ready)
        me.approved(message, ready)

    def handing(
        self: Dispatch, action: Verified, item: Item, targets: Any, now_ms: int, ready: Ready, **more: Any
    ) -> None:
        if not me.hands_out(action, tuple(targets), ready):
            hand_out(self, action, item, targets, now_ms, ready, **more)

    def refusing(self: Transfer, link: Link, id_: bytes, reason: Reject, now_ms: int, ready: Ready) -> None:
        me.heard(link.peer.id, id_, reason.code.label)
        refused(self, link, id_, reason, now_ms, ready)

    def acknowledging(self: Transfer, link: Link, ids: Sequence[bytes], now_ms: int, ready: Ready) -> None:
        for id_ in ids:
            me.heard(link.peer.id, id_, "")
        acknowledged(self, link, ids, now_ms, ready)

    def opening(self: RelayLoop) -> None:
        open_(self)
        me.runs(self)

    def turning(self: RelayLoop, ended: Any, waiting: Any, now_ms: int) -> Ready:
        me.now_ms = now_ms
        ready = turn(self, ended, waiting, now_ms)
        me.turn(ready)
        return ready

    def growing(self: Keeper, known_above: int | None, now_ms: int, *, at_once: bool = False) -> LogGrown | None:
        if not (me.rewrites and known_above):
            return grown(self, known_above, now_ms, at_once=at_once or me.rewrites)
        me.rewrites_at_ms = me.rewrites_at_ms or now_ms + HEAD_MS_MIN + 100
        if now_ms < me.rewrites_at_ms:
            return None
        assert self.log is not None
        me.rewrites = False
        # The entries that its parent knows are others by now, and the chain is whole again.
        return LogGrown(self.log.log_id, known_above, bytes(32), 0, (bytes(32),) * known_above)

    Approving.hold, Approving.heard, Dispatch.hand_out = holding, hearing, handing
    Transfer.refused, Transfer.acknowledged = refusing, acknowledging
    RelayLoop._open, RelayLoop._turn, Keeper.grown = opening, turning, growing


def main() -> None:
    folder, journal, kept = map(Path, sys.argv[1:4])
    change(Turned(load_identity(folder), journal, kept))
    sys.exit(run.main([str(folder)]))
