"""RFC 5424: its own examples, and what senders make of it."""

from datetime import UTC, datetime

import pytest

from relays.gateways.syslog.pairs import PAIRS_MAX
from relays.gateways.syslog.reading import How, read_message

HOW = How(datetime(2026, 11, 29, 12, tzinfo=UTC))
HEAD = "<165>1 2003-10-11T22:14:15.003Z host app 8710 ID47 "


def read(text):
    return read_message(text.encode(), HOW)


def test_the_examples_of_the_rfc():
    record = read("<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su' failed")
    assert record == {
        "format": "rfc5424", "priority": 34, "facility": "auth", "severity": "critical",
        "time": "2003-10-11T22:14:15.003Z", "host": "mymachine.example.com", "app": "su", "msg_id": "ID47",
        "message": "'su' failed",
    }
    record = read("<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time")
    assert (record["time"], record["proc_id"]) == ("2003-08-24T05:14:15.000003-07:00", "8710")
    record = read(HEAD + '[exampleSDID@32473 iut="3" eventSource="Application"][examplePriority@32473 class="high"]')
    assert record["structured_data"] == {
        "exampleSDID@32473": {"iut": "3", "eventSource": "Application"}, "examplePriority@32473": {"class": "high"},
    }
    assert record["message"] == "" and "flags" not in record
    assert read("<13>1 - - - - - -") == {
        "format": "rfc5424", "priority": 13, "facility": "user", "severity": "low", "message": "",
    }


@pytest.mark.parametrize(("rest", "data", "message", "flags"), [
    (r'[a@1 x="work\\user" y="q\"q" z="b\]b" w="C:\dir"] m', {"a@1": {"x": r"work\user", "y": 'q"q', "z": "b]b",
                                                                      "w": r"C:\dir"}}, "m", None),
    ('[a x="not ] escaped"] m', {"a": {"x": "not ] escaped"}}, "m", None),
    ('[a x="1" x="2"][a x="3"] m', {"a": [{"x": ["1", "2"]}, {"x": "3"}]}, "m", None),
    ("[a] m", {"a": {}}, "m", None),
    ("[] m", None, "m", None),
    ('[action:"Accept"; flags:"4"; tag:"p[db={A};n=t\\]"; ] m', {"pairs": {"action": "Accept", "flags": "4",
                                                                          "tag": "p[db={A};n=t]"}}, "m", None),
    ("no data", None, "no data", ["bad-structured-data"]),
    ('[a x="1"][b x="2 m', {"a": {"x": "1"}}, '[b x="2 m', ["bad-structured-data"]),
    ('[a x="1\\"] m', None, '[a x="1\\"] m', ["bad-structured-data"]),
    ('[a b c] m', None, "[a b c] m", ["bad-structured-data"]),
    ("- BOM%SYS-3-X: y", None, "%SYS-3-X: y", None),
    ("-  failed", None, "failed", None),  # as rsyslog forwards "su: failed"
    ("-   indented", None, " indented", None),
    ("-", None, "", None),
])
def test_structured_data_as_it_comes(rest, data, message, flags):
    record = read(HEAD + rest)
    assert (record.get("structured_data"), record["message"], record.get("flags")) == (data, message, flags)


def test_more_pairs_than_a_message_may_have_stay_text():
    many = "[a " + " ".join(f'n{n}="v"' for n in range(PAIRS_MAX + 1)) + "]"
    record = read(HEAD + many)
    assert record["message"] == many and record["flags"] == ["more-pairs"]


def test_a_time_that_is_none_and_a_version_that_is_another():
    record = read("<13>2 2003-13-41T22:14:15Z h a p m - x")
    assert (record["version"], record["timestamp"], record["flags"]) == (2, "2003-13-41T22:14:15Z", ["bad-time"])


def test_what_is_no_utf_8_stays_readable_and_is_flagged():
    record = read_message(b"<13>1 - h a - - - caf\xe9 \x00 \xff", HOW)
    assert record["message"] == "caf\\xe9 \0 \\xff" and record["flags"] == ["invalid-utf-8"]
