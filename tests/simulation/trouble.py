"""A story: a tree with backups everywhere, some minutes of trouble from a seed, and then quiet.

Events, intel, actions and results are on their way while relays and control points crash, move and come back, while
connections break, and disks and clocks fail. `Promises` looks at every step; `wrong` says what is not as it must be
once the trouble is over.
"""

from __future__ import annotations

import random
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.custody.sessions import node_of
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, PublishGrant, RequestGrant
from fabric.protocol.vocabulary.severity import Lane, Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.simulation.approvals import Approvals
from tests.simulation.checkers import Broken, Promises
from tests.simulation.faults import ALWAYS, FAULTS, HARMLESS, LATER, LIES, NOW_AND_THEN, ONCE, SELDOM, UNCERTAIN
from tests.simulation.signatures import remembered
from tests.simulation.traces import Trace
from tests.simulation.world import NO_ENDS, World
from tests.support import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

SENSOR = Grants(publish=(PublishGrant("detections.>"), PublishGrant("intel.>")))
READER = Grants(subscribe=("detections.>", "intel.>"))
FIREWALL = Grants(execute=("deny ipv4_net",), subscribe=("intel.>",))
SOAR = Grants(request=(RequestGrant("deny *", "role=firewall"),))
# How long it may take until all has come to its end, and how often that is looked at.
QUIET_MS = 5 * MINUTE_MS
LOOK_MS = 5 * SECOND_MS
# What nobody can measure: the usual time on a way, and turns of a quarter second.
_SLACK_MS = 1_500


