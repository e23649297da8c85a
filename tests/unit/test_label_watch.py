"""A mistake in a field's name is seen before anything leaves, and counted when it comes later."""

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.label_watch import AHEAD_RECORDS, WINDOW_RECORDS, LabelWatch, words_of


def ahead(watch, records, tell=None):
    return watch.ahead(records, lambda item: item if isinstance(item, dict) else None, lambda _: 10, tell)


def test_everything_comes_in_order_once_each_label_was_seen():
    records = [{"n": 0}, "no record", {"n": 1}, {"n": 2, "src_ip": 1}, {"n": 3}]
    watch = LabelWatch({"src_ip": "amber", "n": "green"})
    taken = iter(ahead(watch, records))
    assert next(taken) == records[0], "the first comes when the fourth was read"
    assert [records[0], *taken] == records and watch.held_back == 0


@pytest.mark.parametrize("count", [1, 12, AHEAD_RECORDS, AHEAD_RECORDS + 5])
def test_a_label_that_nothing_has_is_an_error_and_nothing_leaves(count):
    watch = LabelWatch({"src.ip": "amber"})
    left, read = [], iter([{"src_ip": n} for n in range(count)])
    with pytest.raises(FabricError, match=r"src\.ip \(there is src_ip\)") as refused:
        left.extend(ahead(watch, read))
    assert refused.value.code is Code.UNMATCHED_LABEL and left == [] and watch.held_back == min(count, AHEAD_RECORDS)
    assert len(list(read)) == max(0, count - AHEAD_RECORDS), "it is not read on for nothing"


def test_long_lines_are_held_back_up_to_a_size():
    watch = LabelWatch({"x": "amber"})
    with pytest.raises(FabricError):
        list(watch.ahead([{"a": 1}] * 50, lambda item: item, lambda _: 1_000_000))
    assert watch.held_back < 20


def test_nothing_is_looked_for_where_no_label_is_given_or_it_is_allowed():
    for watch in (LabelWatch({}), LabelWatch({"*": "red"}), LabelWatch({"x": "amber"}, required=False)):
        stream = ahead(watch, iter([{"a": 1}, {"a": 2}]))
        assert next(stream) == {"a": 1}
    assert list(ahead(LabelWatch({"x": "amber"}), [])) == [], "no record, no mistake"
    assert list(ahead(LabelWatch({"x": "amber"}), ["no record"])) == ["no record"]


def test_who_waits_for_a_stream_is_told_why_once():
    told = []
    list(ahead(LabelWatch({"x_y": "amber"}), [{"x-y": 1}, {"a": 1}, {"x_y": 1}, {"a": 1}], told.append))
    assert told == ["nothing is sent before a record has x_y (there is x-y)"]
    told.clear()
    list(ahead(LabelWatch({"a": "amber"}), [{"a": 1}], told.append))
    assert told == []


def test_later_a_label_that_names_nothing_is_counted_and_told_once_in_a_row():
    watch = LabelWatch({"a": "amber", "b": "amber"}, required=False)
    told = [name for n in range(WINDOW_RECORDS * 2) for name in watch.saw({"b": n} if n else {"a": 1, "b": 1})]
    assert told == ["a"] and watch.missed == {"a": WINDOW_RECORDS * 2 - 1}
    assert words_of(watch.missed, watch.records) == ["warning a: no such field in 19,999 of 20,000 records"]
