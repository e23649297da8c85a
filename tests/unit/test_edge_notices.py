"""What a control point makes of a relay's notice, whatever is in it."""

import pytest

from fabric.edge.messages import messages_of
from fabric.edge.receiving.notices import Ended, notice_of
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Kind
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.tlp import Label
from relays.cli.messages.notices import lines_of
from tests.support import T0, Authority, verified

RELAY = Authority("edge-notices").issue("mid", NodeKind.RELAY)
ENTRY = {
    "code": "E501", "reason": "expired", "kind": "event", "topic": "a.b", "towards": "up", "messages": 1, "records": 7,
}


def notice(content, label=Label.GREEN, rules=None):
    message = verified(
        RELAY, kind=Kind.RESULT, topic="fabric.notice", to="zeek-1", records=[content], label=label, rules=rules
    )
    (found,) = messages_of(Delivery(message, 0, ()))
    return notice_of(found)


def test_it_says_who_counted_what_since_when():
    found = notice({"since": T0 - 5, "by": "somebody", "ended": [ENTRY, {**ENTRY, "code": "E601", "records": 2}]})
    assert found.relay == "mid", "by the signature, not by what it says"
    assert found.since_ms == T0 - 5 and found.label is Label.GREEN and found.records == 9
    assert found.ended[0] == Ended("E501", "expired", "event", "a.b", "up", 1, 7)
    assert found.ended[1].reason == "withheld", "in this version's words"
    assert found.to_json()["ended"][0] == ENTRY


def test_what_is_printed_of_it_bears_its_label():
    """A topic is as secret as the messages that it is of."""
    said = {"since": T0, "ended": [ENTRY, {**ENTRY, "code": "E601", "topic": "", "records": 1}]}
    assert lines_of(notice(said, Label.AMBER_STRICT)) == [
        "7 record(s) in 1 message(s) of a.b (TLP:AMBER+STRICT) ended on the way up from mid: expired (E501)",
        "1 record(s) of several topics (TLP:AMBER+STRICT) ended on the way up from mid: withheld (E601)",
    ]
    above = notice(said, Label.GREEN, {"ended": Label.AMBER})
    assert above.label is Label.AMBER and above.to_json()["label"] == "amber", "never the envelope's lower one"


@pytest.mark.parametrize("content", [
    {}, {"since": "now", "ended": "all"}, {"ended": [1, None, []]},
    {"since": T0, "ended": [{"code": 501, "kind": [], "topic": {}, "records": "many", "messages": -1}]},
])
def test_what_is_not_as_it_should_be_counts_nothing(content):
    found = notice(content)
    assert found.records == 0 and found.since_ms == T0
    assert all(ended.code == "E101" and ended.kind == "" for ended in found.ended)


def test_what_a_terminal_would_obey_is_left_out():
    (ended,) = notice({"ended": [{**ENTRY, "topic": "a.b\x1b]0;owned\x07", "towards": "up\x1b[2J"}]}).ended
    assert (ended.topic, ended.towards, ended.records) == ("", "", 7)


def test_it_is_bounded_whatever_a_relay_writes():
    found = notice({"since": T0, "ended": [{**ENTRY, "code": "E" + "9" * 5_000}, *[ENTRY] * 1_000]})
    assert len(found.ended) == 256 and found.ended[0].code == "E101"
    assert found.by_code() == {"E101": 7, "E501": 255 * 7}