@dataclass
class Trouble:
    seed: int
    size: int = 10
    minutes: float = 1.0
    faults: Sequence[str] = FAULTS
    quiet_ms: int = QUIET_MS
    relays: list[str] = field(default_factory=list)
    walls: list[str] = field(default_factory=list)
    sensors: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    durable: list[str] = field(default_factory=list)
    parents: dict[str, list[str]] = field(default_factory=dict)
    starved: list[str] = field(default_factory=list)
    actions: list[Verified] = field(default_factory=list)
    executors: list[str] = field(default_factory=list)
    approvals: Approvals | None = None

    def __post_init__(self) -> None:
        self.chosen = random.Random(self.seed)
        self.world = World(self.seed, watch=False)
        self.world.network.ordered = True
        # A story with everything at once shows less than many with some of it each.
        self.mine = [
            name for name in self.faults
            if len(self.faults) == 1 or self.chosen.random() < (0.1 if name in SELDOM else 0.5)
            or (name in LATER and len(self.faults) <= len(LATER))  # what is asked for by name
        ]
        if "approvals" not in self.mine and "forge" in self.mine:
            self.mine.remove("forge")
        self.numbers = 0

    # -- a tree -----------------------------------------------------------------------------------------

    def build(self) -> None:
        chosen, world = self.chosen, self.world
        clearances = [Label.RED, Label.RED, Label.AMBER, Label.AMBER, Label.GREEN]
        world.relay("r")
        self.relays.append("r")
        for n in range(1, self.size):
            parent, dial = chosen.choice(self.relays[-4:]), chosen.choice(["parent", "parent", "child"])
            clearance = chosen.choice(clearances)
            world.relay(f"n{n}", parent, clearance, backups=self._backups(f"n{n}", parent), dial=dial)
            self.relays.append(f"n{n}")
        for n in range(3):
            for names, name, grants in (
                (self.walls, f"wall-{n}", FIREWALL), (self.sensors, f"sensor-{n}", SENSOR),
                (self.readers, f"reader-{n}", READER),
            ):
                relay = chosen.choice(self.relays)
                tags = {"role": "firewall"} if grants is FIREWALL else {}
                outbox = grants is SENSOR and n != 1
                world.point(name, relay, grants, tags=tags, backups=self._backups(name, relay), outbox=outbox)
                names.append(name)
                if outbox:
                    self.durable.append(name)
        self.parents["soar"] = [chosen.choice(self.relays)]
        world.point("soar", *self.parents["soar"], SOAR)
        readers = {"archive": "r", "desk": chosen.choice(self.relays)}
        for name, relay in readers.items():
            self.parents[name] = [relay]
            world.point(name, relay, READER, outbox=True)
            self.durable.append(name)
        slack_ms = _SLACK_MS + (SKEW_MS if UNCERTAIN.intersection(self.mine) else 0)
        if "approvals" in self.mine:
            self.approvals = Approvals(world, self.seed, slack_ms)
            self.parents |= self.approvals.cast(self.relays)
            world.observers += [self.approvals, self.approvals.effects]
            self.executors += self.approvals.plcs
        if "kills" in self.mine:
            for name in self.walls:
                world.keep_ledger(name)
            self.executors += self.walls
        if "clock" in self.mine:
            ALWAYS["clock"](self)  # before anybody looks at one: a clock does not jump under a node that runs
        for name in self.walls:
            world.attach(name, "intel.>", executes=True)
        for name in [*self.readers, *self.sensors, "soar"]:
            world.attach(name, *(["intel.>"] if name in self.readers else []))
        for name in readers:
            world.attach(name, "detections.>", keep_ms=7 * DAY_MS)
        self.promises = Promises(world, readers, "r", slack_ms)
        world.observers.append(self.promises)
        world.run(15_000)

    def _backups(self, name: str, parent: str) -> list[str]:
        others = [relay for relay in self.relays if relay != parent]
        backups = self.chosen.sample(others, min(len(others), self.chosen.randint(0, 2)))
        self.parents[name] = [parent, *backups]
        return backups

    # -- trouble ----------------------------------------------------------------------------------------

    def make(self) -> None:
        for name in self.mine:
            if name in ALWAYS and name != "clock":
                ALWAYS[name](self)
        sudden = [name for name in self.mine if name in NOW_AND_THEN]
        for name in self.mine:
            if name in ONCE:
                self.world.after(self.chosen.randint(0, 20_000), lambda name=name: ONCE[name](self))
        until_ms = self.world.now_ms + int(self.minutes * MINUTE_MS)
        while self.world.now_ms < until_ms:
            self._talk()
            if sudden and self.chosen.random() < 0.6:
                NOW_AND_THEN[self.chosen.choice(sudden)](self)
            self.world.run(self.chosen.randint(50, 3_000))

    def calm(self) -> None:
        """Nothing goes wrong any more. Whoever lies stops; whoever is doomed lives."""
        world = self.world
        world.run(30_000)  # what began ends by itself
        world.network.loss = world.network.copies = 0.0
        for node in world.nodes.values():
            node.lies = node.effects_left = None
            node.disk.full = False
            if node.executor is not None:
                node.executor.dies_at = ""
            if node.forges is not None:
                node.forges = None
                world.crash(node.name, SECOND_MS)  # somebody installs its program anew
        for name in world.revoked:
            if name in self.relays:
                world.switch_off(name)  # those at it do not hear of it otherwise: nobody above speaks with it
        deadline_ms = world.now_ms + self.quiet_ms
        while world.now_ms < deadline_ms:
            world.run(LOOK_MS)
            if not self.wrong():
                return

    def _talk(self) -> None:
        chosen = self.chosen
        if self.approvals is not None:
            self.approvals.talk()
        for _ in range(chosen.randint(0, 2)):
            severity = chosen.choice([Severity.LOW, Severity.MEDIUM, Severity.CRITICAL])
            self.publish(chosen.choice(self.sensors), severity=severity,
                         ttl_ms=chosen.choice([10_000, HOUR_MS, HOUR_MS]), label=chosen.choice(_ENVELOPES))
        if chosen.random() < 0.3:
            self.publish(chosen.choice(self.sensors), kind=Kind.INTEL, topic="intel.ipv4", ttl_ms=HOUR_MS)
        if chosen.random() < 0.25 and self.world.nodes["soar"].alive:
            self.actions.append(self.world.publish(
                "soar", kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall", severity=Severity.HIGH,
                label=chosen.choice([Label.CLEAR, Label.CLEAR, Label.AMBER]),
                rules={"args": Label.AMBER} if chosen.random() < 0.3 else {},
                records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {"for": "1h"}}],
                ttl_ms=20_000, sequence=len(self.actions),
            ))

    def publish(self, sensor: str, *, pad: bytes = b"", **fields: object) -> None:
        self.numbers += 1
        if self.world.nodes[sensor].alive:
            self.world.publish(
                sensor, records=[{"number": self.numbers, "rule": "scan", "user": "u7", "pad": pad}],
                rules={"rule": Label.GREEN, "user": Label.AMBER}, sequence=self.numbers,
                **{"label": Label.CLEAR, **fields},
            )

    def sent_bytes(self, sender: str, receiver: str, low: bool) -> int:
        lanes = [lane for lane in Lane if (lane is Lane.LOW) == low]
        return sum(self.promises.lane_bytes[sender, receiver, lane] for lane in lanes)

    # -- what must be true when it is over --------------------------------------------------------------

    def wrong(self) -> list[str]:
        return [
            *self.starved, *self._lost_relays(), *self._old_lists(), *self._wrong_ways(), *self._held(),
            *self.promises.at_the_end(), *self._missed(), *self._ends(), *self._unresolved(),
            *(self.approvals.missed() if self.approvals is not None and HARMLESS.issuperset(self.mine) else ()),
            *(self.approvals.effects.left() if self.approvals is not None else ()),
        ]

    @property
    def _asked(self) -> list[tuple[str, list[Verified]]]:
        """Who asked for which actions."""
        more = [] if self.approvals is None else [
            (name, [action for action in self.approvals.actions if action.header.origin == name])
            for name in self.approvals.requesters
        ]
        return [each for each in [("soar", self.actions), *more] if each[0] not in self.world.revoked]

    @property
    def _trusted(self) -> list[str]:
        return [relay for relay in self.relays if relay not in self.world.revoked]

    def _lost_relays(self) -> list[str]:
        return [f"{relay} has no parent" for relay in self._trusted[1:] if not self.world.relay_of(relay)]

    def _old_lists(self) -> list[str]:
        newest, cores = len(self.world.revoked), [(relay, self.world.nodes[relay].core) for relay in self._trusted]
        return [
            f"{relay} has revocation list {core.trust.revocations.version} of {newest}"
            for relay, core in cores if core.trust.revocations.version != newest
        ]

    def _wrong_ways(self) -> list[str]:
        """Everybody is known to every relay above, by the right child, and to no other."""
        found = []
        for relay in self._trusted:
            core = self.world.nodes[relay].core
            assert isinstance(core, Relay)
            for node in [*self.relays[1:], *self.walls, *self.readers, "soar"]:
                if node == relay:
                    continue
                above = self._above(node) if node not in self.world.revoked else []
                wanted = ([node, *above][above.index(relay)],) if relay in above else ()
                ways = {node_of(way) for a in core.routes.of_node(node) if (way := core.routes.via(a))}
                if tuple(ways) != wanted:
                    found.append(f"{relay} looks for {node} at {sorted(ways)}, and it is at {list(wanted)}")
        return found

    def _above(self, node: str) -> list[str]:
        chain: list[str] = []
        while (parent := self.world.relay_of(chain[-1] if chain else node)) and parent not in chain:
            chain.append(parent)
        return chain

    def _held(self) -> list[str]:
        found = []
        for relay in self._trusted:
            core = self.world.nodes[relay].core
            assert isinstance(core, Relay)
            for outbox in core.outboxes.values():
                found += [
                    f"{relay} still holds {row.held.message.header.kind.word} for {row.destination[:20]} {row.targets}"
                    for row in outbox.rows()
                ]
            if not len(core.custody) and any(core.custody.lane_bytes):
                found.append(f"{relay} holds nothing and counts {core.custody.lane_bytes} bytes")
            if len(core.approving):
                found.append(f"{relay} still holds {len(core.approving)} actions that nobody decided")
            if any(core.custody.asleep.rows):
                found.append(f"{relay} lets {sum(core.custody.asleep.rows)} rows sleep that could go")
        return found

    def _missed(self) -> list[str]:
        """Events that lived long enough, of which nobody was told that they ended."""
        found = []
        for known in self.promises.known.values():
            header = known.message.header
            excused = known.refused or known.reported or not known.acked or self.promises.gone(known)
            if header.kind is Kind.EVENT and not excused and "archive" not in known.handled:
                found.append(f"{header.topic} {header.sequence} of {header.origin} never came to the archive")
        return found

    def _ends(self) -> list[str]:
        """Every target that was selected has an end, and none that contradicts what it did."""
        if LIES.intersection(self.mine):
            return []  # a relay that lies may let its peers say of ends what is not so
        return [line for requester, actions in self._asked for line in self._ends_of(requester, actions)]

    def _ends_of(self, requester: str, actions: Sequence[Verified]) -> list[str]:
        relay_revoked = not set(self.relays).isdisjoint(self.world.revoked)
        found = []
        selected, ends = self._told(requester)
        ended = [
            (known.message.header.correlation, known.message.header.origin)
            for known in self.promises.known.values()
            if known.message.header.kind is Kind.RESULT and (known.reported or known.refused)
        ]
        for action in actions:
            lost = "flips" in self.mine or action.leaf in self.promises.unheard or relay_revoked
            if self.promises.selected.get(action.leaf.hex()) and action.leaf not in selected and not lost:
                found.append(f"{requester} did not hear whom its action selected")
            for wall in selected.get(action.leaf, ()):
                executed = action.id in self.world.nodes[wall].executed
                told = ends.get((action.leaf, wall), [])
                allowed = {"completed", "unknown"} if executed else {"expired", "unroutable", "refused", "unknown"}
                # A disk had it last, a relay that may not know of it is on the way since somebody moved, or nobody
                # believes any more who knows of it.
                excused = "flips" in self.mine or action.leaf in self.promises.unheard
                excused = excused or relay_revoked or wall in self.world.revoked
                silent = not told and (excused or (action.leaf, wall) in ended)
                if not set(told) <= allowed or len(set(told) - {"unknown"}) > 1 or not (told or silent):
                    found.append(f"{wall} {'executed' if executed else 'never had'} it, and {requester} heard {told}")
        return found

    def _unresolved(self) -> list[str]:
        """Every action that turned was resolved for whom it selected, and what is said of these is what they did."""
        open_ = {relay: self.world.nodes[relay].core.resolutions.unresolved for relay in self._trusted}
        found = [f"{relay} has {number} actions that it did not resolve" for relay, number in open_.items() if number]
        if LIES.intersection(self.mine):
            return found
        return found + [line for requester, actions in self._asked for line in self._unresolved_of(requester, actions)]

    def _unresolved_of(self, requester: str, actions: Sequence[Verified]) -> list[str]:
        found = []
        lost = "flips" in self.mine or not set(self.relays).isdisjoint(self.world.revoked)
        for action in actions:
            # As the relay said it, whether or not its requester could be told: a resolution is held against that.
            selected = self.promises.selected.get(action.leaf.hex(), [])
            revisions = self.promises.resolutions.get(action.leaf.hex(), {})
            if not revisions and selected and not lost:
                found.append(f"an action for {selected} of {requester} was not resolved")
            for said in revisions.values():
                if sorted(name for names in said.values() for name in names) not in (selected or [[]]):
                    found.append(f"{selected} were selected, and {said} are resolved")
                for wall in [wall for end in said for wall in said[end]]:
                    executed = action.id in self.world.nodes[wall].executed
                    allowed = {"completed", "unknown"} if executed else {"expired", "unroutable", "refused", "unknown"}
                    if wall not in [name for end in allowed for name in said.get(end, ())]:
                        found.append(f"{wall} {'executed' if executed else 'never had'} it, and {said} is resolved")
        return found

    def _told(self, requester: str) -> tuple[dict[bytes, list[str]], dict[tuple[bytes, str], list[str]]]:
        selected: dict[bytes, list[str]] = {}
        ends: dict[tuple[bytes, str], list[str]] = {}
        deliveries = self.world.nodes[requester].delivered
        for (_, content), delivery in zip(self.world.records(requester), deliveries, strict=True):
            leaf = delivery.message.header.correlation
            if content.get("end") == "selected":
                selected[leaf] = list(content["targets"])
            if "effect" in content or content.get("end") in NO_ENDS:
                continue
            for target in content.get("targets", ()):
                ends.setdefault((leaf, target), []).append(content["end"])
        return selected, ends


