"""Hostile orders around a relay that hands out actions: its peers come, go, lie and repeat, and it restarts in between.

Whatever they do, an action that may be with somebody goes to nobody else, none is `expired` that was sent or `unknown`
that was not, nothing ends before its time but by somebody's word, and in the end nothing is left.
"""

import random
from contextlib import closing

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.custody.outbox import visit_of
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Ack, Bye, Data, Direction, Intro, Item, Nack, Ping, Role
from fabric.spool import Spool
from tests.simulation.world import NO_ENDS
from tests.support import opened
from tests.unit.test_relay_actions import AUTHORITY, DMZ, ME, SOAR, WALLS, action, relay

KIDS = {member.id: member for member in (DMZ, AUTHORITY.issue("lan", NodeKind.RELAY))}
NODES = {wall.id: wall for wall in WALLS}
STEPS = 70
WORK = (
    "ask", "ask", "answer", "answer", "answer", "put_off", "point", "point", "bye", "lose", "child", "claim", "claim",
    "repeat", "withdraw", "give_back", "give_back", "lie", "restart", "rest", "wait", "wait",
)


class Trouble:
    """A peer is `(its id, its session)`; for a child the session is empty."""

    def __init__(self, seed, folder):
        self.random, self.folder = random.Random(seed), folder
        self.talk = relay()
        self.epoch = 0
        self.said = []  # statements: member, relay, session, epoch, executes
        self.actions = {}
        self.where = {}  # (action, target) -> the peer that may have it, and the visit
        self.copies = {}  # of those, how many it has not refused
        self.ever, self.ended = set(), {}
        self.restarted = set()  # of what was asked for before a restart nobody knows whether it was sent
        self.kept = {}  # what each child took
        self.connect()

    def connect(self):
        self.links, self.waiting = {}, {}
        self.soar = self.talk.connect(SOAR, Role.POINT)
        self.talk.attach(self.soar, SOAR, "hq", epoch=self.later())

    def later(self):
        self.epoch += 1
        return self.talk.now_ms + self.epoch

    # -- what comes out -----------------------------------------------------------------------------------

    def look(self):
        for item in self.talk.items(self.soar):
            message = opened(item.envelope, ME, *WALLS)
            for reading in read_records(message.header, message.envelope.parts):
                for target in reading.content["targets"]:
                    self.is_told(message.header.correlation, target, reading.content["end"])
            self.talk.say(self.soar, Ack([message.id]))
        for peer, link in list(self.links.items()):
            for item in self.talk.items(link):
                self.is_sent(peer, item)

    def is_told(self, leaf, target, end):
        key = leaf, target
        if end in NO_ENDS:
            return
        assert self.ended.setdefault(key, end) == end
        assert end in ("expired", "unknown"), end
        assert end != "expired" or key not in self.where
        assert end != "unknown" or key in self.ever | self.restarted

    def is_sent(self, peer, item):
        message = opened(item.envelope, SOAR)
        visit = visit_of(message.id, item.moved, item.targets)
        for target in item.targets:
            key = message.leaf, target
            assert self.where.setdefault(key, (peer, visit)) == (peer, visit), "somebody else may have it"
            assert key not in self.ended and (not peer[1] or peer[0] == target)
            self.ever.add(key)
            self.copies[key] = self.copies.get(key, 0) + 1
        self.waiting.setdefault(peer, []).append((item, message, visit))

    # -- what goes in -------------------------------------------------------------------------------------

    def is_open(self, peer):
        link = self.talk.core.links.get(self.links[peer])
        if link is None or not link.is_open:
            self.drop(peer)
            return False
        return True

    def drop(self, peer):
        self.links.pop(peer, None)
        self.waiting.pop(peer, None)

    def pick(self, *, child):
        found = [peer for peer in list(self.links) if bool(peer[1]) is not child and self.is_open(peer)]
        return self.random.choice(found) if found else None

    def attach(self, peer, member, at, session, executes):
        self.said.append((member, at, session, self.later(), executes))
        self.talk.attach(self.links[peer], member, at, executes=executes, session=session, epoch=self.said[-1][3])

    def step(self):
        for link in (self.soar, *self.links.values()):
            self.talk.say(link, Ping(self.talk.now_ms))
        work = self.random.choice(WORK)
        if work in ("child", "claim", "repeat", "withdraw", "give_back", "lie", "bye", "lose", "rest"):
            peer = self.pick(child=work not in ("bye", "rest"))
            if work == "child" or peer is not None:
                getattr(self, work)(peer)
        else:
            getattr(self, work)()
        self.look()

    def ask(self):
        to = self.random.choice(["role=firewall", f"id={self.random.choice(list(NODES))}"])
        message = action(sequence=len(self.actions), ttl_ms=600_000, issued_at_ms=self.talk.now_ms, to=to)
        self.actions[message.leaf] = message
        self.talk.send(self.soar, message)

    def take(self):
        peer = self.random.choice([peer for peer in self.waiting if self.waiting[peer]] or [None])
        return (peer, *self.waiting[peer].pop(0)) if peer is not None and self.is_open(peer) else None

    def answer(self):
        if taken := self.take():
            peer, item, message, visit = taken
            self.kept.setdefault(peer, []).append((item, message))
            self.talk.say(self.links[peer], Ack([visit]))

    def put_off(self):
        if taken := self.take():
            peer, item, message, visit = taken
            for key in [(message.leaf, target) for target in item.targets]:
                self.copies[key] -= 1
                if not self.copies[key]:
                    del self.where[key]
            self.talk.say(self.links[peer], Nack([(visit, Code.BUSY, "not now")]))

    def point(self):
        node, session = self.random.choice(list(NODES)), bytes([self.random.randrange(3)]) * 16
        self.drop((node, session))
        self.links[node, session] = self.talk.connect(NODES[node], Role.POINT, session=session)
        if self.is_open((node, session)):
            self.attach((node, session), NODES[node], "hq", session, self.random.random() < 0.9)

    def rest(self, peer):
        self.attach(peer, NODES[peer[0]], "hq", peer[1], False)

    def bye(self, peer):
        self.talk.say(self.links[peer], Bye(Code.CLOSED, ""))
        self.lose(peer)

    def lose(self, peer):
        self.talk.lose(self.links[peer])
        self.drop(peer)

    def child(self, _):
        peer = self.random.choice(list(KIDS)), b""
        self.drop(peer)
        self.links[peer] = self.talk.connect(KIDS[peer[0]], Role.CHILD)
        if self.is_open(peer):
            self.talk.place(self.links[peer], KIDS[peer[0]], "hq", epoch=self.later())

    def claim(self, peer):
        session = bytes([self.random.randrange(3, 6)]) * 16
        self.attach(peer, self.random.choice(WALLS), peer[0], session, self.random.random() < 0.9)

    def repeat(self, peer):
        if self.said:
            member, at, session, epoch, executes = self.random.choice(self.said)
            self.talk.attach(self.links[peer], member, at, executes=executes, session=session, epoch=epoch)

    def withdraw(self, peer):
        if self.said:
            member, _, session, epoch, _ = self.random.choice(self.said)
            self.talk.withdraw(self.links[peer], member, session=session, epoch=epoch)

    def give_back(self, peer):
        if self.kept.get(peer):
            item, message = self.random.choice(self.kept[peer])
            some = self.random.sample(item.targets, self.random.randint(1, len(item.targets)))
            self.give(peer, message, some, item.moved + 1)

    def lie(self, peer):
        if self.actions:
            message = self.random.choice(list(self.actions.values()))
            self.give(peer, message, self.random.sample(list(NODES), 2), self.random.choice([1, 2, 63]))

    def give(self, peer, message, some, moved):
        link = self.links[peer]
        self.talk.heard(link, Ack)
        self.talk.say(link, Intro([message.credential.raw]))
        item = Item(Direction.UP, 0, [peer[0]], some, message.raw, moved)
        self.talk.say(link, Data(message.header.lane, self.talk.now_ms, [item]))
        if any(visit_of(message.id, moved, some) in frame.ids for frame in self.talk.heard(link, Ack)):
            for key in [(message.leaf, target) for target in some]:
                if self.where.get(key, ("",))[0] == peer:
                    del self.where[key], self.copies[key]

    def wait(self):
        self.talk.wait(self.random.choice([300, 300, 3_000]))

    def restart(self):
        now_ms = self.talk.now_ms
        with closing(Spool(self.folder / "hq.db")) as spool:
            list(spool.load(now_ms))
            spool.commit(self.talk.disk)
            ops = list(spool.load(now_ms))
        self.talk = relay()
        self.talk.now_ms = now_ms + self.random.choice([0, 1_000, 100_000])
        assert self.talk.core.restore(ops, self.talk.now_ms) == []
        self.restarted = {(leaf, node) for leaf in self.actions for node in NODES}
        self.connect()

    def until_all_is_over(self):
        for _ in range(80):
            self.talk.wait(10_000, 5_000)
            for link in (self.soar, *self.links.values()):
                self.talk.say(link, Ping(self.talk.now_ms))
            if self.talk.core.links.get(self.soar) is None:
                self.soar = self.talk.connect(SOAR, Role.POINT)
            self.look()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_its_peers_do_an_action_is_in_one_place_and_ends_as_it_must(seed, tmp_path):
    trouble = Trouble(seed, tmp_path)
    for _ in range(STEPS):
        trouble.step()
    trouble.until_all_is_over()
    core = trouble.talk.core
    assert not [row for outbox in core.outboxes.values() for row in outbox.rows()
                if row.held.message.header.kind is Kind.ACTION]
    assert not core.absent.actions and not core.rerouting._homing
