"""A large spool opens without reading it: what waits for the uplink only sleeps, and wakes in its turn, once."""

import random

import pytest

from fabric.protocol.base import signing
from fabric.protocol.base.limits import LANE_QUOTA_BYTES
from fabric.protocol.core.ready import Done, KeepCredential, Put, Replace, Seen
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Outbox
from fabric.protocol.envelope.layout import decode_envelope, encode_envelope, leaf_of
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction
from fabric.spool import Spool
from tests.support import EVERYTHING, T0, Authority, entropy, message
from tests.unit.test_spool import LATER, NOW, UP, damage, id_of, put

AUTHORITY = Authority("backlog")
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
PLANT = AUTHORITY.issue("plant", NodeKind.RELAY)


def ids(ops):
    return [int.from_bytes(op.id) for op in ops if isinstance(op, Put)]


def done(number, destination="^", *, last=True, direction=UP):
    return Done(id_of(number), direction, destination, last)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "hq.db"


def filled(path, *ops):
    spool = Spool(path)
    spool.load(NOW)
    spool.commit(ops)
    spool.close()
    return Spool(path, awake_max=2)


def drained(spool, awake):
    """Hand everything on, oldest first: the numbers in the order in which they came."""
    order = []
    while awake:
        number, *awake = awake
        order.append(number)
        spool.commit([done(number)])
        awake += ids(spool.wake())
    return order


def test_beyond_the_first_of_a_lane_rows_for_the_uplink_sleep_and_are_known_as_seen(path):
    spool = filled(path, *(put(n) for n in range(1, 6)), put(6)._replace(lane=Lane.URGENT))
    ops = spool.load(NOW)
    assert ids(ops) == [1, 2, 6]
    assert [op for op in ops if isinstance(op, Seen)] == [Seen(id_of(n), UP, LATER) for n in (3, 4, 5)]
    assert spool.asleep.rows[Lane.HIGH] == 3 and spool.asleep.bytes[Lane.HIGH] == 300
    assert spool.wake() == [], "those that are awake go first"
    spool.commit([done(1)])
    assert ids(spool.wake()) == [3, 4, 5] and sum(spool.asleep.rows) == sum(spool.asleep.bytes) == 0
    spool.close()


def test_what_sleeps_wakes_as_it_was_put(path):
    spool = filled(path, *(put(n) for n in range(1, 5)))
    spool.load(NOW)
    spool.commit([done(1), done(2)])
    assert spool.wake() == [put(3), put(4)]
    spool.close()


def test_who_waits_for_anybody_else_is_read_at_once(path):
    awake = [
        put(1, "relay:low"), put(2, "^", "point:a/00"), put(3, "point:a/00"), put(4)._replace(moved=(("^", 1),)),
        put(5, direction=Direction.DOWN), put(6)._replace(destinations=(("^", ("fw-1",)),)),
    ]
    spool = filled(path, put(10), put(11), *awake, put(12))
    assert ids(spool.load(NOW)) == [10, 11, 1, 2, 3, 4, 5, 6]
    spool.close()


def test_what_everybody_but_the_uplink_has_sleeps_too(path):
    both = [put(n, "^", "point:a/00") for n in range(1, 7)]
    ends = [*(done(n, "point:a/00", last=False) for n in (1, 2, 4, 5)), done(3, last=False)]
    spool = filled(path, *both, *ends)
    assert ids(spool.load(NOW)) == [1, 2, 3, 6], "3 waits for the reader, 6 for both"
    spool.commit([done(1)])
    assert [(*ids([op]), op.destinations) for op in spool.wake()] == [(4, (("^", ()),)), (5, (("^", ()),))]
    spool.close()


