"""How an action is asked for: written down and then sent, once under a key, and sent again as the same bytes."""

import pytest
import structlog

from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.composer import Composer
from fabric.edge.publishing.drafts import Stamp
from fabric.edge.publishing.recipients import Recipients
from fabric.edge.requesting.recorder import Recorder
from fabric.edge.requesting.requester import Requester
from fabric.edge.requesting.requests import Requests
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Answered, Published, Ready
from fabric.protocol.enrolment.recipients import encode_found
from fabric.protocol.envelope.header import Kind, decode_header
from fabric.protocol.envelope.layout import decode_envelope
from fabric.protocol.links.links import UPLINK
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Grants, RequestGrant
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from fabric.spool.book import Book
from tests.publishing import publishing
from tests.support import T0, Authority, entropy

AUTHORITY = Authority("edge-requester")
ME = AUTHORITY.issue("soar-1", clearance=Label.AMBER, grants=Grants(request=(
    RequestGrant("deny ipv4_net", "all", severity_max=Severity.HIGH),
)))
RECORD = {"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}
STAMP = Stamp(Kind.ACTION, "deny.ipv4_net", Severity.HIGH, Phase.NONE, 60_000, Label.GREEN, to="all")
RED = AUTHORITY.issue("soar-2", grants=ME.credential.grants)
WALL = AUTHORITY.issue("fw-1", grants=Grants(execute=("deny ipv4_net",)))
SEALED = STAMP._replace(rules=tuple((name, Label.RED) for name in RECORD), audience=Audience((), (), ("all",)))


class Program:
    """One process of an identity; its relay does not answer unless it is told to."""

    def __init__(self, path, seed="one", me=ME):
        log = structlog.get_logger()
        self.core = Point(me.credential, me.signer, AUTHORITY.key, seed.encode().ljust(16), entropy(seed))
        self.mailbox = Mailbox()
        self.recipients = recipients = Recipients(self.core, entropy("keys"))
        self.awaiting_keys = AwaitingKeys(self.core, recipients)
        composer = Composer(
            me.credential, self.core.signer, self.core.roots, entropy(seed), self.core.time.to_sign, recipients.keys_of
        )
        self.publisher = publishing(self.core, composer, self.awaiting_keys).publisher
        self.recorder = Recorder(path, log)
        self.requests = Requests(self.recorder)
        self.requester = Requester(
            self.core, self.mailbox, self.publisher, self.requests, self.recorder, self.awaiting_keys
        )
        self.told = []

    def ask(self, key="K", at_ms=T0, stamp=STAMP, record=RECORD):
        begun = self.requester.request(stamp, record, 5_000, self.told.append, key)
        ready = Ready()
        self.mailbox.run(at_ms, ready)
        for delivered in ready.deliver:
            if isinstance(delivered, Published):
                self.publisher.published(delivered)
        self.recorder.commit(at_ms)
        return begun

    @property
    def sent(self):
        """(the bytes, their age) of what waits for the relay."""
        return [(row.held.message.raw, row.held.age_ms) for row in self.core.outboxes[UPLINK].rows()]

    def answer(self, begun_id, refused=None):
        self.publisher.published(Published(begun_id, refused))
        self.recorder.commit(T0 + 10_000)

    @property
    def ids(self):
        return [row.held.message.id for row in self.core.outboxes[UPLINK].rows()]


@pytest.fixture
def path(tmp_path):
    book = Book(tmp_path / "actions")
    book.keep(b"s" * 16, is_kept=True)
    book.close()
    return tmp_path / "actions"


@pytest.fixture
def programs(path):
    made = [Program(path, seed) for seed in ("one", "two")]
    yield made
    for program in made:
        program.recorder.close()
        program.mailbox.close()


def code_of(begun):
    error = begun.exception(0)
    assert isinstance(error, FabricError)
    return error.code


def test_what_may_not_have_arrived_is_sent_again_as_it_was_with_its_age(programs):
    first, second = programs
    first.ask()
    second.ask(at_ms=T0 + 7_000)
    ((raw, age_ms),) = first.sent
    assert age_ms == 0 and second.sent == [(raw, 7_000)]
    assert second.requests.get(first.requests._requests.popitem()[0]).deadline_ms == T0 + 65_000


def test_what_arrived_is_only_awaited(programs):
    first, second = programs
    begun = first.ask()
    (id_,) = first.ids
    first.answer(id_)
    assert begun.result(0) == id_
    assert second.ask(at_ms=T0 + 1_000).result(0) == id_ and second.sent == [] and len(second.requests._requests) == 1


def test_what_is_out_of_time_is_not_sent_again_and_awaited_for_a_moment(programs):
    first, second = programs
    first.ask()
    second.ask(at_ms=T0 + 60_000).result(0)
    ((tracker, _),) = second.requests._requests.values()
    assert second.sent == [] and tracker.deadline_ms == T0 + 65_000


def test_the_same_program_that_asks_twice_is_told_twice_and_sends_once(programs):
    first, _ = programs
    begun = first.ask()
    again = first.ask(at_ms=T0 + 1)
    assert len(first.sent) == 1 and again.result(0) == first.ids[0] and not begun.done()
    first.answer(first.ids[0])
    assert begun.result(0) == again.result(0)
    first.requests.time_out(T0 + 65_001)
    assert len(first.told) == 2


def test_without_a_key_each_is_another_action(programs):
    first, _ = programs
    first.ask("")
    first.ask("")
    assert len(set(first.ids)) == 2


def test_what_its_relay_refused_is_refused_again(programs):
    first, second = programs
    begun = first.ask()
    first.answer(first.ids[0], Reject(Code.REQUEST_DENIED, "deny.ipv4_net"))
    assert code_of(begun) is Code.REQUEST_DENIED
    again = second.ask()
    assert code_of(again) is Code.REQUEST_DENIED and "another key" in again.exception(0).next_step and second.sent == []


@pytest.mark.parametrize("ends", ["expired", "closed"])
def test_where_nobody_knows_whether_it_arrived_it_is_not_refused(programs, ends):
    first, second = programs
    begun = first.ask()
    if ends == "expired":
        first.answer(first.ids[0], Reject(Code.EXPIRED))
    else:
        first.mailbox.end(FabricError(Code.CLOSED))
        first.publisher.close(FabricError(Code.CLOSED))
        first.recorder.commit(T0)
    assert begun.exception(0) is not None
    second.ask(at_ms=T0 + 1_000)
    assert len(second.sent) == 1


def test_what_this_control_point_may_not_ask_for_is_not_written_down(programs):
    first, _ = programs
    critical = STAMP._replace(severity=Severity.CRITICAL)
    assert code_of(first.ask(stamp=critical)) is Code.SEVERITY_DENIED
    assert first.recorder.known("K", STAMP, RECORD) is None and first.sent == []
    assert first.core._denied[Code.SEVERITY_DENIED] == 1, "and counted, as ever"
    first.ask()
    assert len(first.sent) == 1


def test_a_book_that_cannot_be_written_refuses_a_key_before_anything_is_sent(programs):
    first, _ = programs
    first.recorder.open()._db.execute("PRAGMA query_only = ON")
    assert code_of(first.ask()) is Code.BOOK_FAILED and first.sent == []
    first.ask("")
    assert len(first.sent) == 1


def test_a_key_of_another_action_sends_nothing(programs):
    first, second = programs
    first.ask()
    assert code_of(second.ask(stamp=STAMP._replace(ttl_ms=5_000))) is Code.KEY_TAKEN and second.sent == []


def test_the_time_of_what_is_sealed_counts_from_when_it_was_asked_for(path):
    """And not from when somebody said whom to seal it to: that may take longer than it is to live."""
    program = Program(path, me=RED)

    def knows(at_ms):
        (question,) = program.recipients._asked
        found = encode_found(("fw-1",), [WALL.credential.raw], ())
        assert program.awaiting_keys.answered(Answered(question, None, found), at_ms)
        program.awaiting_keys.sort([], at_ms, Ready())

    late = program.ask(key="", stamp=SEALED._replace(ttl_ms=3_000))
    knows(T0 + 3_000)
    assert code_of(late) is Code.EXPIRED and program.sent == []
    program.recipients._selected.clear()
    begun = program.ask(key="", stamp=SEALED)
    knows(T0 + 7_000)
    ((raw, age_ms),) = program.sent
    assert decode_header(decode_envelope(raw).header).issued_at_ms == T0 and age_ms == 7_000
    (leaf,) = program.requests._requests
    assert program.requests.get(leaf).deadline_ms == T0 + 65_000 and not begun.done()
    program.recorder.close()
    program.mailbox.close()
