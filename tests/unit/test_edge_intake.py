"""What is taken in of what a program publishes, and until when."""

from concurrent.futures import Future

import pytest

from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.identity.identity import Defaults
from fabric.edge.publishing.drafts import Position
from fabric.edge.publishing.intake import Intake
from fabric.edge.publishing.options import publish_stamp
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from tests.support import T0

STAMP = publish_stamp("detections.x", Defaults(Label.GREEN, {}))


class Waiting:
    """Stands for lanes and sources."""

    def __init__(self):
        self.begun, self.added = [], []
        self.refuses = None

    def begin(self, draft):
        self.begun.append(draft)

    def add(self, draft, wait_s):
        if self.refuses is not None:
            raise self.refuses
        self.added.append((draft, wait_s))


class Clock:
    def now_ms(self):
        return T0


class Outbox:
    def check_source(self, source):
        if source == "one too many":
            raise FabricError(Code.TOO_LARGE)

    def position(self, source):
        return f"end of {source}"


class House:
    def __init__(self):
        self.mailbox, self.waiting = Mailbox(), Waiting()
        self.intake = Intake(Clock(), self.mailbox, self.waiting, self.waiting)


@pytest.fixture
def house():
    made = House()
    yield made
    made.mailbox.close()


def code_of(call):
    with pytest.raises(FabricError) as raised:
        call()
    return raised.value.code


def test_a_record_is_begun_and_added_and_wakes_the_connection(house):
    future = house.intake.publish(STAMP, {"n": 1}, wait_s=2.0)
    assert isinstance(future, Future) and not future.done()
    assert [(draft.record, wait_s) for draft, wait_s in house.waiting.added] == [({"n": 1}, 2.0)]
    assert house.mailbox._reader.recv(8) == b"\0"


def test_what_found_no_room_holds_its_source_back_no_longer(house):
    house.waiting.refuses = FabricError(Code.BUSY)
    assert code_of(lambda: house.intake.publish(STAMP, {})) is Code.BUSY
    assert house.waiting.begun[0].token.cancelled()


def test_nor_does_what_was_interrupted_and_its_source_is_looked_at_again(house):
    house.intake.keeps(Outbox())
    house.waiting.refuses = KeyboardInterrupt()
    looked = []
    house.waiting.advance = looked.append
    with pytest.raises(KeyboardInterrupt):
        house.intake.publish(STAMP, {}, Position("log", "1"))
    assert house.waiting.begun[0].token.cancelled()
    house.mailbox.run(T0, "ready")
    house.intake.drop(house.intake.begin(STAMP, {}, None))
    house.mailbox.run(T0, "again")
    assert looked == ["ready"], "without a position there is no source that waits"


def test_a_position_needs_an_outbox_with_room_for_its_source_and_is_text(house):
    assert house.intake.position("log") is None
    assert code_of(lambda: house.intake.begin(STAMP, {}, Position("log", "1"))) is Code.USAGE
    house.intake.keeps(Outbox())
    assert code_of(lambda: house.intake.begin(STAMP, {}, Position("one too many", "1"))) is Code.TOO_LARGE
    assert code_of(lambda: house.intake.begin(STAMP, {}, Position("log", "\udc80"))) is Code.BAD_INPUT
    assert house.waiting.begun == []
    assert house.intake.begin(STAMP, {}, Position("a\udcff", "1")).position == Position("a\\udcff", "1")
    assert house.intake.position("a\udcff") == "end of a\\udcff"


def test_what_was_begun_may_be_added_until_the_end_and_nothing_is_begun_any_more(house):
    draft, late = (house.intake.begin(STAMP, {}, None) for _ in range(2))
    house.intake.leave()
    assert code_of(lambda: house.intake.begin(STAMP, {}, None)) is Code.CLOSED
    house.intake.add(draft, None)
    house.mailbox.end(FabricError(Code.SPOOL_FAILED))
    house.intake.stop()
    assert code_of(lambda: house.intake.add(late, None)) is Code.SPOOL_FAILED
    assert late.token.exception().code is Code.SPOOL_FAILED


def test_what_is_passed_over_goes_into_its_source_as_a_record_does_and_is_never_published():
    house = House()
    house.intake.keeps(Outbox())
    advanced = []
    house.waiting.advance = advanced.append
    for number in range(3):
        house.intake.pass_over(Position("log", str(number)))
    assert [draft.position.position for draft in house.waiting.begun] == ["0", "1", "2"]
    assert all(draft.taken for draft in house.waiting.begun) and house.waiting.added == []
    house.mailbox.run(T0, "ready")
    house.intake.pass_over(Position("log", "3"))
    house.mailbox.run(T0, "again")
    assert advanced == ["ready", "again"], "once for all that was passed until then"