def test_everything_comes_once_in_order_whatever_ended_and_however_often_it_starts_again(path):
    chosen = random.Random(4)
    spool = filled(path, *(put(n) for n in range(1, 1_001)))
    left, awake = list(range(1, 1_001)), ids(spool.load(NOW))
    while left:
        for number in chosen.sample(awake, min(len(awake), 40)):
            spool.commit([done(number)])
            awake.remove(number)
            left.remove(number)
        awake += ids(spool.wake())
        assert awake == sorted(awake) and set(awake) <= set(left)
        if chosen.random() < 0.2:
            spool.close()
            spool = Spool(path, awake_max=2)
            awake = ids(spool.load(NOW))
    assert awake == [] and sum(spool.asleep.rows) == 0
    spool.close()


def test_numbers_of_what_sleeps_are_not_given_away(path):
    spool = filled(path, *(put(n) for n in range(1, 6)))
    awake = ids(spool.load(NOW))
    spool.commit([put(9)])
    assert drained(spool, awake) == [1, 2, 3, 4, 5]
    spool.close()
    again = Spool(path, awake_max=2)
    assert ids(again.load(NOW)) == [9]
    again.close()


@pytest.mark.parametrize("victims", [(3,), (1, 2), (3, 4, 5, 6)], ids=str)
def test_a_damaged_row_is_set_aside_when_it_wakes_and_keeps_nobody_asleep(path, victims):
    filled(path, *(put(n) for n in range(1, 9))).close()
    for n in victims:
        damage(path, "UPDATE messages SET body = x'00' WHERE n = ?", n)
    spool = Spool(path, awake_max=2)
    order = drained(spool, ids(spool.load(NOW)) or ids(spool.wake()))
    assert order == [n for n in range(1, 9) if n not in victims]
    assert spool.quarantined == [f"messages {n}: checksum" for n in victims]
    spool.close()


def test_meta_that_cannot_be_read_is_set_aside_at_the_start(path):
    filled(path, *(put(n) for n in range(1, 6))).close()
    for n, meta in ((3, b"\xc1"), (4, b""), (5, b"\x98\xc4\x10")):
        damage(path, "UPDATE messages SET meta = ? WHERE n = ?", meta, n)
    spool = Spool(path, awake_max=2)
    assert ids(spool.load(NOW)) == [1, 2] and len(spool.quarantined) == 3
    spool.close()


