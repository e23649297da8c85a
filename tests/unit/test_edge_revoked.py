"""A relay says that this control point is revoked: whose word that is, and what follows from it."""

import pytest

from fabric.edge.identity.identity import Dial, Identity
from fabric.edge.loop import EdgeLoop
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Connected, Delivered, LinkUp
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.wire.frames import Hello, Lists, Refused, Role, Welcome
from tests.conversation import Conversation
from tests.support import EVERYTHING, HOUR_MS, T0, Authority

AUTHORITY = Authority("edge-revoked")
ME = AUTHORITY.issue("fw-1", grants=EVERYTHING)
BAD, GOOD = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("bad", "good"))
SAYS_SO = Refused(Code.REVOKED, ME.id, b"n" * 16)


class Program:
    def __init__(self, folder, *relays):
        dials = [Dial(relay.id, "127.0.0.1:1", relay.curve_key) for relay in relays]
        identity = Identity(
            "acme", ME.id, AUTHORITY.key, ME.credential, folder, dials[0], tuple(dials[1:]), sign_seed=bytes(32)
        )
        self.loop = EdgeLoop(identity)
        self.talk = Conversation(self.loop.core)

    def hears(self):
        """What the core told goes where it goes in a program."""
        for delivered in self.talk.told(Delivered):
            self.loop._deliver(delivered, self.talk.now_ms)

    def greets(self, relay):
        self.talk._links += 1
        link = self.talk._links
        self.talk.step(LinkUp(link, relay.curve_key, b"n" * 16, Role.POINT, relay.id))
        for _ in range(60):
            if self.talk.heard(link, Hello):
                break
            self.talk.wait(250)
        return link

    def is_refused_by(self, relay):
        self.talk.say(self.greets(relay), SAYS_SO)
        self.hears()

    def connects_to(self, relay):
        link = self.greets(relay)
        now_ms = self.talk.now_ms
        self.talk.say(link, Welcome(1, relay.credential.raw, b"p" * 16, b"n" * 16, now_ms, now_ms, 0, 0, 524_288))
        self.hears()
        return link

    def ends(self):
        self.loop._mailbox.close()


@pytest.fixture
def start(tmp_path):
    started = []

    def start(*relays):
        started.append(Program(tmp_path, *relays))
        return started[-1]

    yield start
    for program in started:
        program.ends()


def test_one_of_two_relays_alone_does_not_end_a_program(start):
    """With its key somebody would stop every executor and sensor below it for good, and none would go to its backup."""
    program = start(BAD, GOOD)
    program.is_refused_by(BAD)
    program.is_refused_by(BAD)
    program.connects_to(GOOD)
    assert program.loop.core.connected


def test_nor_does_it_on_a_link_that_was_open(start):
    program = start(BAD, GOOD)
    program.talk.say(program.connects_to(BAD), SAYS_SO)
    program.hears()
    program.connects_to(GOOD)
    assert program.loop.core.connected


def test_all_of_its_relays_do(start):
    """Whoever waits for a connection would wait for ever."""
    program = start(BAD, GOOD)
    program.is_refused_by(GOOD)
    with pytest.raises(FabricError) as raised:
        program.is_refused_by(BAD)
    assert raised.value.code is Code.REVOKED


def test_its_only_relay_does(start):
    with pytest.raises(FabricError):
        start(GOOD).is_refused_by(GOOD)


def test_with_effects_in_force_it_goes_on_until_the_last_of_them_has_ended(start, monkeypatch):
    """What it blocked for an hour would stay blocked for good."""
    program = start(GOOD)
    in_force = [2]
    monkeypatch.setattr(type(program.loop.leasing), "in_force", property(lambda _: in_force[0]))
    program.is_refused_by(GOOD)
    program.loop._end_if_unused()
    assert program.loop.held_up.code is Code.REVOKED and not program.loop.status._first_word.wait(0)
    in_force[0] = 0
    with pytest.raises(FabricError) as raised:
        program.loop._end_if_unused()
    assert raised.value.code is Code.REVOKED


def test_and_is_of_use_again_where_a_relay_takes_it(start, monkeypatch):
    program = start(GOOD)
    monkeypatch.setattr(type(program.loop.leasing), "in_force", 1)
    program.is_refused_by(GOOD)
    program.connects_to(GOOD)
    monkeypatch.setattr(type(program.loop.leasing), "in_force", 0)
    program.loop._end_if_unused()
    assert program.loop.held_up is None


def test_and_so_does_the_authority(start):
    program = start(GOOD, BAD)
    link = program.connects_to(GOOD)
    raw = issue_revocations("acme", 1, T0, T0 + HOUR_MS, [ME.id], AUTHORITY.signer)
    program.talk.say(link, Lists(raw))
    program.talk.say(link, SAYS_SO)
    with pytest.raises(FabricError) as raised:
        program.hears()
    assert raised.value.code is Code.REVOKED
    assert program.talk.told(Connected) == []
