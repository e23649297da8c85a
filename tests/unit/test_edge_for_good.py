"""Effects that somebody wants for good: who does, and what is forgotten where there is no room."""

from fabric.edge.effects.for_good import ForGood
from fabric.protocol.core.ledger_ops import KeepForGood


def asked(number, requester="a", target=b"t"):
    return KeepForGood(b"e%d" % number, requester, target, 1 + number)


def test_it_is_held_until_each_who_asked_for_it_wants_an_end():
    kept = ForGood()
    assert kept.add(asked(1)) == [asked(1)] and kept.add(asked(1, "b")) == [asked(1, "b")]
    assert kept.has_an_end(b"e1", "c") == [] and kept.holds(b"e1")
    assert kept.has_an_end(b"e1", "a") == [asked(1)._replace(since_ms=0)] and kept.holds(b"e1")
    kept.has_an_end(b"e1", "b")
    assert not kept.holds(b"e1") and len(kept) == 0


def test_what_undoes_ends_all_others_at_its_target():
    kept = ForGood()
    for each in (asked(1), asked(2, "b"), asked(3), asked(4, target=b"u")):
        kept.add(each)
    assert len(kept.undone(b"t", b"e3")) == 2
    assert [number for number in range(1, 5) if kept.holds(b"e%d" % number)] == [3, 4]


def test_of_one_the_oldest_is_forgotten_and_a_newcomer_finds_room():
    kept = ForGood(64)
    written = {}
    for number in range(200):
        for op in kept.add(asked(number)):
            written[op.effect] = op.since_ms
    assert len(kept) == 32 and not kept.holds(b"e0") and kept.holds(b"e199")
    assert sum(map(bool, written.values())) == 32, "the disk forgets as well"
    kept.add(asked(199))
    assert len(kept) == 32
    kept.add(asked(500, "b"))
    assert kept.holds(b"e500") and len(kept) == 33