_ENVELOPES = [Label.CLEAR, Label.CLEAR, Label.GREEN, Label.AMBER]


@dataclass(frozen=True)
class Told:
    """How a story ended. `faults` that were in it, what was wrong, and some numbers of what it was.

    `digest`: of everything that every core decided, where it was asked for.
    """

    seed: int
    faults: tuple[str, ...]
    wrong: list[str]
    counts: Counter[str]
    digest: str = ""


def tell(
    seed: int, relays: int = 10, minutes: float = 1.0, faults: Sequence[str] = FAULTS, *, traced: bool = False,
    quiet_ms: int = QUIET_MS,
) -> Told:
    """One story from a seed, and what is wrong with it: a promise that was broken, or what was left at its end.

    `quiet_ms`: how long it may take until all has come to its end.
    """
    trouble = Trouble(seed, relays, minutes, faults, quiet_ms)
    trace = Trace()
    if traced:
        trouble.world.observers.append(trace)
    wrong: list[str] = []
    try:
        with remembered():
            trouble.build()
            trouble.make()
            trouble.calm()
            wrong = trouble.wrong()
    except Broken as broken:
        wrong = [str(broken)]
    except Exception as fault:  # noqa: BLE001 - a core that raises stops a relay
        place = traceback.extract_tb(fault.__traceback__)[-1]
        wrong = [f"{type(fault).__name__} at {place.filename.rpartition('/')[2]}:{place.lineno}: {fault}"]
    known = trouble.promises.known.values()
    counts = Counter(
        published=len(known), acked=sum(k.acked for k in known), reported=sum(k.reported for k in known),
        handled=sum(len(k.handled) for k in known), frames=trouble.world.frames,
    )
    return Told(seed, tuple(trouble.mine), wrong, counts, trace.digest if traced else "")
