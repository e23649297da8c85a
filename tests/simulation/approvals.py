"""Approvals in a story: who asks for what, who approves it and how, and which policies are in force.

`ApprovalPromises` looks at each executor at the moment at which it begins an action. It knows what everybody signed,
and counts by itself; it asks no function that it checks.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from fabric.protocol.access.approvals import approval_record
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.core.ready import Delivered, Delivery
from fabric.protocol.envelope.header import Kind, decode_header
from fabric.protocol.envelope.layout import decode_envelope, leaf_of
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import ApproveGrant, Grants, RequestGrant
from fabric.protocol.trust.policies import Escalation, Rule, When, issue_policies, verify_policies
from fabric.protocol.vocabulary.openc2 import ActionClass
from fabric.protocol.vocabulary.severity import Severity
from tests.simulation.checkers import Broken
from tests.simulation.effects import EffectPromises
from tests.simulation.world import Observer, SimNode, World
from tests.support import FABRIC, SECOND_MS

MAY = (ApproveGrant("contain", "role=plc"), ApproveGrant("remediate", "role=plc"))
PLC = Grants(execute=("stop *", "set *", "locate *", "x-wipe *"))
# Who may decide: name, role, principal. `ann` has two keys; who asks is `kim`, and has somebody who approves for her.
APPROVERS = (
    ("lead-1", "ot-lead", "ann"), ("lead-2", "ot-lead", "bob"), ("lead-3", "ot-lead", "ann"),
    ("lead-4", "ot-lead", "dan"), ("lead-5", "ot-lead", "kim"), ("ciso-1", "ciso", "eve"), ("it-1", "it-lead", "max"),
)
TOPICS = ("stop.device", "stop.device", "stop.device", "x-wipe.device", "locate.device")
_WITHIN_MS = (6_000, 15_000, 30_000)
_TTL_MS = (8_000, 20_000)
# How an approver decides; most approve.
_WAYS = (*["approve"] * 9, "twice", "deny", "late", "late", "silent", "other targets", "other action", "other rule")
# A quorum is complete when its last approval is signed; its word takes so long at most where nothing is wrong.
_WORD_MS = 2_000
# How often, of times to talk, two ask for the same at once: by chance that hardly ever happens.
_OVERLAPS = 0.12


class Demand(NamedTuple):
    """A rule, as the checker knows it."""

    name: str
    topics: tuple[str, ...]
    severity: Severity
    require: int
    roles: tuple[str, ...]
    within_ms: int
    later: tuple[int, tuple[str, ...], int] | None  # after ms, roles, how many

    def rule(self, when: When) -> Rule:
        later = None if self.later is None else Escalation(*self.later)
        return Rule(self.name, when, self.require, self.roles, self.within_ms, later)


class Asked(NamedTuple):
    """What an approver was asked, as far as it signs it."""

    leaf: bytes
    topic: str
    severity: Severity
    targets: tuple[str, ...]
    held_at_ms: int
    rule: str
    version: int
    digest: bytes
    within_ms: int


class Said(NamedTuple):
    """What an approver signed, and when: by its own word, and in the world's time."""

    by: str
    asked: Asked
    approves: bool
    at_ms: int
    true_ms: int


@dataclass(frozen=True)
class _Policies:
    demands: tuple[Demand, ...]
    version: int
    digest: bytes
    raw: bytes

    def demand(self, topic: str, severity: Severity) -> Demand | None:
        """The most demanding that is about it: they are in this order."""
        return next((each for each in self.demands if topic in each.topics and severity >= each.severity), None)


