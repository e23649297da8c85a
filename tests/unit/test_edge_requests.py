"""Who is told of a request's progress, and until when."""

from dataclasses import dataclass, field

from fabric.edge.requesting.requests import OVER_MAX, UNKNOWN_MAX, Late, Requests
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.envelope.header import Kind
from fabric.protocol.trust.credentials import Grants, NodeKind
from fabric.protocol.vocabulary.openc2 import End
from tests.support import T0, Authority, verified

AUTHORITY = Authority("edge-requests")
RELAY = AUTHORITY.issue("mid", NodeKind.RELAY)
WALL = AUTHORITY.issue("fw-1", grants=Grants(execute=("deny *",)))
OTHER_WALL = AUTHORITY.issue("fw-2", grants=Grants(execute=("deny *",)))
DIGEST = bytes(range(32))


@dataclass
class Record:
    content: dict


@dataclass
class Told:
    ends: list = field(default_factory=list)

    def __call__(self, tracker):
        self.ends.append([(o.target, o.end) for o in tracker.outcomes()])


def result(member, content, correlation=DIGEST):
    message = verified(member, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-1", correlation=correlation)
    return message, [Record(content)]


def begun():
    requests, told = Requests(), Told()
    requests.add(Tracker(DIGEST, T0, T0 + 1_000), told)
    return requests, told


def test_a_result_is_told_to_whoever_asked_and_to_nobody_after_the_end():
    requests, told = begun()
    requests.take(*result(RELAY, {"end": "selected", "targets": ["fw-1"]}), T0)
    requests.take(*result(WALL, {"end": "completed"}), T0)
    assert told.ends == [[], [("fw-1", End.COMPLETED)]]
    requests.take(*result(WALL, {"end": "failed"}), T0)
    requests.time_out(T0 + 5_000)
    assert len(told.ends) == 2


def test_results_of_other_requests_are_nobody_s():
    requests, told = begun()
    requests.take(*result(WALL, {"end": "completed"}, bytes(32)), T0)
    assert told.ends == []


def test_silence_is_unknown_when_its_time_is_over():
    requests, told = begun()
    requests.take(*result(RELAY, {"end": "selected", "targets": ["fw-1"]}), T0)
    requests.time_out(T0 + 999)
    assert told.ends == [[]]
    requests.time_out(T0 + 1_000)
    assert told.ends[-1] == [("fw-1", End.UNKNOWN)]


def test_and_when_the_connection_ends():
    requests, told = begun()
    requests.close()
    assert told.ends == [[("", End.UNKNOWN)]]


def test_what_comes_after_unknown_is_told_once_and_of_targets_only():
    requests, told = begun()
    requests.take(*result(RELAY, {"end": "selected", "targets": ["fw-1", "fw-2"]}), T0)
    requests.take(*result(OTHER_WALL, {"end": "completed"}), T0)
    requests.time_out(T0 + 1_000)
    assert told.ends[-1] == [("fw-2", End.COMPLETED), ("fw-1", End.UNKNOWN)]
    for member, content in ((RELAY, {"end": "completed"}), (OTHER_WALL, {"end": "failed"}), (WALL, {"end": "?"})):
        assert requests.take(*result(member, content), T0) == []
    assert requests.take(*result(WALL, {"end": "unknown"}), T0) == [], "that is known"
    assert requests.take(*result(WALL, {"end": "failed"}), T0) == [Late("fw-1", End.FAILED)]
    assert requests.take(*result(WALL, {"end": "completed"}), T0) == []
    assert len(told.ends) == 3, "and whoever asked was told the end"


def test_late_words_are_waited_for_of_so_many_requests_and_targets():
    requests = Requests()
    names = [f"fw-{n}" for n in range(100)]
    for n in range(OVER_MAX + 10):
        digest = n.to_bytes(32)
        requests.add(Tracker(digest, T0, T0 + 1_000), Told())
        if n % 2:
            requests.take(*result(RELAY, {"end": "selected", "targets": names}, digest), T0)
        requests.time_out(T0 + 1_000)
    assert len(requests._over) <= OVER_MAX
    assert requests._unknown == sum(len(unknown or ()) for unknown in requests._over.values()) <= UNKNOWN_MAX
    last = (OVER_MAX + 9).to_bytes(32)
    assert requests.take(*result(WALL, {"end": "failed"}, last), T0) == [Late("fw-1", End.FAILED)]
    assert requests.take(*result(WALL, {"end": "failed"}, bytes(32)), T0) == [], "the oldest"
