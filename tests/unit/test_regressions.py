"""Found by looking for trouble: each of these once failed, in a module that its neighbours found sound."""

import msgpack
import pytest

from fabric.edge.publishing.composer import Composer
from fabric.edge.publishing.drafts import Draft, Stamp
from fabric.protocol.base.errors import Reject
from fabric.protocol.core.ready import Attach, Leave, Ready, Tick
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Held, Outbox
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.envelope.header import Kind, decode_header, encode_header
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential, Grants, NodeKind, RequestGrant
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import decode_frame
from fabric.protocol.wire.frames import Data, Direction, Hello
from tests.simulation.world import World
from tests.support import EVERYTHING, FABRIC, T0, Authority, draft, entropy, opened, verified

AUTHORITY = Authority("bugs")
ORIGIN = AUTHORITY.issue("origin", grants=EVERYTHING)
RED, GREEN, CLEAR = Label.RED, Label.GREEN, Label.CLEAR
MANY = [1 << 40] * len(Lane)


def held(n, lane=Lane.LOW):
    return Held(verified(ORIGIN, sequence=n), Direction.UP, lane, 0, T0, T0 + 60_000, ())


@pytest.mark.parametrize(("rules", "record"), [
    ({"a": CLEAR, "a.b": RED}, {"a": {"b": "secret", "c": 1}}),
    ({"x.y": CLEAR, "x.y.z": RED}, {"x": {"y": {"z": "secret", "w": 1}}}),
])
def test_a_wider_rule_that_comes_first_does_not_take_the_label_off_a_narrower_one(rules, record):
    split = FieldLabels(rules, GREEN).split(record)
    assert "secret" not in repr(split.get(CLEAR)), "a RED field travels as CLEAR"


def test_a_rule_for_a_path_and_one_above_it_lose_nothing():
    split = FieldLabels({"x.y.z": RED, "x.y": RED}, GREEN).split({"x": {"y": {"z": 1, "w": 2}}})
    assert split[RED] == {"x": {"y": {"z": 1, "w": 2}}}


def closes(world):
    seen = []
    apply = world._apply

    def watch(node, ready):
        seen.extend((node.name, note[1]["code"]) for note in ready.notes if note[0] == "link refused")
        apply(node, ready)

    world._apply = watch
    return seen


def test_no_control_point_can_cut_the_uplink_of_its_relay():
    world = World(1, watch=False)
    refused = closes(world)
    world.relay("root")
    world.relay("mid", "root")
    world.point("evil", "mid", Grants(subscribe=(">",)))
    world.run(1_000)
    world.step("evil", Attach(2**60, False, (">",)))  # signed, so no relay can alter it
    world.run(2_000)
    world.step("evil", Leave())  # mid says so to root: [node, session, 2**60]
    world.run(2_000)
    assert ("root", "E101") not in refused, "root cut its child mid"


def test_actions_for_many_targets_do_not_cut_the_link_again_and_again():
    world = World(2, watch=False)
    refused = closes(world)
    world.relay("root")
    world.relay("mid", "root")
    soar = world.point("soar", "root", Grants(request=(RequestGrant("*", "all"),))).member
    world.run(1_000)
    root, targets = world.nodes["root"].core, tuple(f"fw-{n:04}" for n in range(3_000))
    for n in range(3):  # rows as `_dispatch` makes them: 3,000 targets are within TARGETS_MAX
        action = verified(soar, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", severity=Severity.HIGH,
                          records=[{"action": "deny", "target": {"ipv4_net": "203.0.113.9"}, "args": {}}],
                          sequence=n, issued_at_ms=world.now_ms)
        one = Held(action, Direction.DOWN, action.header.lane, 0, world.now_ms, world.now_ms + 60_000, ())
        root.custody.put(one, [("relay:mid", targets)], Ready())
    world.run(5_000)
    assert ("mid", "E102") not in refused, f"mid cut root {refused.count(('mid', 'E102'))} times"