class Approvals(Observer):
    """`cast` into a tree that stands, before anybody runs; `talk` now and then."""

    def __init__(self, world: World, seed: int, slack_ms: int) -> None:
        self.world = world
        self.chosen = random.Random(f"approvals {seed}")
        self.slack_ms = slack_ms
        self.versions: dict[int, _Policies] = {}
        self.changed_ms = 0
        self.plcs: list[str] = []
        self.requesters: list[str] = []
        self.people: dict[str, tuple[str, str]] = {name: (role, person) for name, role, person in APPROVERS}
        self.actions: list[Verified] = []
        self.cancelled: dict[bytes, None] = {}
        self._said: dict[bytes, list[Said]] = defaultdict(list)
        self._questions: dict[Asked, None] = {}
        self.over: dict[bytes, str] = {}  # what was held and not approved, as approvers heard
        self.approved: dict[bytes, None] = {}  # of which a requester heard so
        self._known: dict[bytes, Verified] = {}
        self._began: Counter[tuple[str, bytes]] = Counter()
        self._here_ms: dict[str, int] = {}  # since when an executor executes
        self._sequence = 0
        self.effects = EffectPromises(world)

    # -- who is there -----------------------------------------------------------------------------------

    def cast(self, relays: Sequence[str]) -> dict[str, list[str]]:
        """Requesters, approvers and executors; where each of them is."""
        chosen, world = self.chosen, self.world
        turn = chosen.choice(relays[1:4])
        at = {"ops-2": turn, "plc-0": "r", "plc-1": turn}
        at |= {name: chosen.choice(relays) for name in ("ops-1", "plc-2")}
        for name, scope in (("ops-1", ""), ("ops-2", turn)):
            grants = Grants(request=(RequestGrant("*", "role=plc", scope=scope),), approve=MAY)
            world.point(name, at[name], grants, tags={"role": "ot-lead"}, principal="kim")
            self.people[name] = "ot-lead", "kim"
            self.requesters.append(name)
        for n, (name, role, person) in enumerate(APPROVERS):
            at[name] = turn if n % 2 else chosen.choice(relays)
            world.point(name, at[name], Grants(approve=MAY), tags={"role": role}, principal=person)
        for name in ("plc-0", "plc-1", "plc-2"):
            world.point(name, at[name], PLC, tags={"role": "plc"})
            world.keep_ledger(name)
            self.plcs.append(name)
        first = self._issue()
        for node in world.nodes.values():  # as in everybody's folder
            found = verify_policies(first.raw, world.authority.key, FABRIC)
            assert node.core.trust.take_policies(found)  # type: ignore[arg-type]
        for name in [*self.requesters, *self.people]:
            world.attach(name)
        for name in self.plcs[:2]:
            self._comes(name)
        world.after(18_000 + chosen.randint(0, 25_000), lambda: self._comes("plc-2"))
        return {name: [relay] for name, relay in at.items()}

    def _comes(self, name: str) -> None:
        """From now on it executes: what was held before is not for it."""
        self._here_ms[name] = self.world.now_ms
        if self.world.nodes[name].alive:
            self.world.attach(name, executes=True)

    def _issue(self) -> _Policies:
        within_ms, version = self.chosen.choice(_WITHIN_MS), len(self.versions) + 1
        demands = (
            Demand("grave", ("stop.device",), Severity.CRITICAL, 3, ("ot-lead",), within_ms, None),
            Demand("stop", ("stop.device",), Severity.UNKNOWN, 2, ("ot-lead",), within_ms,
                   (within_ms // 3, ("ciso",), self.chosen.choice([1, 2]))),
            Demand("wipe", ("x-wipe.device",), Severity.UNKNOWN, 1, ("ot-lead", "ciso"), within_ms, None),
        )
        whens = (When("contain", severity=Severity.CRITICAL), When("contain", "", "role=plc"), When("remediate"))
        classes: dict[str, ActionClass] = {"x-wipe": "remediate"}
        rules = [demand.rule(when) for demand, when in zip(demands, whens, strict=True)]
        raw = issue_policies(FABRIC, version, self.world.now_ms, rules, classes, self.world.authority.signer)
        found = verify_policies(raw, self.world.authority.key, FABRIC)
        self.versions[version] = _Policies(demands, version, found.digest, raw)  # type: ignore[union-attr]
        return self.versions[version]

    def replace(self, keeper: str) -> None:
        """The authority issues policies anew: what is held under the old ones is void."""
        if self.world.nodes[keeper].alive:
            self.changed_ms = self.world.now_ms
            self.world.regulate(self._issue().raw, keeper)

    # -- what they do -----------------------------------------------------------------------------------

    def talk(self) -> None:
        chosen = self.chosen
        requester = chosen.choice(self.requesters)
        if chosen.random() < 0.5 and self.world.nodes[requester].alive:
            topic, device = chosen.choice(TOPICS), chosen.choice(["p", "q"])
            args: dict[str, Any] = {}
            if topic == "stop.device":
                if device == "q" or chosen.random() < 0.5:
                    args = {"duration": chosen.choice([1_000, 5_000, 20_000])}
                args["how"] = chosen.choice(["all", "some"])
            to = chosen.choice(["role=plc", "role=plc", "id=plc-0", "id in (plc-1, plc-2)"])
            action = self._ask(requester, topic, device, args, to)
            if chosen.random() < 0.15:
                self.world.after(chosen.randint(0, 20_000), lambda: self._cancel(requester, action))
        if chosen.random() < _OVERLAPS:
            self._overlap()

    def _overlap(self) -> None:
        """Two want the same of one device for different times, and nobody has to approve it; often one is released."""
        chosen, lasts = self.chosen, [3_000, 20_000]
        chosen.shuffle(lasts)
        released = chosen.choice([*self.requesters, ""])
        for requester, duration_ms in zip(self.requesters, lasts, strict=True):
            if not self.world.nodes[requester].alive:
                continue
            args = {"duration": duration_ms, "how": chosen.choice(["all", "all", "some"])}
            action = self._ask(requester, "set.device", "valve", args, "id=plc-1")
            if requester == released:
                self.world.after(chosen.randint(500, 10_000), partial(self._cancel, requester, action))

    def _ask(self, requester: str, topic: str, device: str, args: dict[str, Any], to: str) -> Verified:
        chosen = self.chosen
        self._sequence += 1
        action = self.world.publish(
            requester, kind=Kind.ACTION, topic=topic, to=to, ttl_ms=chosen.choice(_TTL_MS),
            severity=chosen.choice([Severity.HIGH, Severity.HIGH, Severity.CRITICAL]), sequence=self._sequence,
            records=[{"action": topic.partition(".")[0], "target": {"device": {"hostname": device}}, "args": args}],
        )
        self.actions.append(action)
        self.effects.asked(action, device, args)
        return action

    def _cancel(self, requester: str, action: Verified) -> None:
        if self.world.nodes[requester].alive:
            self.cancelled[action.leaf] = None
            self.effects.cancelled(action)
            self._sequence += 1
            self.world.publish(
                requester, kind=Kind.ACTION, topic="cancel.command", to=action.header.to, ttl_ms=20_000,
                severity=Severity.HIGH, sequence=self._sequence, correlation=action.leaf,
                records=[{"action": "cancel", "target": {"command": action.id.hex()}, "args": {}}],
            )

    def told(self, node: SimNode, delivered: Delivered) -> None:
        if not isinstance(delivered, Delivery) or delivered.message.header.kind is not Kind.RESULT:
            return
        message = delivered.message
        if node.name not in self.people:
            return
        for reading in read_records(message.header, message.envelope.parts):  # type: ignore[union-attr]
            said = reading.content
            if said.get("end") == "approval" and not reading.withheld:
                self._is_asked(node.name, _asked(said))
            elif said.get("end") == "over" and said["outcome"] != "approved":
                self.over[message.header.correlation] = said["outcome"]
            elif said.get("end") == "approved" and message.header.to in self.requesters:
                self.approved[message.header.correlation] = None

    def _is_asked(self, name: str, asked: Asked) -> None:
        chosen = self.chosen
        self._questions[asked] = None
        how = "approve" if self.people[name][1] == "kim" else chosen.choice(_WAYS)
        after_ms = chosen.randint(50, asked.within_ms)
        if how == "late":
            after_ms = asked.within_ms + SKEW_MS + chosen.randint(2_000, 5_000)
        if how != "silent":
            self.world.after(after_ms, lambda: self._decide(name, asked, how))
        if how == "twice":
            self.world.after(after_ms + chosen.randint(0, 3_000), lambda: self._decide(name, asked, how))

    def _decide(self, name: str, asked: Asked, how: str) -> None:
        node = self.world.nodes[name]
        if not node.alive:
            return
        self._sequence += 1
        signed = asked
        if how == "other targets":
            signed = asked._replace(targets=(*asked.targets, "plc-9"))
        elif how == "other rule":
            signed = asked._replace(rule="wipe" if asked.rule != "wipe" else "stop")
        elif how == "other action" and self.actions:
            signed = asked._replace(leaf=self.chosen.choice(self.actions).leaf)
        message = self.world.publish(
            name, kind=Kind.APPROVAL, topic=asked.topic, correlation=signed.leaf, severity=asked.severity,
            ttl_ms=max(10 * SECOND_MS, asked.within_ms), sequence=self._sequence,
            records=[approval_record(signed, signed.rule, signed, approves=how != "deny")],
        )
        said = Said(name, signed, how != "deny", message.header.issued_at_ms, self.world.now_ms)
        self._said[signed.leaf].append(said)

    # -- what must be true ------------------------------------------------------------------------------

    def published(self, node: SimNode, message: Verified) -> None:
        if message.header.kind is Kind.ACTION and node.name in self.requesters:
            self._known[message.leaf] = message

    def began(self, node: SimNode, action: Verified) -> None:
        """At most once, as it was signed, for whom it was for, and with a quorum of the policies that this node has."""
        what = f"{node.name} began {action.header.topic} of {action.header.origin}"
        known = self._known.get(action.leaf)
        if known is None:
            if node.name in self.plcs:
                raise Broken(f"{what}, which nobody asked for")
        elif action.envelope.header != known.envelope.header or action.envelope.parts != known.envelope.parts:
            raise Broken(f"{what}, and something else was signed")
        self._began[node.name, action.leaf] += 1
        if self._began[node.name, action.leaf] > 1:
            raise Broken(f"{what} twice")
        if action.leaf in self.over:
            raise Broken(f"{what}, of which was said that it was {self.over[action.leaf]}")
        policies = self.versions[node.core.trust.policies.version]
        demand = policies.demand(action.header.topic, action.header.severity) if known is not None else None
        if demand is None:
            return
        revoked = node.core.trust.revocations.check
        said = [each for each in self._as_asked(action) if revoked(self._credential(each.by)) is None]
        why = "nobody approved it"
        for count in _holds(said, policies, demand):
            why = self._why_not(node.name, action, demand, count)
            if not why:
                return
        raise Broken(f"{what}: {why}")

    def _as_asked(self, action: Verified) -> list[Said]:
        """What was said to what somebody was asked: an edited answer may be the right one to another question."""
        return [each for each in self._said[action.leaf] if each.asked in self._questions]

    def _credential(self, name: str) -> Any:
        return self.world.nodes[name].member.credential

    def _why_not(self, target: str, action: Verified, demand: Demand, said: list[Said]) -> str:
        """Why these, who all said yes to the same, are no quorum for it, now; empty: they are."""
        asked = said[0].asked
        if target not in asked.targets or self._here_ms[target] > asked.held_at_ms + SKEW_MS:
            return f"it was approved for {asked.targets}"
        in_time = [
            each for each in said if -SKEW_MS <= each.at_ms - asked.held_at_ms <= demand.within_ms + SKEW_MS
        ]
        found = self.quorum(in_time, demand, action.header.origin)
        if not found:
            return f"{[each.by for each in in_time]} are no quorum of {demand.name}, {len(said)} said yes"
        late_ms = self.world.now_ms - max(each.true_ms for each in in_time) - action.header.ttl_ms
        return f"{late_ms} ms after its time" if late_ms > SKEW_MS + self.slack_ms else ""

    def quorum(self, said: Iterable[Said], demand: Demand, requester: str) -> bool:
        """Whether enough people, none of them who asked, of roles that are asked, are among these."""
        mine, (after_ms, later_roles, require) = self.people[requester][1], demand.later or (0, (), 0)
        asked: dict[str, None] = {}
        later: dict[str, None] = {}
        for each in said:
            role, person = self.people[each.by]
            if person == mine:
                continue
            if role in demand.roles:
                asked[person] = None
            elif role in later_roles and each.at_ms - each.asked.held_at_ms >= after_ms:
                later[person] = None
        return len(asked) >= demand.require or (bool(later) and len({**asked, **later}) >= require)

    # -- when faults have stopped -----------------------------------------------------------------------

    def missed(self) -> list[str]:
        """Where nothing was wrong: what had its quorum in time is approved, and was begun wherever it was for."""
        found = []
        for action in self.actions:
            said = self._as_asked(action)
            policies = self.versions[said[0].asked.version] if said else None
            demand = policies and policies.demand(action.header.topic, action.header.severity)
            if policies is None or demand is None or action.leaf in self.cancelled or len(self.versions) > 1:
                continue
            for yes in _holds(said, policies, demand):
                targets, complete_ms = yes[0].asked.targets, self._complete_ms(yes, demand, action.header.origin)
                no = [each.true_ms for each in said if not each.approves]
                if complete_ms is None or any(ms <= complete_ms + _WORD_MS for ms in no):
                    continue
                if action.leaf not in self.approved:
                    found.append(f"{demand.name} had its quorum, and {action.header.origin} did not hear of it")
                missing = [name for name in targets if not self._began[name, action.leaf]]
                if missing:
                    found.append(f"{demand.name} was approved, and not begun at {missing}")
        return found

    def _complete_ms(self, said: list[Said], demand: Demand, requester: str) -> int | None:
        ordered = sorted(said, key=lambda each: each.at_ms)
        for n, each in enumerate(ordered, 1):
            if self.quorum(ordered[:n], demand, requester):
                in_time = each.at_ms - each.asked.held_at_ms <= demand.within_ms - _WORD_MS
                return each.true_ms if in_time else None
        return None


def _holds(said: Iterable[Said], policies: _Policies, demand: Demand) -> list[list[Said]]:
    """Those who said yes by this rule of these policies, by what they said it to."""
    by_hold: dict[tuple[object, ...], list[Said]] = {}
    for each in said:
        asked = each.asked
        by_it = (asked.version, asked.digest, asked.rule) == (policies.version, policies.digest, demand.name)
        if each.approves and by_it:
            by_hold.setdefault((tuple(sorted(asked.targets)), asked.held_at_ms), []).append(each)
    return list(by_hold.values())


def _asked(said: dict[str, Any]) -> Asked:
    envelope = decode_envelope(said["action"])
    header = decode_header(envelope.header)  # type: ignore[union-attr]
    return Asked(
        leaf_of(envelope.header), header.topic, header.severity, tuple(said["targets"]),  # type: ignore[union-attr]
        said["held_at"], said["rule"], said["policies"], bytes.fromhex(said["policies_digest"]), said["within_ms"],
    )