@pytest.mark.parametrize("size", [3_000, 60_000], ids=["found at the start", "found when it wakes"])
def test_a_torn_file_is_taken_over_while_most_of_it_sleeps(path, size):
    """Of a long row the start reads its first page only."""
    count = 600_000 // size * 2
    filled(path, *(put(n, size=size) for n in range(1, count + 1))).close()
    with path.open("r+b") as file:
        file.seek(4096 * (path.stat().st_size // 8192))
        file.write(b"\xff" * 4096 * 2)
    spool = Spool(path, awake_max=2)
    awake = ids(spool.load(NOW))
    assert (spool.quarantined == []) is (size > 4096)
    order = drained(spool, awake)
    assert order == sorted(set(order)) and count * 3 // 4 < len(order) < count, "each once, and most of them"
    assert spool.quarantined
    spool.close()


def real(number):
    raw = message(ZEEK, sequence=number, entropy=entropy(number))
    envelope = decode_envelope(raw)
    return Put(leaf_of(envelope.header)[:16], UP, Lane.LOW, raw, 0, T0, T0 + 60_000, (), (("^", ()),))


SECOND = AUTHORITY.issue("zeek-2", grants=EVERYTHING)
RULES = {"src_ip": Label.AMBER, "rule": Label.GREEN}


def whole(number, member=ZEEK, pad=0):
    record = {"src_ip": "10.1.0.7", "rule": "scan", "pad": random.Random(number).randbytes(pad)}
    raw = message(member, sequence=number, label=Label.CLEAR, records=[record], rules=RULES)
    return Put(leaf_of(decode_envelope(raw).header)[:16], UP, Lane.LOW, raw, 0, T0, T0 + 60_000, (), (("^", ()),))


def lacking(put, *missing):
    envelope = decode_envelope(put.envelope)
    parts = tuple(None if n in missing else part for n, part in enumerate(envelope.parts))
    return put._replace(envelope=encode_envelope(envelope._replace(parts=parts)))


def again(put):
    return Replace(put.id, put.direction, put.envelope)


def test_a_copy_adds_to_one_that_sleeps_what_that_lacks(path):
    """Of three parts each copy has another two; one that is awake is replaced as it is said."""
    spool = filled(path, *(lacking(whole(n), 0) for n in range(5)))
    spool.load(T0)
    spool.commit([again(lacking(whole(3), 1)), again(lacking(whole(4), 1)), again(lacking(whole(4), 0, 2))])
    spool.commit([again(lacking(whole(n), 0, 1)) for n in (2, 3)])
    spool.commit([Done(whole(n).id, UP, "^", True) for n in (0, 1)])
    woken = spool.wake()
    assert woken == [lacking(whole(2), 0), whole(3), whole(4)]
    spool.commit([Done(put.id, UP, "^", True) for put in woken])
    spool.commit([again(whole(3)), again(whole(9))])
    spool.close()
    assert ids(Spool(path).load(T0)) == []


def test_what_came_again_while_it_slept_and_was_taken_for_new_is_one_again_with_all_parts(path):
    credential = KeepCredential(ZEEK.credential.digest, ZEEK.credential.raw)
    spool = filled(path, credential, *(lacking(whole(n), 0) for n in range(4)))
    core = Relay(PLANT.credential, PLANT.signer, AUTHORITY.key, b"s" * 16, entropy("core"), ("hq",))
    core.restore(spool.load(T0), T0)
    poorer = lacking(whole(3), 1)
    spool.commit([poorer, Done(whole(0).id, UP, "^", True)])
    core.restore([poorer], T0)
    core.restore(spool.wake(), T0)
    assert core.custody.get(poorer.id, UP).message.raw == whole(3).envelope
    spool.close()
    found = [op for op in Spool(path).load(T0) if isinstance(op, Put) and op.id == poorer.id]
    assert [put.envelope for put in found] == [whole(3).envelope]


def test_whose_it_is_that_sleeps_is_known_of_long_messages_too(path):
    puts = [whole(n, member, pad) for n, (member, pad) in enumerate(
        [(ZEEK, 0)] * 2 + [(ZEEK, 0), (ZEEK, 9_000), (SECOND, 0), (SECOND, 9_000)]
    )]
    spool = filled(path, *puts)
    spool.load(T0)
    assert dict(spool.asleep.signer_bytes) == {
        (Lane.LOW, member.credential.digest): sum(len(put.envelope) for put in some)
        for member, some in ((ZEEK, puts[2:4]), (SECOND, puts[4:]))
    }
    spool.commit([Done(puts[0].id, UP, "^", True)])
    assert len(spool.wake()) == 4 and not spool.asleep.signer_bytes
    spool.close()


def test_a_relay_verifies_no_more_signatures_at_its_start_than_it_takes_back(path, monkeypatch):
    count = 50
    filled(path, KeepCredential(ZEEK.credential.digest, ZEEK.credential.raw), *map(real, range(count))).close()
    verified = []
    honest = signing.verify

    def counted(public, type_, body, signature):
        verified.append(type_)
        return honest(public, type_, body, signature)

    monkeypatch.setattr(signing, "verify", counted)
    spool = Spool(path, awake_max=2)
    core = Relay(PLANT.credential, PLANT.signer, AUTHORITY.key, b"s" * 16, entropy("core"), ("hq",))
    assert core.restore(spool.load(T0), T0) == []
    assert verified.count(signing.TYPE_ROOT) == len(core.custody) == 2
    assert all(core.custody.dedup.seen(real(n).id, UP, T0) for n in range(count)), "a repeat is known, asleep or not"
    spool.commit([Done(real(0).id, UP, "^", True)])
    assert core.restore(spool.wake(), T0) == []
    assert verified.count(signing.TYPE_ROOT) == len(core.custody) == count, "each before it could be sent"
    spool.close()


def test_a_sleeping_message_that_does_not_verify_is_set_aside(path):
    forged = [real(n)._replace(id=real(n).id) for n in range(3)]
    raw = forged[2].envelope
    forged[2] = forged[2]._replace(envelope=raw[:-1] + bytes([raw[-1] ^ 1]))
    spool = filled(path, KeepCredential(ZEEK.credential.digest, ZEEK.credential.raw), *forged)
    core = Relay(PLANT.credential, PLANT.signer, AUTHORITY.key, b"s" * 16, entropy("core"), ("hq",))
    core.restore(spool.load(T0), T0)
    spool.commit([Done(forged[0].id, UP, "^", True)])
    spool.set_aside(core.restore(spool.wake(), T0))
    assert spool.quarantined == [f"messages 3: {forged[2].id.hex()} does not verify"] and len(core.custody) == 2
    spool.close()


def test_what_sleeps_takes_room_in_its_lane():
    custody = Custody(lambda destination: Outbox(destination, 2_000))
    assert not custody.full(Lane.LOW, 1_000)
    custody.asleep.bytes = [0, 0, 0, 0, LANE_QUOTA_BYTES]
    assert custody.full(Lane.LOW, 1_000) and not custody.full(Lane.HIGH, 1_000)


def test_an_outbox_reads_all_of_it(path):
    filled(path, *(put(n) for n in range(1, 3_001))).close()
    spool = Spool(path)
    assert len(ids(spool.load(NOW))) == 3_000 and sum(spool.asleep.rows) == 0
    spool.close()


def test_what_grows_where_it_sleeps_is_counted_and_what_comes_awake_with_it(path):
    """Bytes counted are bytes held: in the backlog while it sleeps, in custody when it wakes."""
    whole = [message(ZEEK, sequence=n, rules={"src_ip": Label.AMBER}) for n in range(8)]
    empty = []
    for n, raw in enumerate(whole):
        envelope = decode_envelope(raw)
        bare = encode_envelope(envelope._replace(parts=(None,) * len(envelope.parts)))
        empty.append(Put(leaf_of(envelope.header)[:16], UP, Lane.LOW, bare, 0, T0, LATER, (), (("^", ()),)))
        assert len(bare) < len(whole[n])
    keep = KeepCredential(ZEEK.credential.digest, ZEEK.credential.raw)
    spool = filled(path, keep, *empty)
    core = Relay(PLANT.credential, PLANT.signer, AUTHORITY.key, b"s" * 16, entropy("core"), ("hq",))
    assert core.restore(spool.load(T0), T0) == []
    core.custody.sleeps(spool.asleep)
    spool.commit([Replace(put.id, UP, raw) for put, raw in list(zip(empty, whole, strict=True))[2:5]])
    on_disk = spool._db.execute("SELECT sum(length(body)) FROM messages").fetchone()[0]
    assert sum(spool.asleep.bytes) + sum(core.custody.lane_bytes) == on_disk
    assert sum(spool.asleep.signer_bytes.values()) == sum(spool.asleep.bytes)
    spool.commit([Replace(empty[3].id, UP, whole[3])])
    assert sum(spool.asleep.bytes) + sum(core.custody.lane_bytes) == on_disk, "a copy with no more parts adds nothing"
    spool.commit([Done(empty[0].id, UP, "^", True), Done(empty[1].id, UP, "^", True)])
    assert core.restore(spool.wake(), T0) == []
    assert sum(spool.asleep.bytes) == 0 and not spool.asleep.signer_bytes
    held = list(core.custody._held.values())
    assert sum(core.custody.lane_bytes) == sum(len(h.message.raw) for h in held)
    spool.close()
