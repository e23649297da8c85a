"""Where a delivery goes in a control point's program, and whose word of gaps and notices is believed."""

from pathlib import Path

import pytest
import structlog

from fabric.edge.approving.approver import Approver
from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.fetching.fetches import Fetches
from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.composer import Composer
from fabric.edge.publishing.recipients import Recipients
from fabric.edge.receiving.deliveries import Deliveries
from fabric.edge.receiving.subscriptions import Subscription
from fabric.edge.receiving.unsealing import Unsealing
from fabric.edge.requesting.recorder import Recorder
from fabric.protocol.core.ready import Delivery, KeepPosition, Ready
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.reports import GAP_TOPIC, NOTICE_TOPIC
from fabric.protocol.envelope.sealed_parts import Opener
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import NodeKind
from tests.publishing import publishing
from tests.support import EVERYTHING, T0, Authority, entropy, verified

AUTHORITY = Authority("edge-deliveries")
ME = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
RELAY = AUTHORITY.issue("mid", NodeKind.RELAY)
FAR = AUTHORITY.issue("hq", NodeKind.RELAY)


class House:
    def __init__(self):
        core = Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("core"), ("mid",))
        self.calls = Mailbox()
        self.positions = {}
        recorder = Recorder(Path("/nowhere/actions"), structlog.get_logger())
        log = structlog.get_logger()
        composer = Composer(ME.credential, core.signer, core.roots, entropy("core"))
        publisher = publishing(core, composer, AwaitingKeys(core, Recipients(core, entropy("keys")))).publisher
        approver, fetches = Approver(core, self.calls, publisher, log), Fetches(self.calls, publisher)
        self.deliveries = Deliveries(
            core, self.calls, self.positions.get, recorder, approver, fetches,
            Unsealing(Opener(ME.id, ME.signer), log), log,
        )
        self.notices, self.got, self.dones = [], [], []
        self.deliveries.on_notice = self.notices.append

        def sink(batch, done):
            self.got += batch.read()
            self.dones.append(done)

        self.deliveries.subscriptions.add(Subscription("detections.>", sink, lambda error: None, durable=True))

    def take(self, message):
        self.deliveries.take(Delivery(message, 0, ()), T0)

    def handled(self):
        """How many deliveries were said to be handled, and what that keeps."""
        ready, count = Ready(), len(self.calls._waiting)
        self.calls.run(T0, ready)
        return count, [op for op in ready.persist if isinstance(op, KeepPosition)]


@pytest.fixture
def house():
    made = House()
    yield made
    made.calls.close()


def said(member, topic, content=None):
    return verified(member, kind=Kind.RESULT, topic=topic, to="zeek-1", records=[content or {}])


def test_of_a_batch_that_was_read_in_part_only_the_rest_is_given_out(house):
    message = verified(ME, topic="detections.x", records=[{"n": n} for n in range(3)])
    source = f"batch {message.id.hex()}"
    house.positions[source] = "2"
    house.take(message)
    assert [record.content["n"] for record in house.got] == [2] and house.handled() == (0, [])
    house.dones[0]()
    assert house.handled() == (1, [KeepPosition(source, "")])


def test_what_nobody_takes_is_handled_at_once(house):
    house.take(verified(ME, topic="other.x"))
    assert house.got == [] and house.handled()[0] == 1


def test_only_its_own_relay_knows_of_a_gap(house):
    for member in (FAR, ME):
        house.take(said(member, GAP_TOPIC, {"lost": 1}))
    assert house.got == [] and house.handled()[0] == 2
    house.take(said(RELAY, GAP_TOPIC, {"lost": 2}))
    assert [(record.kind, record.content["lost"]) for record in house.got] == [("gap", 2)]


def test_only_relays_are_believed_in_a_notice(house):
    house.take(said(ME, NOTICE_TOPIC))
    assert house.notices == []
    house.take(said(FAR, NOTICE_TOPIC))
    assert [notice.relay for notice in house.notices] == ["hq"] and house.handled()[0] == 2


def test_a_program_s_fault_is_not_the_connection_s_end(house):
    house.deliveries.on_notice = lambda notice: 1 / 0
    house.take(said(RELAY, NOTICE_TOPIC))
    assert house.handled()[0] == 1
