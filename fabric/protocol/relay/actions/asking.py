"""Who is asked to approve an action that is held (SPEC 9.7), and what those are told of it.

Guarantees: whoever may decide is asked once in each of its sessions, and hears how it went on; who may not see all of
an action is shown none of it. Where approvers do not read, nobody is asked until they do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fabric.protocol.access.approvals import Approval, principal_of
from fabric.protocol.base.errors import Reject
from fabric.protocol.core.ready import Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.reports import Report, action_report
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.relay.actions.held_action import HeldAction
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Credential, NodeKind
from fabric.protocol.trust.policies import Rule
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.openc2 import split_topic
from fabric.protocol.vocabulary.severity import Lane, lane_of
from fabric.protocol.wire.frames import Direction, Item


class Asking:
    """`has_room`: whether so much of a lane is free that somebody may be asked. `count` takes what, and the reason."""

    def __init__(
        self, signer: ReportSigner, trust: TrustStore, time: Timekeeper, routes: RouteTable, messages: MessagePort,
        has_room: Callable[[Lane, int], bool], count: Callable[[str, str], None],
    ) -> None:
        self._signer = signer
        self._trust = trust
        self._time = time
        self._routes = routes
        self._messages = messages
        self._has_room = has_room
        self._count = count
        # Of each action that is held: approver -> its sessions that were asked. What it is asked goes to all of them,
        # also where only one is new.
        self._asked: dict[bytes, dict[str, frozenset[bytes]]] = {}

    def __len__(self) -> int:
        """Of how many actions it is known who was asked: those that are held."""
        return len(self._asked)

    def approvers(self) -> dict[str, tuple[Credential, frozenset[bytes]]]:
        """Whoever is below and may approve anything, with its sessions. Few of all who are below."""
        found: dict[str, tuple[Credential, frozenset[bytes]]] = {}
        for attachment in self._routes.all():
            node = attachment.credential
            if node.grants.approve and node.kind is not NodeKind.RELAY and self._routes.via(attachment):
                _, sessions = found.get(node.id, (node, frozenset[bytes]()))
                found[node.id] = node, sessions | {attachment.session}
        return found

    def ask(
        self, held: HeldAction, rule: Rule, approvers: Mapping[str, tuple[Credential, frozenset[bytes]]], now_ms: int,
        ready: Ready,
    ) -> int:
        """Whoever of them may decide, and has a session in which it was not asked. How many these are."""
        count, action = 0, held.hold.action
        asked = self._asked.setdefault(action.leaf, {})
        lane = lane_of(Kind.RESULT.word, action.header.severity, action.header.phase)
        since_ms = self._time.now(now_ms) - held.hold.held_at_ms
        later = rule.escalation
        roles = {*rule.roles, *(later.roles if later is not None and since_ms >= later.after_ms else ())}
        class_ = self._trust.policies.class_of(split_topic(held.hold.action.header.topic)[0])
        for node, sessions in approvers.values():
            may = any(grant.class_ == class_ for grant in node.grants.approve) and dict(node.tags).get("role") in roles
            if not may or node.id == held.hold.action.header.origin:
                continue
            is_new = not sessions <= asked.get(node.id, frozenset())
            if is_new and not self._has_room(lane, len(action.raw)):
                break  # approvers that do not read stop nobody's messages: the next look asks
            asked[node.id] = sessions
            if is_new:
                count += 1
                self.tell(held.hold.action, node.id, self._question(held, rule), now_ms, ready, whole=True)
        return count

    def _question(self, held: HeldAction, rule: Rule) -> dict[str, Any]:
        later, policies = rule.escalation, self._trust.policies
        return {
            "end": "approval", "action": held.hold.action.raw, "targets": list(held.hold.targets),
            "held_at": held.hold.held_at_ms, "within_ms": rule.within_ms, "rule": rule.name, "require": rule.require,
            "roles": list(rule.roles), "policies": policies.version, "policies_digest": policies.digest.hex(),
            "escalation": [] if later is None else [later.after_ms, list(later.roles), later.require],
            "approved_by": self._approved_by(held),
        }

    def answer(
        self, held: HeldAction, rule: Rule, message: Verified, said: Approval | Reject, now_ms: int, ready: Ready
    ) -> None:
        """Tell an approver whether its word counts."""
        record: dict[str, Any] = {
            "end": "counted", "approval": message.leaf.hex(), "approved_by": self._approved_by(held),
            "require": rule.require,
        }
        if isinstance(said, Reject):
            record |= {"end": "not counted", "code": said.code.label, "reason": f"{said.code.reason}: {said.detail}"}
            self._count("refused", said.code.reason)
        self.tell(held.hold.action, message.header.origin, record, now_ms, ready)

    def _approved_by(self, held: HeldAction) -> list[str]:
        return sorted({principal_of(each.credential) for each in held.approvals.values()})

    def over(self, held: HeldAction, outcome: str, now_ms: int, ready: Ready) -> None:
        """Tell those who were asked that nobody is asked any more, and why."""
        for approver in self._asked.pop(held.hold.action.leaf, ()):
            self.tell(held.hold.action, approver, {"end": "over", "outcome": outcome}, now_ms, ready)

    def tell(
        self, action: Verified, to: str, record: Mapping[str, Any], now_ms: int, ready: Ready, *, whole: bool = False
    ) -> None:
        """Tell one of them, or its requester. `whole`: the action is in it, for those only who may see all of it."""
        me = self._signer.me
        header = action_report(action, to, str(record["end"]), me)
        highest = max([action.header.label, *(entry.label for entry in action.header.manifest)])
        report = Report(header, {**record, "by": me.id}, {"action": highest} if whole else {})
        said = self._signer.sign(report, now_ms)
        self._messages.route(said, Item(Direction.UP, 0, [], [], said.raw), now_ms, ready)
