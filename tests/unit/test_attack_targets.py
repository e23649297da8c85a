"""What a relay that lies about whom an action is for can do to those above and below it."""

import random
import string

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import FRAME_BYTES_MAX, TARGETS_MAX
from fabric.protocol.core.ready import Ready, Tick
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.links.links import UPLINK
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Data, Direction, Intro, Item, Nack, Role
from tests.support import opened, verified
from tests.unit.test_below import EAST, FEED, ME, PARENT, SOAR, relay, settle

CHARACTERS = string.ascii_letters + string.digits + string.punctuation
LONGER = "".join(map(chr, range(0x1F300, 0x1F600)))


@pytest.fixture
def talk():
    """mid below hq, and east below mid."""
    made = relay("hq")
    made.up = made.dial(PARENT, Role.CHILD)
    made.east = made.connect(EAST, Role.CHILD)
    made.place(made.east, EAST, "mid")
    settle(made, made.up)
    return made


def names(characters):
    """As many and as long as a frame takes, and so that nothing makes them shorter."""
    draw, length = random.Random(1), 60 // len(characters[0].encode())
    return ["".join(draw.choices(characters, k=length)) for _ in range(4_000)]


def moved(talk, targets, direction, hops, **fields):
    action = verified(
        SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", ttl_ms=10_000, issued_at_ms=talk.now_ms, **fields
    )
    return Data(action.header.lane, talk.now_ms, [Item(direction, 0, hops, targets, action.raw, 1)])


@pytest.mark.parametrize("characters", [CHARACTERS, LONGER], ids=["ascii", "longer"])
@pytest.mark.parametrize("end", ["up", "east"])
def test_i_give_back_an_action_for_more_than_one_report_can_name(talk, end, characters):
    """It runs out here: of each of them it is said, in as many reports as that takes."""
    link = getattr(talk, end)
    direction, hops = (Direction.DOWN, ["hq"]) if end == "up" else (Direction.UP, ["east"])
    targets = names(characters)
    talk.say(link, Intro([SOAR.credential.raw]))
    talk.say(link, moved(talk, targets, direction, hops, label=Label.RED))
    assert not talk.closed
    talk.items(talk.up)
    talk.now_ms += 12_000
    for _ in range(20):
        talk.now_ms += 250
        talk.step(Tick())
    told = [opened(held.message.raw, ME) for held in talk.core.custody._held.values()]
    found = [read_records(each.header, each.envelope.parts)[0].content["targets"] for each in told]
    assert sorted(name for some in found for name in some) == sorted(targets)


def test_i_give_back_an_action_twice_for_others_each_time_and_it_goes_up_in_frames_that_are_taken(talk):
    talk.lose(talk.up)
    talk.say(talk.east, Intro([SOAR.credential.raw]))
    targets = names(CHARACTERS)
    for some in (targets[:3_000], targets[3_000:] + ["more-" + name[:50] for name in targets[:2_500]]):
        talk.say(talk.east, moved(talk, some, Direction.UP, ["east"]))
    talk.up = talk.dial(PARENT, Role.CHILD)
    talk.wait(2_000)
    assert talk.up not in talk.closed
    assert all(len(item.targets) <= TARGETS_MAX for item in talk.items(talk.up))


@pytest.mark.parametrize("end", ["up", "east"])
def test_i_fill_a_frame_to_the_last_byte_and_it_is_passed_on_with_one_more_hop(talk, end):
    link = getattr(talk, end)
    direction, hops = (Direction.DOWN, ["hq"]) if end == "up" else (Direction.UP, ["east"])
    talk.say(link, Intro([SOAR.credential.raw]))
    targets = [name + "yyy" for name in names(CHARACTERS)]

    def room():
        return FRAME_BYTES_MAX - len(encode_frame(moved(talk, targets, direction, hops)))

    targets += [f"{n:02}".ljust(60, "z") for n in range(room() // 62)]
    for n in range(-1, -20, -1):
        targets[n] += "y" * min(4, room())
    frame = moved(talk, targets, direction, hops)
    assert FRAME_BYTES_MAX - 2 <= len(encode_frame(frame)) <= FRAME_BYTES_MAX
    talk.say(link, frame)
    talk.wait(2_000)
    (nack,) = talk.heard(link, Nack)
    assert [code for _, code, _ in nack.refusals] == [Code.TOO_LARGE] and not talk.closed


def test_what_no_frame_takes_ends_and_not_the_link(talk):
    """Large intel for more readers than fit beside it, who were all below one relay and have gone."""
    intel = verified(
        FEED, kind=Kind.INTEL, topic="intel.ipv4", issued_at_ms=talk.now_ms, label=Label.RED,
        records=[{"x": "x" * 190_000}],
    )
    targets = tuple(f"reader-{n:05}".ljust(60, "-") for n in range(2_000))
    item, ready = Item(Direction.DOWN, 0, [], [], intel.raw), Ready()
    talk.core.hold(intel, item, [(UPLINK, targets)], talk.now_ms, ready, Direction.DOWN, moved=1)
    talk.wait(2_000)
    assert not talk.closed and not talk.core.custody.get(intel.id, Direction.DOWN)
    assert talk.count("ended:too_large") == 1
