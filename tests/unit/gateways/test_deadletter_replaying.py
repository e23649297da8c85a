"""A replay that is interrupted at any moment goes on: no letter is lost, none is published twice."""

from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.deadletter import Form, Store
from relays.gateways.deadletter.claims import claim, open_claim
from relays.gateways.deadletter.letter import RAW_BYTES_MAX, letter_of
from relays.gateways.deadletter.replaying import Replay
from relays.reading import parse_record
from tests.unit.gateways.mapping_support import declared

ERROR = FabricError(Code.UNMAPPED, "kind: no topic can be made of it")
TOPIC = 'topic = "detections.{kind}"'


class Outbox:
    """Keeps message and position in one commit, as an outbox does; ends with its process when it is told to."""

    def __init__(self) -> None:
        self.published: list[dict] = []
        self.positions: dict[str, str] = {}
        self.crash_after = 10**9
        self.error: FabricError | None = None

    def position_of(self, source):
        return self.positions.get(source)

    def publish_later(self, topic, content, *, labels_required, position, **options):
        if self.error is not None:
            raise self.error
        self.published.append(content)
        self.positions[position[0]] = position[1]
        self.crash_after -= 1
        if self.crash_after == 0:
            raise SystemExit
        future: Future[str] = Future()
        future.set_result(f"{len(self.published):032x}.0")
        return future


def replay_of(store, outbox, toml=TOPIC):
    return Replay(store, declared(toml), parse_record, parse_record, outbox, lambda: 0)


def filled(folder, kinds) -> Store:
    store = Store(folder / "conn")
    for n, kind in enumerate(kinds):
        record = {"n": n, "kind": kind}
        store.add(lambda number, record=record: letter_of(number, number, record, ERROR, "x:1", Label.AMBER))
    return store


def test_what_fits_now_is_published_and_the_rest_is_kept_with_the_new_reason(tmp_path):
    store = filled(tmp_path, ["a", None, "b"])
    store.add(lambda number: letter_of(number, number, b"no json", ERROR, "x:2", Label.RED))
    store.add(lambda number: letter_of(number, number, b"{" * (RAW_BYTES_MAX + 1), ERROR, "x:3", Label.RED))
    store.add(lambda number: letter_of(number, number, {"kind": "a"}, ERROR, "x", Label.RED, Form.MESSAGE))
    outbox = Outbox()
    replay = replay_of(store, outbox)
    replay.run(store.letters())
    assert [each["n"] for each in outbox.published] == [0, 2] and replay.replayed.published == 2
    left = store.letters()
    assert [each.number for each in left] == [2, 4, 5, 6] and all(each.again == 1 for each in left)
    assert [each.error.code for each in left] == [Code.UNMAPPED, Code.BAD_INPUT, Code.LETTER_CUT, Code.USAGE]
    assert open_claim(store) is None
    later = replay_of(store, outbox, 'topic = "detections.other"')
    later.run(store.letters())
    assert [each["n"] for each in outbox.published] == [0, 2, 1]
    assert [each.again for each in store.letters()] == [2, 2, 2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", None]), min_size=1, max_size=8), st.lists(st.integers(1, 4), max_size=4))
def test_no_letter_is_lost_or_published_twice_wherever_it_ends(tmp_path_factory, kinds, crashes):
    store = filled(tmp_path_factory.mktemp("letters"), kinds)
    outbox = Outbox()
    for after in crashes:
        outbox.crash_after = after
        try:
            replay_of(store, outbox).run(store.letters())
        except SystemExit:
            store.close()
            store = Store(store.folder)
    outbox.crash_after = 10**9
    replay_of(store, outbox).run(store.letters())
    numbers = [each["n"] for each in outbox.published]
    assert sorted(numbers) == [n for n, kind in enumerate(kinds) if kind]
    assert [each.number for each in store.letters()] == [n + 1 for n, kind in enumerate(kinds) if not kind]


def test_one_that_ended_before_the_letters_were_taken_out(tmp_path, monkeypatch):
    store = filled(tmp_path, ["a", None, "b"])
    monkeypatch.setattr(Store, "remove", lambda _self, _numbers: 0)
    claim(store, store.letters())
    monkeypatch.undo()
    outbox = Outbox()
    replay_of(store, outbox).run([])
    assert [each["n"] for each in outbox.published] == [0, 2] and [each.number for each in store.letters()] == [2]


def test_where_nothing_more_is_taken_in_the_letters_stay_for_the_next_one(tmp_path):
    store = filled(tmp_path, ["a", "b"])
    outbox = Outbox()
    outbox.error = FabricError(Code.CLOSED)
    with pytest.raises(FabricError):
        replay_of(store, outbox).run(store.letters())
    outbox.error = None
    replay_of(store, outbox).run(store.letters())
    assert [each["n"] for each in outbox.published] == [0, 1] and not store.letters()


def test_what_a_relay_refuses_is_back(tmp_path):
    store = filled(tmp_path, ["a"])
    replay = replay_of(store, Outbox())
    replay.run(store.letters())
    assert replay.refused(f"{1:032x}", FabricError(Code.PUBLISH_DENIED, "detections.a"))
    assert not replay.refused("x", ERROR)
    (back,) = store.letters()
    assert back.code == Code.PUBLISH_DENIED.number and replay.replayed.published == 0
