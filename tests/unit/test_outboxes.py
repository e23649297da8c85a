from fabric.protocol.base.limits import RETRY_MS
from fabric.protocol.custody.outboxes import Outboxes
from fabric.protocol.custody.sessions import child_relay, point_session


def test_one_is_made_where_there_is_none_and_whoever_asks_has_something_for_it():
    made, touched = {}, []
    outboxes = Outboxes(made, touched.append)
    child, reader = child_relay("low"), point_session("reader", bytes(16))
    first = outboxes.of(child)
    assert outboxes.of(child) is first and made == {child: first} and touched == [child, child]
    assert outboxes.of(reader) is made[reader] is outboxes.by_destination[reader]


def test_a_control_point_is_given_longer_to_answer_than_a_relay():
    outboxes = Outboxes({}, lambda _: None)
    waits = {name: outboxes.of(name)._retry_ms for name in (child_relay("low"), point_session("reader", bytes(16)))}
    assert list(waits.values()) == [RETRY_MS, 10_000]
