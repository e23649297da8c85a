"""Actions that wait for a handler: urgent first, and not while what they do is reverted."""

from types import SimpleNamespace

from fabric.edge.acting.waiting import Task, Waiting
from fabric.edge.effects.lasting import Lasting


def task(number, lane=0, effect=None, deadline_ms=1_000):
    message = SimpleNamespace(id=number, header=SimpleNamespace(lane=lane), counts_from_ms=100)
    lasting = None if effect is None else Lasting(effect, effect, None, 5_000, target=b"t", undoes=False)
    return Task(SimpleNamespace(message=message, age_ms=10), None, None, lasting, 0, deadline_ms, False, None)


def order(waiting):
    ids = []
    while (entry := waiting.next()) is not None:
        ids.append(waiting.take(entry).delivery.message.id)
    return ids


def filled(*tasks):
    waiting = Waiting()
    for each in tasks:
        waiting.add(each)
    return waiting


def test_urgent_first_then_in_the_order_of_arrival():
    assert order(filled(task(1, lane=3), task(2, lane=1), task(3, lane=3), task(4, lane=1))) == [2, 4, 1, 3]


def test_what_is_being_reverted_is_put_off_keeps_its_place_and_holds_up_nobody_else():
    waiting = filled(task(1, effect=b"a"), task(2, effect=b"b"), task(3, effect=b"a"), task(4))
    first = waiting.next()
    assert waiting.take(first).delivery.message.id == 1
    waiting.put_off(first)
    assert order(waiting) == [2, 4] and len(waiting) == 2
    assert waiting.look_again() and not waiting.look_again()
    assert order(waiting) == [1, 3]


def test_one_is_taken_out_by_its_id_and_those_whose_time_is_over_together():
    waiting = filled(task(1, deadline_ms=5), task(2), task(3, deadline_ms=6))
    assert waiting.pop(2).delivery.message.id == 2 and waiting.pop(2) is None
    assert waiting.late(4) == [] and [each.delivery.message.id for each in waiting.late(5)] == [1]
    assert [each.delivery.message.id for each in waiting.all()] == [3] and not len(waiting)


def test_how_long_its_effect_lasts_counts_from_when_its_handler_begins():
    one = task(1, effect=b"a")
    assert one.lasts(7).left_ms == 5_000 and task(2).lasts(7) is None
    until = one._replace(lasting=Lasting(b"a", b"a", 1_110, None, target=b"t", undoes=False))
    assert until.lasts(200).left_ms == 800
