"""The publisher of a run: its pace, its severities, and what became of its records."""

from collections import Counter
from concurrent.futures import Future

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.benching import publishing
from relays.benching.marks import PROBE, Records
from relays.benching.publishing import Publisher


class Clock:
    """Time that passes where somebody sleeps, and a little at each look."""

    def __init__(self):
        self.now_s = 100.0

    def monotonic(self):
        self.now_s += 0.0001
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds

    def process_time(self):
        return self.now_s / 2


class Point:
    """A control point whose relay holds everything at once, unless `answer` says otherwise."""

    def __init__(self, answer=lambda content: None):
        self.published, self._answer, self.flushed, self.held_up = [], answer, 0, None

    def publish_later(self, topic, content, *, severity, wait_s=None, **options):
        error = self._answer(content)
        if error is not None and error.code is Code.BUSY:
            raise error
        self.published.append((severity, content, options))
        future = Future()
        if error is None:
            future.set_result("id.0")
        else:
            future.set_exception(error)
        return future

    def flush(self, timeout_s):
        self.flushed += 1


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(publishing, "time", made)
    return made


def publisher_of(point):
    return Publisher(point, "detections.test", Records(200), {"label": "green", "ttl": "70s"})


def test_a_rate_is_kept_and_severities_take_turns(clock):
    point, told = Point(), []
    publisher = publisher_of(point)
    publisher.run(2.0, 10.0, ["low", "critical"], lambda: told.append(publisher.published))
    assert publisher.published == publisher.held == 20
    assert Counter(severity for severity, _, _ in point.published) == {"low": 10, "critical": 10}
    at_s = [content["at"] - publisher.began_s for _, content, _ in point.published]
    assert at_s == pytest.approx([n / 10 for n in range(20)], abs=0.02)
    assert point.published[0][2] == {"label": "green", "ttl": "70s"}
    assert told and point.flushed == 1 and publisher.took_s == pytest.approx(2.0, abs=0.1)
    assert publisher.cpu_s == pytest.approx(publisher.took_s / 2, abs=0.01)


def test_without_a_rate_it_publishes_all_the_time(clock):
    point = Point()
    publisher = publisher_of(point)
    publisher.run(0.1, None, ["low"], lambda: None)
    assert publisher.published > 100
    assert [content["n"] for _, content, _ in point.published] == list(range(publisher.published))


def test_a_slow_rate_ends_in_time_too(clock):
    publisher = publisher_of(Point())
    publisher.run(1.0, 0.01, ["low"], lambda: None)
    assert publisher.published == 1 and publisher.took_s < 1.3


def test_what_is_refused_is_counted_with_the_first_reason(clock):
    denied = FabricError(Code.PUBLISH_DENIED, "detections.test")
    publisher = publisher_of(Point(lambda content: denied if content["n"] % 2 else None))
    publisher.run(1.0, 10.0, ["low"], lambda: None)
    assert (publisher.published, publisher.held, publisher.refused) == (10, 5, 5)
    assert publisher.first_error is denied


def test_a_record_that_found_no_room_was_not_published(clock):
    busy = FabricError(Code.BUSY, "room")
    calls = []

    def answer(content):
        calls.append(content["n"])
        return busy if len(calls) <= 3 else None

    publisher = publisher_of(Point(answer))
    publisher.run(0.5, 10.0, ["low"], lambda: None)
    assert calls[:4] == [0, 0, 0, 0] and publisher.refused == 0 and publisher.published == publisher.held == 5


def test_what_held_records_up_is_named_once_and_it_is_waited_for_a_while(clock):
    class Slow(Point):
        def flush(self, timeout_s):
            self.flushed += 1
            clock.sleep(timeout_s)
            if self.flushed < 5:
                raise FabricError(Code.TIMED_OUT, "3 records")
            self.held_up = None

    point = Slow()
    publisher = publisher_of(point)
    point.held_up = FabricError(Code.RATE_EXCEEDED, "detections.test")
    publisher.run(0.5, 10.0, ["low"], lambda: None)
    assert list(publisher.held_up) == [Code.RATE_EXCEEDED] and point.flushed == 5


def test_what_is_never_held_is_not_waited_for_without_end(clock):
    class Stuck(Point):
        def flush(self, timeout_s):
            clock.sleep(timeout_s)
            raise FabricError(Code.TIMED_OUT, "3 records")

    publisher = publisher_of(Stuck())
    publisher.run(0.5, 10.0, ["low"], lambda: None)
    assert publisher.took_s < 40.0 and list(publisher.held_up) == []


def test_ctrl_c_ends_it_and_what_was_published_is_known(clock):
    def stop():
        if publisher.published >= 3:
            raise KeyboardInterrupt

    publisher = publisher_of(Point())
    with pytest.raises(KeyboardInterrupt):
        publisher.run(100.0, 10.0, ["low"], stop)
    assert publisher.held == publisher.published >= 3 and publisher.took_s > 0


def test_it_probes_until_somebody_has_it(clock):
    point = Point()
    publisher = publisher_of(point)
    assert publisher.probe("low", lambda: len(point.published) >= 3, 10.0)
    assert [content["n"] for _, content, _ in point.published] == [PROBE] * 3 and publisher.published == 0


def test_nobody_who_has_it_is_told_in_time(clock):
    began_s = clock.now_s
    assert not publisher_of(Point()).probe("low", lambda: False, 2.0)
    assert clock.now_s - began_s < 2.5


def test_a_probe_that_is_refused_says_why(clock):
    denied = FabricError(Code.PUBLISH_DENIED, "detections.test")
    with pytest.raises(FabricError, match="E401"):
        publisher_of(Point(lambda content: denied)).probe("low", lambda: False, 2.0)
