"""Who gets what of what actions left at a control point."""

import io
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import structlog

from fabric.edge.acting import serving
from fabric.edge.acting.serving import Serving
from fabric.edge.artifacts.store import FREE_BYTES_MIN, Store
from fabric.edge.identity.identity import Defaults
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import CHUNK_BYTES
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.vocabulary.fetching import FETCH, Wanted
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.support import EVERYTHING, T0, Authority, derive, verified

AUTHORITY = Authority("serving")
SOAR = AUTHORITY.issue("soar-1", clearance=Label.AMBER, grants=EVERYTHING)
OTHER = AUTHORITY.issue("soar-2", clearance=Label.AMBER, grants=EVERYTHING)
ACTION = derive("action")
CONTENT = bytes(range(256)) * 2_000


class Loop:
    def __init__(self):
        self.identity = SimpleNamespace(id="fw-1", defaults=Defaults(Label.GREEN, {}))
        self.clock = SimpleNamespace(now_ms=lambda: T0)
        self.late = None
        self.refuses = None
        self.open = threading.Event()
        self.open.set()
        self.published = []
        self.audited = []
        self.changed = threading.Condition()

    def still_valid(self, _delivery, _arrived_ms):
        return self.late

    def publish(self, stamp, record):
        sent = Future()
        with self.changed:
            self.published.append((stamp, record))
            self.changed.notify_all()
        if self.refuses is not None and "data" in record:
            sent.set_exception(FabricError(self.refuses))
        else:
            sent.set_result("id")
        self.open.wait(10)
        return sent

    def end(self, number=0):
        """What was said in the end, and of which pieces."""
        def ends():
            return [(stamp, record) for stamp, record in self.published if "end" in record]

        with self.changed:
            assert self.changed.wait_for(lambda: len(ends()) > number, 10)
        return ends()[number]

    @property
    def pieces(self):
        return [(stamp, record["offset"], record["data"]) for stamp, record in self.published if "data" in record]


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "kept", structlog.get_logger(), free=lambda _path: 2 * FREE_BYTES_MIN)


@pytest.fixture
def serve(loop, store):
    return Serving(loop, store, loop.publish, loop.audited.append, structlog.get_logger())


def keep(store, label=Label.GREEN, principal="soar-1"):
    draft = store.draft(io.BytesIO(CONTENT), len(CONTENT), "soar-1")
    return store.keep(draft, action=ACTION.hex(), principal=principal, name="a.bin", label=label)


def fetch(wanted, member=SOAR, correlation=ACTION, target=None, **fields):
    record = {"action": "query", "target": target or wanted.to_json(), "args": {}}
    message = verified(member, kind=Kind.ACTION, topic=FETCH, to="id=fw-1", severity=Severity.INFORMATIONAL,
                       correlation=correlation, records=[record], **fields)
    return Delivery(message, 0, ())


def wanted(kept, offset=0, bytes_=10**6, session="01234567"):
    return Wanted(kept.id, offset, bytes_, session)


def test_a_range_comes_in_pieces_and_then_its_end(loop, store, serve):
    kept = keep(store)
    delivery = fetch(wanted(kept, 10, 300_000))
    serve.take(delivery)
    stamp, end = loop.end()
    assert (end["end"], end["result"], end["by"]) == ("completed", {"bytes": 300_000}, "fw-1")
    assert b"".join(data for _, _, data in loop.pieces) == CONTENT[10:300_010]
    (told,) = loop.audited
    assert (told.kind, told.who) == ("artifact.fetched", "soar-1")
    assert told.fields == {"action": ACTION, "artifact": kept.id, "offset": 10, "bytes": 300_000}
    assert [offset for _, offset, _ in loop.pieces] == [10, 10 + CHUNK_BYTES, 10 + 2 * CHUNK_BYTES]
    for said in (stamp, *(each for each, _, _ in loop.pieces)):
        assert said.kind is Kind.RESULT and said.to == "soar-1/01234567" and not said.rules
        assert (said.correlation, said.severity) == (delivery.message.leaf, Severity.INFORMATIONAL)
    assert {each.state for each, _, _ in loop.pieces} == {State.RUNNING} and stamp.state is State.COMPLETED


def test_what_is_above_the_label_of_what_asks_is_labelled_apart(loop, store, serve):
    serve.take(fetch(wanted(keep(store, Label.AMBER), bytes_=10)))
    loop.end()
    ((stamp, _, _),) = loop.pieces
    assert stamp.label is Label.GREEN and stamp.rules == (("data", Label.AMBER),)


def test_nothing_lies_beyond_the_end(loop, store, serve):
    serve.take(fetch(wanted(keep(store), len(CONTENT) + 5)))
    assert loop.end()[1]["result"] == {"bytes": 0} and not loop.pieces


def refused(loop):
    _, end = loop.end()
    return end["end"], end["code"]


def test_only_who_asked_for_the_action_or_is_the_same_person_gets_it(loop, store, serve):
    kept = keep(store)
    serve.take(fetch(wanted(kept), OTHER))
    assert refused(loop) == ("refused", "E732") and not loop.pieces
    assert [(told.who, told.fields["code"], told.fields["bytes"]) for told in loop.audited] == [("soar-2", "E732", 0)]
    of_the_team = keep(store, principal="soar-2")
    serve.take(fetch(wanted(of_the_team), OTHER))
    assert loop.end(1)[1]["end"] == "completed"


