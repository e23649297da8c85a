"""The real spool and the simulator's disk have the same after anything: what is simulated is what would happen."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.core.ready import (
    Done,
    KeepCredential,
    KeepDirectory,
    KeepDispatch,
    KeepGap,
    KeepLists,
    KeepNotice,
    KeepOwner,
    KeepPolicies,
    KeepPosition,
    KeepSession,
    Put,
    Replace,
    Seen,
)
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction
from fabric.spool import Spool
from tests.simulation.disk import Disk

NOW, LATER = 1_760_000_000_000, 1_760_000_060_000
ids = st.sampled_from([bytes([n]) * 16 for n in range(4)])
ways = st.sampled_from(Direction)
names = st.sampled_from(["^", "relay:low", "point:a/00"])
texts = st.sampled_from(["", "a", "b"])
bodies = st.sampled_from([b"", b"x", b"y"])
untils = st.sampled_from([NOW - 1, LATER])


@st.composite
def puts(draw):
    destinations = tuple((name, ()) for name in draw(st.lists(names, min_size=1, unique=True)))
    moved = tuple((name, 1) for name, _ in destinations if draw(st.booleans()))
    return Put(draw(ids), draw(ways), draw(st.sampled_from(Lane)), draw(bodies), 7, NOW, LATER, ("hq",), destinations,
               moved)


ops = st.one_of(
    puts(), st.builds(Seen, ids, ways, st.just(LATER)), st.builds(Replace, ids, ways, bodies),
    st.builds(Done, ids, ways, names, st.booleans()),
    st.builds(KeepCredential, ids, bodies), st.builds(KeepLists, bodies), st.builds(KeepSession, names, bodies),
    st.builds(KeepDirectory, bodies),
    st.builds(KeepPolicies, bodies),
    st.builds(KeepGap, names, st.integers(0, 2)), st.builds(KeepNotice, names, bodies),
    st.builds(KeepPosition, names, texts), st.builds(KeepOwner, texts, texts, ids),
    st.builds(KeepDispatch, ids, names, st.integers(0, 4), untils, names, names, st.integers(0, 2**40), names),
)


def possible(turns):
    """What a core says in order: it ends what it holds, and does not put what it holds already."""
    held, found = {}, []
    for turn in turns:
        kept = []
        for op in turn:
            key = tuple(op[:2])
            match op:
                case Put() if key in held:
                    continue
                case Put():
                    held[key] = [name for name, _ in op.destinations]
                case Done(_, _, name, _):
                    if name not in held.get(key, ()):
                        continue
                    held[key].remove(name)
                    op = op._replace(last=not held[key])
                    if not held[key]:
                        del held[key]
            kept.append(op)
        found.append(kept)
    return found


def as_found(loaded):
    """Messages in their order, what was seen last of each, and the rest whatever its order."""
    messages = [op for op in loaded if isinstance(op, Put)]
    seen = {(op.id, op.direction): op for op in loaded if isinstance(op, Seen)}
    return messages, seen, sorted(map(repr, (op for op in loaded if not isinstance(op, Put | Seen))))


# What waits for the uplink only, and bodies as long as that an envelope's signer could be in them.
climbing = st.builds(
    Put, st.integers(0, 40).map(lambda n: bytes([n]) * 16), st.just(Direction.UP),
    st.sampled_from([Lane.HIGH, Lane.LOW]), bodies, st.just(7), st.just(NOW), st.just(LATER), st.just(("hq",)),
    st.just((("^", ()),)), st.just(()),
)
rows = st.one_of(puts(), climbing).map(lambda put: put._replace(envelope=bytes(32) + put.envelope))


@settings(max_examples=40, deadline=None)
@given(st.lists(rows, max_size=24, unique_by=lambda put: put[:2]), st.integers(1, 3))
def test_the_same_sleeps_in_both_and_wakes_in_the_same_order(held, awake_max):
    disk = Disk(awake_max)
    disk.commit(held)
    disk.settle()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool" / "hq.db"
        spool = Spool(path)
        spool.commit(held)
        spool.close()
        spool = Spool(path, awake_max=awake_max)
        awake = spool.load(NOW)
        assert as_found(awake) == as_found(disk.load(NOW))
        while awake:
            assert spool.asleep.rows == disk.asleep.rows and spool.asleep.bytes == disk.asleep.bytes
            ends = [Done(put.id, put.direction, name, name == put.destinations[-1][0])
                    for put in awake if isinstance(put, Put) for name, _ in put.destinations]
            for has in (spool, disk):
                has.commit(ends)
            disk.settle()
            awake = spool.wake()
            assert awake == disk.wake()
        assert not any(spool.asleep.rows) and not disk.held
        spool.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(ops, max_size=8), max_size=6).map(possible))
def test_both_have_the_same_after_any_turns(turns):
    disk = Disk()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool" / "hq.db"
        spool = Spool(path)
        spool.load(NOW)
        for turn in turns:
            spool.commit(turn)
            disk.commit(turn)
            disk.settle()
        spool.close()
        again = Spool(path)
        loaded = again.load(NOW)
        again.close()
    assert as_found(loaded) == as_found(disk.load(NOW))
    kinds = [type(op) for op in loaded]
    assert kinds == sorted(kinds, key=[type(op) for op in disk.load(NOW)].index), "in the order that a core needs"
