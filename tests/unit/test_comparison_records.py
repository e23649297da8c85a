"""What a reader of a comparison knows of what it took."""

import io
import json
import threading
import time

from scripts.comparison.records import RECORD, TOPICS, Progress, Taken, single_topic


def test_a_record_is_of_about_200_bytes():
    assert 180 <= len(json.dumps(RECORD)) <= 220


def test_topics_come_round():
    assert len({single_topic(n) for n in range(3 * TOPICS)}) == TOPICS
    assert single_topic(0) == single_topic(TOPICS)


def test_what_bears_its_time_is_measured_and_everything_else_is_counted():
    taken = Taken()
    taken.take({"n": 0})
    taken.take({"n": 1, "at": time.perf_counter() - 0.5})
    assert taken.records == 1
    (took_ms,) = taken.latencies_ms
    assert 500 <= took_ms < 60_000


def test_a_question_is_answered_when_so_much_came_and_the_last_one_ends_it(monkeypatch, capsys):
    taken, over = Taken(), threading.Event()
    for n in range(3):
        taken.take({"n": n})
    taken.take({"n": 3, "at": time.perf_counter()})
    monkeypatch.setattr("sys.stdin", io.StringIO("records 2\nrecords 3\n"))
    taken.answer_in_thread(over.set)
    assert over.wait(60)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert [each["records"] for each in (first, second)] == [3, 3]
    # Each measurement is handed over once.
    assert [len(each["latencies_ms"]) for each in (first, second)] == [1, 0]


def test_a_publisher_sees_how_far_its_reader_is(tmp_path):
    reader, publisher = Progress(tmp_path / "progress"), Progress(tmp_path / "progress")
    assert publisher.count == 0
    reader.tell(70_000_000_000)
    assert publisher.count == Progress(tmp_path / "progress").count == 70_000_000_000


def test_a_reader_that_gets_no_more_says_what_it_has(monkeypatch, capsys):
    taken, over = Taken(), threading.Event()
    taken.count(2)
    monkeypatch.setattr("scripts.comparison.records.QUIET_S", 0.0)
    monkeypatch.setattr("sys.stdin", io.StringIO("records 3\n"))
    taken.answer_in_thread(over.set)
    assert over.wait(60)
    assert json.loads(capsys.readouterr().out)["records"] == 2
