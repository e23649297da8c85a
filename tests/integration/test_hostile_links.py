"""A member without any grant at a real relay: it says what the protocol has no place for, and the relay goes on."""

import os
from contextlib import ExitStack

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import SESSIONS_AWAY_MAX, SESSIONS_OPEN_MAX
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.wire.frames import Intro, Routes
from relays.authority import open_authority
from relays.demo.intruders import reissued
from tests.integration.harness import house_in
from tests.integration.intruder import Intruder, envelope, now_ms

TOPOLOGY = """
fabric = "crowd"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:PORT-hq" }

[roles]
sensor = { publish = ["detections.>"] }
reader = { subscribe = ["detections.>"] }

[points]
zeek   = { relay = "hq", role = "sensor", clearance = "amber" }
reader = { relay = "hq", role = "reader", clearance = "green" }
crowd  = { relay = "hq", role = "reader", clearance = "green" }
"""
GHOSTS = 120


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("hostile"), TOPOLOGY) as house:
        house.up()
        yield house
        house.assert_logs_clean()


@pytest.fixture
def same_process(house):
    """The relay that runs at the end is the one that ran, and takes what an honest sensor has."""
    pid = house.pid("hq")
    yield
    assert house.fresh_state("hq")["pid"] == pid
    zeek = house.identity("zeek")
    with Intruder(zeek) as sensor:
        sensor.enter()
        sensor.say(Intro([zeek.credential.raw]))
        assert sensor.offer(envelope(zeek, topic="detections.zeek")) is None


@pytest.mark.usefixtures("same_process")
def test_i_say_hello_a_second_time_in_another_version(house):
    with Intruder(house.identity("reader")) as me:
        said = me.hello()
        me.say(said)
        assert me.answer() == "welcome"
        me.say(said._replace(version_min=9, version_max=9))
        assert me.answer() is Code.WRONG_ROLE


@pytest.mark.usefixtures("same_process")
def test_i_introduce_all_my_credentials_the_oldest_last(house):
    mine = house.identity("reader")
    signer = open_authority(house.fabric, house.home).signer
    every = [reissued(mine, signer, serial=mine.credential.serial + n) for n in range(8)]
    with Intruder(every[-1]) as me:
        me.enter()
        me.say(Intro([each.credential.raw for each in reversed(every)]))
        me.say(me.hello())
        assert me.answer() is Code.WRONG_ROLE, "it still listens, and my connection was the only thing to lose"


@pytest.mark.usefixtures("same_process")
def test_i_leave_a_hundred_subscribed_sessions_behind(house):
    mine = house.identity("reader")
    for n in range(GHOSTS):
        with Intruder(mine) as me:
            session = os.urandom(16)
            me.say(me.hello(session=session))
            assert me.answer() == "welcome"
            raw = sign_attachment(mine.credential, mine.signer, session, "hq", now_ms() + n, False, ("detections.>",))
            me.say(Routes(1, True, [raw], []))
    assert house.fresh_state("hq")["routes"] <= SESSIONS_OPEN_MAX + SESSIONS_AWAY_MAX


@pytest.mark.usefixtures("same_process")
def test_i_connect_more_often_than_one_key_may(house):
    mine = house.identity("crowd")  # the connections that others had before may take a moment to be gone
    with ExitStack() as all_of_me:
        for _ in range(SESSIONS_OPEN_MAX):
            all_of_me.enter_context(Intruder(mine)).enter()
        one_more = all_of_me.enter_context(Intruder(mine))
        one_more.say(one_more.hello())
        assert one_more.answer() is Code.BUSY and one_more.answer() == "cut"


@pytest.mark.usefixtures("same_process")
def test_i_withdraw_others(house):
    with Intruder(house.identity("reader")) as me:
        me.enter()
        me.say(Routes(1, False, [], [("zeek", bytes(16), 2**50)]))
        assert me.answer() is Code.WRONG_PEER