def test_rows_that_are_sent_again_keep_the_order_of_their_origin():
    outbox = Outbox("^", 2_000)
    custody = Custody(lambda _: outbox)
    for n in range(4):
        custody.put(held(n), [("^", ())], Ready())
    for _ in range(3):
        outbox.sent(outbox.take(T0, MANY), T0, 1)
    outbox.overdue(T0 + 2_000)
    order = []
    while (row := outbox.take(T0 + 2_000, MANY)) is not None:
        order.append(row.held.message.header.sequence)
    assert order == [0, 1, 2, 3]


def ended_rows(count):
    outbox = Outbox("^", 2_000)
    custody = Custody(lambda _: outbox)
    for n in range(count):
        one = held(n)
        custody.put(one, [("^", ())], Ready())
        custody.end(one.rows["^"], Ready())  # expired while the link was down: nobody calls `take`
    return outbox, custody


def test_rows_that_ended_without_a_link_leave_memory():
    outbox, custody = ended_rows(100)
    assert custody.lane_bytes[Lane.LOW] == 0
    assert sum(1 for line in outbox._queues[Lane.LOW]._origins.values() for _ in line) == 0
    assert outbox.queued_bytes(Lane.LOW) == 0


def test_deadlines_of_what_ended_do_not_pile_up():
    _, custody = ended_rows(100)  # with the default ttl of an event each stays for a day
    assert len(custody) == 0 and len(custody._deadlines) < 50


def test_the_outbox_of_a_session_that_left_is_gone():
    member = AUTHORITY.issue("hq", NodeKind.RELAY)
    relay = Relay(member.credential, member.signer, AUTHORITY.key, bytes(16), entropy(0))
    for n in range(3):
        destination = f"point:analyst/{n:032x}"
        relay.custody.put(held(n), [(destination, ())], Ready())
        relay.session_keeper.forget(destination, T0, Ready())
    relay.step(Tick(), T0)
    assert list(relay.outboxes) == []


def test_one_credential_has_one_digest():
    body, signature, chain = msgpack.unpackb(ORIGIN.credential.raw)
    forged = [verify_credential(msgpack.packb([body, signature, chain, n]), AUTHORITY.key, FABRIC) for n in range(3)]
    accepted = {c.digest for c in forged if isinstance(c, Credential)}
    # Each is introduced, kept in memory and written to the spool once more.
    assert accepted <= {ORIGIN.credential.digest}


def deep(levels):
    value = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("bad", [deep(40), {True: 1}, {b"x": 1}, {"a": [0] * 190_000, "b": [1] * 20_000}])
def test_what_no_reader_can_read_is_refused_when_it_is_published(bad):
    stamp = Stamp(Kind.EVENT, "detections.x", Severity.LOW, Phase.NONE, 60_000, GREEN)
    composer = Composer(ORIGIN.credential, ORIGIN.signer, RootCache(), entropy(1))
    sealed, _ = composer.compose([Draft(stamp, record, T0, None, 10) for record in ({"good": 1}, bad)])
    for each in sealed:
        message = opened(each.envelope, ORIGIN)
        readings = read_records(message.header, message.envelope.parts)
        assert not isinstance(readings, Reject), f"and {message.header.records - 1} good records of its batch with it"


@pytest.mark.parametrize("item", [{0: 0, 1: 5, 2: [], 3: [], 4: b""}, [0.0, 5, [], [], b""], [False, 5, [], [], b""]])
def test_an_item_has_the_types_that_the_specification_says(item):
    assert not isinstance(decode_frame(msgpack.packb([5, 0, 0, [item]])), Data)


@pytest.mark.parametrize("manifest", ["", {}, b""])
def test_nor_is_a_manifest_anything_but_an_array(manifest):
    fields = msgpack.unpackb(encode_header(draft(ORIGIN)[0]))
    fields[15] = manifest
    assert isinstance(decode_header(msgpack.packb(fields)), Reject)


def test_a_name_has_at_most_64_bytes():
    name = "\U0001f600" * 64  # 256 bytes
    frame = decode_frame(msgpack.packb([1, 1, 1, name, 1, b"", bytes(16), bytes(16), 0, 0, 0]))
    assert not isinstance(frame, Hello)
