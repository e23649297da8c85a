"""An approver's side of approvals for tests: what a relay says to it, signed by hand, and a program that approves."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import structlog

from fabric.edge.approving.approver import Approver
from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.messages import messages_of
from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.composer import Composer
from fabric.edge.publishing.recipients import Recipients
from fabric.protocol.access.approvals import Hold
from fabric.protocol.core.ready import Delivery, Published, Ready
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.layout import redact
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.links import UPLINK
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.policies import Rule
from tests.approving import AUTHORITY, HOLD, LEADS, POLICIES, RULE
from tests.publishing import publishing
from tests.support import MINUTE_MS, Member, entropy, verified

RELAY = AUTHORITY.issue("hq", NodeKind.RELAY)
OTHER_RELAY = AUTHORITY.issue("mid", NodeKind.RELAY)
ME = LEADS[0]
NOW = HOLD.held_at_ms + MINUTE_MS


def asked(hold: Hold = HOLD, rule: Rule = RULE, **record: Any) -> dict[str, Any]:
    """The record with which a relay asks."""
    later = rule.escalation
    said = {
        "end": "approval", "action": hold.action.raw, "targets": list(hold.targets), "held_at": hold.held_at_ms,
        "within_ms": rule.within_ms, "rule": rule.name, "require": rule.require, "roles": list(rule.roles),
        "escalation": [] if later is None else [later.after_ms, list(later.roles), later.require],
        "policies": POLICIES.version, "policies_digest": POLICIES.digest.hex(), "approved_by": [], "by": "hq",
    } | record
    return {name: value for name, value in said.items() if value is not None}


def said(
    record: dict[str, Any], by: Member = RELAY, hold: Hold = HOLD, sequence: int = 0, **header: Any
) -> Verified:
    """A relay's result about this hold, to this approver."""
    about = hold.action.header
    fields = {
        "kind": Kind.RESULT, "topic": about.topic, "to": ME.id, "label": about.label,
        "severity": about.severity, "correlation": hold.action.leaf, "issued_at_ms": NOW, "sequence": sequence,
        "ttl_ms": 86_400_000,
    } | header
    return verified(by, records=[record], **fields)


def without_its_action(message: Verified) -> Verified:
    """As it comes to a reader whose clearance is below the action's."""
    may = message.header.label
    return message.with_parts_of(redact(message.envelope, message.header.manifest, lambda entry: entry.label <= may))


class Approving:
    """One program of an approver. Its relay has what it sends when it is told to."""

    def __init__(self, me: Member = ME) -> None:
        log = structlog.get_logger()
        self.me = me
        self.core = Point(me.credential, me.signer, AUTHORITY.key, b"approver".ljust(16), entropy("approver"))
        self.mailbox = Mailbox()
        composer = Composer(
            me.credential, self.core.signer, self.core.roots, entropy("approver"), self.core.time.to_sign
        )
        awaiting_keys = AwaitingKeys(self.core, Recipients(self.core, entropy("keys")))
        self.publisher = publishing(self.core, composer, awaiting_keys).publisher
        self.approver = Approver(self.core, self.mailbox, self.publisher, log)
        self.now_ms = NOW

    def turn(self) -> None:
        ready = Ready()
        self.mailbox.run(self.now_ms, ready)
        self.approver.look(self.now_ms)
        for delivered in ready.deliver:
            if isinstance(delivered, Published):
                self.publisher.published(delivered)

    def hear(self, message: Verified) -> bool:
        messages = messages_of(Delivery(message, 0, ()))
        assert isinstance(messages, list), messages
        taken = self.approver.take(message, messages, self.now_ms)
        self.turn()
        return taken

    def decide(self, request: Any, *, approves: bool = True, why: str = "", wait_ms: int = 5_000) -> Future[Any]:
        verdict = self.approver.decide(request, approves=approves, why=why, wait_ms=wait_ms)
        self.turn()
        return verdict

    @property
    def sent(self) -> list[Verified]:
        return [row.held.message for row in self.core.outboxes[UPLINK].rows()]

    @property
    def open(self) -> list[Any]:
        return list(self.approver.open)

    def close(self) -> None:
        self.mailbox.close()

