"""What is kept of an answer is what is told of it, whenever that is."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.acting.at_work import Word
from fabric.edge.handling.handlers import Answer, answer_of
from fabric.edge.handling.replies import About, Reply, about_envelope
from fabric.edge.identity.identity import Defaults
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.tlp import Label
from tests.support import EVERYTHING, Authority, verified

AUTHORITY = Authority("replies")
SOAR = AUTHORITY.issue("soar-1", grants=EVERYTHING)
ME = SimpleNamespace(id="fw-1", defaults=Defaults(Label.GREEN, {}))
MESSAGE = verified(
    SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", records=[{}], label=Label.AMBER,
    organisations=("acme", "branch"), recipients=("fw-1",),
)
ABOUT = About(MESSAGE.header, MESSAGE.leaf, SOAR.credential.digest)

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2) | st.integers(0, 9), inner,
                                                                max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text("abc", max_size=3), plain, max_size=4), st.sampled_from([None, *Label]))
def test_it_is_read_back_as_it_was_kept(result, label):
    reply = Reply.to(ABOUT, answer_of(Answer(result=result, label=label)), ME)
    assert Reply.unpack(reply.pack()) == reply and reply.id == MESSAGE.id


@given(st.binary(max_size=40))
def test_whatever_else_is_read_is_no_reply(raw):
    assert Reply.unpack(raw) is None
    assert about_envelope(raw) is None


def test_of_a_later_layout_what_is_known_is_read():
    reply = Reply.to(ABOUT, Answer(), ME)
    packed = reply.pack()
    assert packed[0] == 0x9A
    assert Reply.unpack(b"\x9b" + packed[1:] + b"\xc3") == reply


def test_what_it_is_about_is_in_its_envelope():
    about = about_envelope(MESSAGE.raw)
    assert about == ABOUT and about.id == MESSAGE.id


def test_a_result_bears_at_least_the_label_of_all_that_its_handler_read():
    """A field of an action may be above its envelope: what a handler says of it would go out below it."""
    action = verified(
        SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", label=Label.GREEN, rules={"target": Label.AMBER},
        records=[{"action": "deny", "target": {"ipv4_net": "203.0.113.9"}, "args": {}}],
    )
    about = About(action.header, action.leaf, SOAR.credential.digest)
    given = {label: Reply.to(about, Answer(label=label), ME) for label in (None, Label.GREEN, Label.RED)}
    assert {label: reply.stamp.label for label, reply in given.items()} == {
        None: Label.AMBER, Label.GREEN: Label.AMBER, Label.RED: Label.RED,
    }
    assert given[Label.RED].bare("x").stamp.label is Label.AMBER
    assert Word(about, State.RUNNING, 0.5, "203.0.113.9 is at work").stamp().label is Label.AMBER


def test_of_what_is_refused_on_its_way_only_how_it_ended_is_left():
    reply = Reply.to(ABOUT, Answer(result={"rule": 7}, label=Label.RED), ME)
    bare = reply.bare("too large")
    assert (reply.stamp.label, bare.stamp.label) == (Label.RED, Label.AMBER), "never below its action"
    assert (bare.record["end"], bare.record["code"]) == ("completed", Code.RESULT_UNFIT.label)
    assert bare.record["reason"] == "result_unfit: too large" and "result" not in bare.record
    failed = Reply.to(ABOUT, Answer(End.FAILED, 500, {"error": "x"}, Code.HANDLER_FAILED), ME).bare("too large")
    assert (failed.record["end"], failed.record["code"]) == ("failed", Code.HANDLER_FAILED.label)


def test_what_cannot_be_kept_cannot_be_told():
    with pytest.raises(FabricError) as raised:
        Reply.to(ABOUT, Answer(result={"x": object()}), ME)
    assert raised.value.code is Code.BAD_INPUT