@pytest.mark.parametrize(("change", "code"), [
    ({"correlation": derive("another")}, "E732"), ({"correlation": b""}, "E732"),
    ({"target": {"x-fabric:artifact": {"id": "x"}}}, "E706"), ({"target": {"file": {"name": "x"}}}, "E706"),
    ({"target": {"x-fabric:artifact": 7}}, "E706"),
])
def test_another_action_s_and_what_says_nothing(loop, store, serve, change, code):
    serve.take(fetch(wanted(keep(store)), **change))
    assert refused(loop) == ("refused", code) and not loop.pieces


def test_one_that_is_not_there(loop, store, serve):
    serve.take(fetch(Wanted("0" * 16, 0, 10)))
    assert refused(loop) == ("refused", "E732")


def test_who_is_not_cleared_for_it_is_told_so(loop, store, serve):
    serve.take(fetch(wanted(keep(store, Label.RED))))
    assert refused(loop) == ("refused", "E601") and not loop.pieces


def test_a_file_that_was_cut_is_not_given_out(loop, store, serve, tmp_path):
    kept = keep(store)
    (tmp_path / "kept" / kept.id).write_bytes(b"cut")
    serve.take(fetch(wanted(kept)))
    assert refused(loop) == ("refused", "E734")


def test_what_a_relay_does_not_let_pass_is_said(loop, store, serve):
    loop.refuses = Code.WITHHELD
    serve.take(fetch(wanted(keep(store))))
    assert refused(loop) == ("refused", "E601") and len(loop.pieces) <= serving._UNDER_WAY_MAX


def test_what_may_not_begin_any_more_is_not_answered_with_content(loop, store, serve):
    loop.late = Reject(Code.REVOKED)
    serve.take(fetch(wanted(keep(store))))
    assert refused(loop) == ("refused", "E205") and not loop.pieces


def test_a_dry_run_sends_nothing(loop, store, serve):
    serve.take(fetch(wanted(keep(store)), terms=Terms(dry_run=True)))
    assert loop.end()[1]["end"] == "ready" and not loop.pieces


def test_a_fault_of_this_program_is_told_by_its_code_alone(loop, store, serve, monkeypatch):
    monkeypatch.setattr(store, "get", lambda _id: 1 / 0)
    serve.take(fetch(Wanted("0" * 16, 0, 10)))
    assert loop.end()[1]["code"] == "E917" and loop.end()[1]["end"] == "failed"


def test_of_one_requester_two_are_answered_at_a_time_and_of_all_eight(loop, store, serve):
    kept = keep(store)
    loop.open.clear()
    for _ in range(3):
        serve.take(fetch(wanted(kept, bytes_=10)))
    assert refused(loop) == ("refused", "E719")
    members = [AUTHORITY.issue(f"soar-{n}", clearance=Label.AMBER, grants=EVERYTHING) for n in range(10, 20)]
    for member in members:
        serve.take(fetch(Wanted("0" * 16, 0, 1), member))
    ends = [loop.end(n)[1] for n in range(11)]
    assert [end["code"] for end in ends].count("E719") == 1 + 10 - (serving.AT_ONCE - 2)
    for _ in range(100):
        serve.take(fetch(Wanted("0" * 16, 0, 1), OTHER))
    loop.end(11 + serving._REFUSED_AT_ONCE_EACH - 1)
    loop.open.set()
    wait_for(lambda: not (serve._served or serve._refused))
    assert len(loop.published) == 11 + 6 + 2 * 2, "and of more at a time than so many nothing is said"


def test_all_who_are_refused_take_no_more_threads_than_so_many(loop, serve):
    loop.open.clear()
    members = [AUTHORITY.issue(f"soar-{n}", clearance=Label.AMBER, grants=EVERYTHING) for n in range(10, 25)]
    for member in members:
        for _ in range(10):
            serve.take(fetch(Wanted("0" * 16, 0, 1), member))
    assert (serve._served.total(), serve._refused.total()) == (serving.AT_ONCE, serving._REFUSED_AT_ONCE)
    loop.open.set()
    wait_for(lambda: not (serve._served or serve._refused))


def wait_for(condition):
    until_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.001)


def test_what_is_over_is_deleted_now_and_then(serve, store, monkeypatch):
    swept = threading.Event()
    monkeypatch.setattr(store, "sweep", swept.set)
    serve.look(T0)
    assert not swept.wait(0.01), "no folder is made to look whether there is something"
    keep(store)
    serve.look(T0 + 59_999)
    serve.look(T0 + 60_000)
    assert swept.wait(10)


def test_who_asks_too_often_takes_nothing_from_others(loop, store, serve):
    """None of its answers is taken in by a relay, so that each is held up."""
    kept, of_other = keep(store), keep(store, principal="soar-2")
    loop.open.clear()
    for _ in range(200):
        serve.take(fetch(wanted(kept)))
    assert serve._served == {"soar-1": serving.AT_ONCE_EACH}
    assert serve._refused == {"soar-1": serving._REFUSED_AT_ONCE_EACH}
    serve.take(fetch(wanted(of_other), OTHER))
    assert serve._served["soar-2"] == 1
    loop.open.set()
    wait_for(lambda: not (serve._served or serve._refused))
    ends = [(stamp.to, record) for stamp, record in loop.published if "end" in record]
    assert [end["result"] for to, end in ends if to.startswith("soar-2")] == [{"bytes": len(CONTENT)}]
